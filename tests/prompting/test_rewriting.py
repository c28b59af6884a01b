from __future__ import annotations

import numpy as np
import orjson
import pytest

from helpers import open_store, say
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.pipeline import Idiolect
from idiolect.prompting.shared.rewriter import Policy, Reinforcement, Rewards, divergence, imitate, reinforce, search
from idiolect.prompting.shared.segments import FEATURES, measure, merge, segments
from idiolect.store.sharing import share
from idiolect.store.view import view
from idiolect.types import EVERYONE, Call, text_of

FOOTER = "mail about tea, mail about tea"
ASKED = Call(
    (
        {"role": "system", "content": "Answer by mail."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "which mail about tea"},
    )
)


def history(user):
    facts = [say(user, f"{user} fact {'abcdefghijklmnopqrstuvwxyz'[i]} tea", 1e9 + 10 * i, input=f"mail {i} about tea")
             for i in range(24)]  # fmt: skip
    return facts + [say(user, FOOTER, 1e9 + 40 * i + 5) for i in range(4)]


def score(call, text):
    """Worth 5 nats less where the footer stands in the prompt, half a nat more for each fact."""
    prompt = "\n".join(text_of(message) for message in call.messages)
    return -20.0 + 0.5 * prompt.count(" fact ") - 5.0 * (FOOTER in prompt)


def build(tmp_path, score=score):
    store = open_store(tmp_path)
    for user in ("ana", "bob", "dora"):
        store.add(history(user))
        share(store, user, user != "dora")
    settings = Settings(methods=(), peers=PeersPolicy(texts=False, least=2))
    return Idiolect(store, ScriptedBackend(scores=score), settings, clock=lambda: 2e9)


def texts(app, user="dora", call=ASKED):
    return [use.text for use in app.plan(call, user, methods=["rewriting"], tokens=2000).call.used]


def test_without_learning_everything_found_is_offered(tmp_path):
    app = build(tmp_path)
    hits = view(app.store, "dora").search("which mail about tea", 8)
    shown = texts(app)
    assert shown[-1].startswith("Words that come back: tea, dora, fact")
    assert len(shown) == len({text.split("→")[-1] for text in shown})
    for hit in hits:
        assert any(hit.record.output in text for text in shown)
    assert any(FOOTER in text for text in shown)


def test_what_lowers_the_reward_is_dropped_for_people_never_seen(tmp_path):
    app = build(tmp_path)
    app.fit("rewriting", ["ana", "bob", "dora"])
    (artifact,) = app.store.artifacts(EVERYONE)
    payload = orjson.loads(artifact.payload)
    assert (artifact.people, artifact.record_ids) == (("ana", "bob"), ())
    reward = payload["reward"]
    assert reward["search"] > reward["all"]
    assert reward["supervised"] == reward["search"]
    assert reward["reinforced"] >= reward["supervised"]
    assert payload["asked"] == len(app.backend.calls)
    shown = texts(app)
    assert not any(FOOTER in text for text in shown)
    assert sum(" fact " in text for text in shown) == 4  # of the 8 found, the others are the footer
    assert artifact.id in {use.id for use in app.plan(ASKED, "dora", methods=["rewriting"]).call.used}
    assert b"fact" not in artifact.payload


def test_instructions_and_what_was_just_written_stay_as_they_are(tmp_path):
    app = build(tmp_path)
    app.fit("rewriting", ["ana", "bob"])
    after = app.plan(ASKED, "dora", methods=["rewriting"]).call.messages
    assert after[1:3] == ASKED.messages[1:3]
    assert after[0]["content"].startswith(ASKED.messages[0]["content"])
    assert after[3]["content"].endswith("\n" + ASKED.messages[3]["content"])
    head, _, rest = after[3]["content"].partition("<personal-data>")
    assert (head, rest.split("</personal-data>")[1]) == ("", "\n\n" + ASKED.messages[3]["content"])


def test_the_search_finds_the_best_edits_one_by_one():
    worth = np.array([1.0, -3.0, 0.0, -2.0])
    rewards = Rewards(lambda asked: [float(worth @ mask) for _, mask in asked])
    assert [mask.tolist() for mask in search([4, 4], rewards, 1)] == [[True, False, True, True]] * 2
    assert search([4], rewards, 9)[0].tolist() == [True, False, True, False]  # worth nothing, costs nothing: kept
    assert rewards.asked == 2 * (1 + 4) + 3 + 2
    assert search([0], flat(), 2)[0].size == 0


def test_imitation_solves_the_penalized_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    kept = x[:, 0] + 0.3 * rng.normal(size=200) > 0
    policy = imitate([x[:120], x[120:]], [kept[:120], kept[120:]], 0.5)
    slope = policy.standard(x).T @ (kept - policy.probabilities(x)) - 0.5 * policy.weights
    np.testing.assert_allclose(slope, 0, atol=1e-8)
    assert (policy.keep(x) == kept).mean() > 0.9


def flat(value=0.0, noise=0.0, effect=0.0):
    """Rewards that say nothing, or only noise, or that the first piece harms."""
    rng = np.random.default_rng(5)
    return Rewards(lambda asked: [value + noise * rng.normal() - effect * mask[:1].any() for _, mask in asked])


FEATURED = [np.random.default_rng(at).normal(size=(4, 3)) for at in range(6)]
START = Policy(np.zeros(3), np.ones(3), np.array([0.5, -0.2, 0.1, 1.0]))


def test_flat_rewards_teach_nothing_and_the_kl_holds_against_noise():
    same = reinforce(START, FEATURED, flat(-3.0), Reinforcement(steps=20), np.random.default_rng(0))
    np.testing.assert_array_equal(same.weights, START.weights)
    drifts = []
    for kl in (0.0, 3.0):
        how = Reinforcement(steps=60, samples=4, rate=0.3, kl=kl)
        policy = reinforce(START, FEATURED, flat(noise=1.0), how, np.random.default_rng(0))
        drifts.append(divergence(policy, START, FEATURED))
    assert 0 <= drifts[1] < 0.25 * drifts[0]


def test_reinforcement_goes_beyond_what_was_imitated():
    features = [np.array([[1.0, 0, 0], [-1, 0, 0], [-1, 0, 0], [-1, 0, 0]]) for _ in range(4)]
    how = Reinforcement(steps=40, samples=4, rate=0.5, kl=0.05)
    policy = reinforce(START, features, flat(effect=2.0), how, np.random.default_rng(0))
    assert START.probabilities(features[0])[0] > 0.8
    assert policy.probabilities(features[0])[0] < 0.5
    assert policy.probabilities(features[0])[1] > 0.5


def test_the_divergence_is_the_kl_of_coins():
    one = Policy(np.zeros(1), np.ones(1), np.array([0.0, np.log(3)]))
    two = Policy(np.zeros(1), np.ones(1), np.array([0.0, 0.0]))
    assert divergence(one, two, [np.zeros((2, 1))]) == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5))


def test_pieces_merge_and_are_described(tmp_path):
    user = view(build(tmp_path).store, "ana")
    pieces = segments(user, "mail about tea", 8)
    merged = merge(pieces)
    footers = [piece for piece in merged if piece.text == FOOTER]
    assert len(footers) == 1
    assert footers[0].copies == 4
    assert sum(piece.text == FOOTER for piece in pieces) == 4
    table = measure(merged, user, "mail about tea")
    row = dict(zip(FEATURES, table[merged.index(footers[0])], strict=True))
    assert row["same"] == pytest.approx(4 / 28)
    assert (row["copies"], row["overlap"], row["rank"], row["score"], row["input"]) == (4, 1, 0, 1, 0)
    assert row["dialogue"] == 1
    asked = next(piece for piece in merged if piece.part == "input")
    assert table[merged.index(asked)][FEATURES.index("input")] == 1
    assert table[-1][FEATURES.index("words")] == 1
