"""Style vectors in a world where the person's answers are generic ones plus a known direction."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import HashEmbedder, InsideToy, open_store, say
from idiolect.backends.toy import ToyBackend
from idiolect.config import Settings
from idiolect.errors import ConfigError, MalformedAnswer, UnsupportedCall
from idiolect.pipeline import Idiolect
from idiolect.prompting.shared.vectors import steer, unpack
from idiolect.types import Call, Completion

ASK = Call(({"role": "user", "content": "how was the day"},))
DIRECTION = np.arange(16, dtype=np.float32) / 16


class Linear(InsideToy):
    """What the person says is what the model says, in capitals; in the states that adds a direction."""

    answers = True

    def generate(self, calls):
        text = "it was fine, thank you"
        return [Completion(text if self.answers else " ") for _ in calls]

    def activations(self, calls, continuations, layer):
        states = super().activations(calls, [text.lower() for text in continuations], layer)
        return [s + (layer + 1) * DIRECTION * text.isupper() for s, text in zip(states, continuations, strict=True)]

    def token_logprobs(self, calls, continuations):
        """With records in the prompt the first four tokens are likelier by one nat."""
        known = ["FINE" in str(call.messages) for call in calls]
        return [np.array([k * (at < 4) for at in range(len(t))], np.float32)
                for k, t in zip(known, continuations, strict=True)]  # fmt: skip


def house(path, model=None, n=6, text="IT WAS FINE, THANK YOU"):
    store = open_store(path, HashEmbedder())
    store.add([say("ana", text, 1e9 + i, kind="content", input=f"how was day {i}") for i in range(n)])
    return Idiolect(store, model or Linear(), Settings(methods=()), clock=lambda: 2e9, backend_name="toy")


def learnt(app, **settings):
    app.fit({"name": "style_vector", **settings}, ["ana"])
    artifact = app.store.artifacts("ana")[0]
    return artifact, *unpack(artifact.payload)


@pytest.mark.parametrize("position", ["last", "mean"])
@pytest.mark.parametrize(("layer", "read"), [(-1, 2), (0, 0), (3, 3)])
def test_the_added_direction_is_recovered(tmp_path, position, layer, read):
    artifact, head, vector = learnt(house(tmp_path), position=position, layer=layer)
    np.testing.assert_allclose(vector, (read + 1) * DIRECTION, atol=1e-5)
    assert (head["layer"], head["pairs"], head["malformed"]) == (read, 6, 0)
    assert len(artifact.record_ids) == 6


def test_only_tokens_with_an_effect_count_where_that_is_asked_for(tmp_path):
    app = house(tmp_path)
    _, head, vector = learnt(app, position="effect")
    toy, text = Linear(), "IT WAS FINE, THANK YOU"
    personal = toy.activations([ASK], [text], 2)[0][:4].mean(axis=0)
    generic = toy.activations([ASK], [text.lower()], 2)[0].mean(axis=0)
    np.testing.assert_allclose(vector, personal - generic, atol=1e-5)
    assert (head["pairs"], head["without_effect"]) == (5, 1)  # before the first record nothing is known


def test_the_strength_is_a_part_of_the_usual_length_of_a_state(tmp_path):
    app = house(tmp_path)
    artifact, head, vector = learnt(app)
    call = app.plan(ASK, "ana", methods=[{"name": "style_vector", "strength": 0.25}]).call
    (one,) = call.steering
    np.testing.assert_array_equal(one.vector, vector)
    assert one.strength * np.linalg.norm(one.vector) == pytest.approx(0.25 * head["norm"])
    assert call.messages == ASK.messages
    assert [used.id for used in call.used] == [artifact.id]
    doubled = steer(2, 2 * vector, head["norm"], 0.25)
    np.testing.assert_allclose(doubled.strength * doubled.vector, one.strength * one.vector, rtol=1e-5)


def test_without_strength_the_call_is_untouched(tmp_path):
    app = house(tmp_path)
    learnt(app)
    assert app.plan(ASK, "ana", methods=[{"name": "style_vector", "strength": 0}]).call is ASK


def test_the_vector_of_another_model_or_another_layer_is_not_used(tmp_path):
    app = house(tmp_path)
    learnt(app)
    assert app.plan(ASK, "ana", methods=[{"name": "style_vector", "layer": 1}]).call is ASK
    app.backend = Linear(strength=2.0)
    assert app.plan(ASK, "ana", methods=["style_vector"]).call is ASK


def test_a_person_like_the_model_is_not_steered_and_not_learnt_again(tmp_path):
    app = house(tmp_path, text="it was fine, thank you")
    _, _, vector = learnt(app)
    assert not vector.any()
    assert app.plan(ASK, "ana", methods=["style_vector"]).call is ASK
    from idiolect.registry import make_method
    from idiolect.store.view import view

    assert not make_method("style_vector")[1].stale(view(app.store, "ana"))


def test_what_others_said_is_left_out(tmp_path):
    app = house(tmp_path)
    app.store.add([say("ana", "NOT MINE", 1e9 + 50, speaker="bob"), say("ana", "MINE", 1e9 + 51, speaker="ana")])
    artifact, _, _ = learnt(app)
    texts = {app.store.find("ana", rid).output for rid in artifact.record_ids}
    assert "MINE" in texts
    assert "NOT MINE" not in texts


def test_a_model_that_writes_nothing_is_an_error(tmp_path):
    model = Linear()
    model.answers = False
    with pytest.raises(MalformedAnswer, match="6 past questions"):
        learnt(house(tmp_path, model))


def test_a_layer_that_is_not_there_and_a_closed_model_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="layers 0 to 3"):
        learnt(house(tmp_path), layer=4)
    with pytest.raises(UnsupportedCall, match="inside"):
        learnt(house(tmp_path / "b", ToyBackend()))
