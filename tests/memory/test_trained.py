from __future__ import annotations

import numpy as np
import pytest

from helpers import HashEmbedder
from idiolect.memory import sameness, trained, unforeseen
from idiolect.memory.candidate import Candidate
from idiolect.memory.trained import PAIR, Heads
from idiolect.types import Turn


class Axes:
    """Texts to axes: what a word of the text says, by position."""

    dim, fingerprint = 3, "axes"
    words = ("keep", "safety", "other")

    def embed(self, texts):
        return np.array([[float(word in text.lower()) for word in self.words] for text in texts], np.float32)


def hand_made(**changes):
    size = 3 * 3 + 11 + 2
    weights = {  # three axes, two words, length, bias
        "worth": np.array([8.0, 0.0, 0.0, 0.0, -20.0, 0.0, -4.0]),
        "always": np.array([0.0, 8.0, 0.0, 0.0, 0.0, 0.0, -4.0]),
        "topic": np.array([[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]]),
        "topics": ("home", "work"),
        "words": ("i keep", "?"),
        "ends": np.zeros(size + 1),
        "same": np.zeros(size + 1),
        "closing": np.zeros(6),
        "changes": ("it now", "now"),
    }
    return Heads(**{**weights, **changes})


def test_the_heads_by_hand():
    texts = ["keep this", "other", "keep this?"]
    heads = hand_made()
    x = heads.read(texts, Axes().embed(texts))
    assert x.tolist() == [pytest.approx([1, 0, 0, 0, 0, 0.2]), pytest.approx([0, 0, 1, 0, 0, 0.1]),
                          pytest.approx([1, 0, 0, 0, 0.3, 0.3])]  # fmt: skip
    assert heads.keep(x) == pytest.approx([1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4)), 1 / (1 + np.exp(2))])
    assert heads.topics_of(x) == ["home", "work", "home"]
    new, old = sameness.read(["keep this now", "keep that"], Axes())
    ends, same = heads.relation(new, [old])
    assert ends == pytest.approx([0.5])
    assert same == pytest.approx([0.5])


def test_a_word_of_change_and_nearness_count_where_they_are_weighed():
    weights = np.zeros(3 * 3 + 11 + 2 + 1)
    weights[9 + 11] = 2.0 / PAIR  # "it now"
    closing = np.zeros(6)
    closing[0], closing[2] = 1.0, 1.0  # the first step's score, and four times the cosine
    heads = hand_made(ends=weights, closing=closing)
    new, near, far = sameness.read(["keep it now", "keep that", "other"], Axes())
    ends, _ = heads.relation(new, [near, far])
    assert ends == pytest.approx([1 / (1 + np.exp(-6)), 1 / (1 + np.exp(-2))])


def test_the_shipped_weights_fit_the_features():
    fingerprint, heads = trained._load()
    dim = len(heads.worth) - len(heads.words) - 2
    assert fingerprint
    assert heads.topic.shape == (len(heads.topics), len(heads.worth))
    assert len(heads.ends) == len(heads.same) == 3 * dim + 11 + len(heads.changes) + 1
    assert len(heads.closing) == 6


def test_another_embedder_leaves_the_rules_alone():
    assert trained.heads(None) is None
    assert trained.heads(HashEmbedder()) is None
    turn = Turn(({"role": "user", "content": "Something keep about me here."},), "", 1e9)
    rules = [Candidate("I live in Porto.", topic="home")]
    assert unforeseen.with_unforeseen(rules, turn, HashEmbedder()) == rules


def test_what_no_rule_reads_is_kept_by_its_worth_and_safety_is_marked(monkeypatch):
    monkeypatch.setattr(trained, "heads", lambda embedder: hand_made())
    said = "My knuckles keep the safety of old winters. The weather turned grey over the pier."
    turn = Turn(({"role": "user", "content": said},), "", 1e9)
    found = unforeseen.with_unforeseen([Candidate("Other safety thing.", topic="work")], turn, Axes())
    assert [one.topic for one in found] == ["health", "health"]
    assert found[1].text.startswith("My knuckles keep")
    assert found[1].confidence == pytest.approx(0.982, abs=1e-3)


@pytest.mark.models
def test_real_vectors_tell_a_fact_from_a_request():
    from idiolect.text.embedding import load_embedder

    embedder = load_embedder("minilm")
    heads = trained.heads(embedder)
    assert heads is not None
    texts = ["I repair church organs for a living", "Could you make the second line shorter"]
    kept = heads.keep(heads.read(texts, embedder.embed(texts)))
    assert kept[0] > 0.75 > kept[1]
