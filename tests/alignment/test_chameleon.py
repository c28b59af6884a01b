"""The personal and the neutral direction, planted and found again, and the edit along them."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import HashEmbedder, InsideToy, open_store, say
from idiolect.alignment.chameleon import directions
from idiolect.backends.toy import ToyBackend
from idiolect.config import Settings
from idiolect.errors import ConfigError, MalformedAnswer, UnsupportedCall
from idiolect.pipeline import Idiolect
from idiolect.prompting.shared.vectors import unpack
from idiolect.registry import make_method
from idiolect.store.view import view
from idiolect.types import Call, Completion

ASK = Call(({"role": "user", "content": "how was the day"},))
OWN = np.arange(16, dtype=np.float32) / 8


class Linear(InsideToy):
    """What the person says is what the model says, in capitals; in the states that adds a direction."""

    answers = True

    def generate(self, calls):
        return [Completion("it was fine, thank you" if self.answers else " ") for _ in calls]

    def activations(self, calls, continuations, layer):
        states = super().activations(calls, [text.lower() for text in continuations], layer)
        return [s + (layer + 1) * OWN * text.isupper() for s, text in zip(states, continuations, strict=True)]


def house(path, model=None, n=6, text="IT WAS FINE, THANK YOU"):
    store = open_store(path, HashEmbedder())
    store.add([say("ana", text, 1e9 + i, kind="content", input=f"how was day {i}") for i in range(n)])
    return Idiolect(store, model or Linear(), Settings(methods=()), clock=lambda: 2e9, backend_name="toy")


def learnt(app, **settings):
    app.fit({"name": "chameleon", **settings}, ["ana"])
    artifact = app.store.artifacts("ana")[0]
    return artifact, *unpack(artifact.payload)


def planted(seed, n=12, hidden=24, noise=0.05):
    """States of pairs that differ by one direction, and in a second one by as much this way as that."""
    rng = np.random.default_rng(seed)
    own, topic = np.linalg.qr(rng.normal(size=(hidden, 2)))[0].T
    neutral = rng.normal(size=(n, hidden))
    swing = np.where(np.arange(n) % 2, 1.0, -1.0)[:, None]
    personal = neutral + 2.0 * own + 0.8 * swing * topic + noise * rng.normal(size=(n, hidden))
    return own, topic, personal.astype(np.float32), neutral.astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_what_was_planted_is_found(seed):
    own, topic, personal, neutral = planted(seed)
    found = directions(personal, neutral)
    assert found[0] @ own > 0.99
    assert abs(found[1] @ topic) > 0.97
    np.testing.assert_allclose(found @ found.T, np.eye(2), atol=1e-5)


def test_which_text_of_a_pair_is_whose_does_not_move_the_neutral_direction():
    _, _, personal, neutral = planted(0)
    one, two = directions(personal, neutral), directions(neutral, personal)
    np.testing.assert_allclose(one[0], -two[0], atol=1e-5)
    np.testing.assert_allclose(one[1], two[1], atol=1e-4)


def test_a_single_pair_has_no_neutral_direction_and_equal_texts_have_none_at_all():
    _, _, personal, neutral = planted(1)
    (own, other) = directions(personal[:1], neutral[:1])
    assert np.linalg.norm(own) == pytest.approx(1.0, abs=1e-6)
    assert not other.any()
    assert not directions(personal, personal).any()


def test_the_directions_of_each_layer_are_kept_as_float16(tmp_path):
    artifact, head, found = learnt(house(tmp_path), layers=[1, 3, 1])
    assert (head["layers"], head["pairs"], head["malformed"]) == ([1, 3], 6, 0)
    assert found.shape == (2, 2, 16)
    assert len(artifact.payload) - artifact.payload.index(b"\n") - 1 == 2 * found.size
    for own, other in found:
        np.testing.assert_allclose(own, OWN / np.linalg.norm(OWN), atol=1e-3)
        assert not other.any()  # all pairs differ by the same
    assert len(artifact.record_ids) == 6


class Swinging(Linear):
    """Pairs also differ in a second direction, by their length."""

    def activations(self, calls, continuations, layer):
        made = super().activations(calls, continuations, layer)
        other = np.eye(16, dtype=np.float32)[0]
        return [s + other * (len(text) - 24) * text.isupper() for s, text in zip(made, continuations, strict=True)]


def test_the_person_is_strengthened_and_the_neutral_weakened(tmp_path):
    app = house(tmp_path, Swinging())
    app.store.add([say("ana", "IT WAS FINE THANKS A LOT", 1e9 + 9, kind="content", input="how was it")])
    app.store.add([say("ana", "IT WAS FINE, THANK YOU ALL", 1e9 + 10, kind="content", input="how was it now")])
    artifact, _, found = learnt(app)
    call = app.plan(ASK, "ana", methods=[{"name": "chameleon", "alpha": 0.3, "beta": 0.7}]).call
    assert [(s.layer, s.strength, s.along) for s in call.steering] == [(2, 0.3, True), (2, -0.7, True)]
    np.testing.assert_array_equal([s.vector for s in call.steering], found[0])
    assert [used.id for used in call.used] == [artifact.id]
    only = app.plan(ASK, "ana", methods=[{"name": "chameleon", "beta": 0}]).call
    assert [s.strength for s in only.steering] == [0.5]
    assert app.plan(ASK, "ana", methods=[{"name": "chameleon", "alpha": 0, "beta": 0}]).call is ASK


def test_somebody_like_the_model_is_not_edited_and_not_learnt_again(tmp_path):
    app = house(tmp_path, text="it was fine, thank you")
    _, _, found = learnt(app)
    assert not found.any()
    assert app.plan(ASK, "ana", methods=["chameleon"]).call is ASK
    assert not make_method("chameleon")[1].stale(view(app.store, "ana"))


def test_the_directions_of_another_model_or_of_other_layers_are_not_used(tmp_path):
    app = house(tmp_path)
    learnt(app)
    assert app.plan(ASK, "ana", methods=[{"name": "chameleon", "layers": [1]}]).call is ASK
    app.backend = Linear(strength=2.0)
    assert app.plan(ASK, "ana", methods=["chameleon"]).call is ASK


def test_what_cannot_be_fitted_says_why(tmp_path):
    for settings, words in (({"layers": [4]}, "layers 0 to 3"), ({"layers": []}, "layers is empty")):
        with pytest.raises(ConfigError, match=words):
            learnt(house(tmp_path / words[-1]), **settings)
    with pytest.raises(UnsupportedCall, match="inside"):
        learnt(house(tmp_path / "closed", ToyBackend()))
    model = Linear()
    model.answers = False
    with pytest.raises(MalformedAnswer, match="6 past questions"):
        learnt(house(tmp_path / "silent", model))
