"""Vectors out of choices: the loss by hand, its symmetry, what stops it, and what is kept and served."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from helpers import HashEmbedder, InsideToy, KeptInMemory, Killed, killed_after, open_store, say
from idiolect.alignment.bipo import pairs_of
from idiolect.alignment.shared.steering import Job, Pair, odds, train
from idiolect.backends.toy import ToyBackend
from idiolect.config import Settings
from idiolect.errors import ConfigError, UnsupportedCall
from idiolect.memory.feedback import Feedback, record_of
from idiolect.pipeline import Idiolect
from idiolect.prompting.shared.vectors import unpack
from idiolect.registry import make_method
from idiolect.store.view import view
from idiolect.trainable import Recipe
from idiolect.training import unfinished
from idiolect.types import Call, Steer

ASK = Call(({"role": "user", "content": "how was the day"},))
RECIPE = Recipe(rate=0.02, epochs=6, batch=2, decay=0.05, schedule="cosine", patience=2)
SHORT = ("fine", "good", "it was", "yes", "no", "well", "ok then", "sure", "right", "so so")


def question(n):
    return Call(({"role": "user", "content": f"how was day {n}"},))


def likes(n=6, *, shouting=True, start=0):
    """Pairs in which somebody takes the answer in capitals, or the other."""
    found = []
    for at in range(start, start + n):
        loud, quiet = SHORT[at % len(SHORT)].upper(), SHORT[at % len(SHORT)]
        found.append(Pair(question(at), *((loud, quiet) if shouting else (quiet, loud))))
    return found


def trained(jobs, model=None, recipe=RECIPE, beta=0.1, places=4, **more):
    return {one.key: one for one in train(model or InsideToy(), jobs, 1, beta, recipe, places, **more)}


def cosine(one, two):
    return float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


def test_gradients_of_the_toy_are_those_of_differences():
    model = InsideToy()
    vector = np.random.default_rng(0).normal(scale=0.3, size=model.hidden).astype(np.float32)
    calls = [replace(ASK, steering=(Steer(1, vector, -0.7),)), replace(question(1), steering=(Steer(0, vector, 2.0),))]
    scores, gradients = model.steer_gradients(calls, ["fine", "FINE"], [1.5, -1.0])
    np.testing.assert_allclose(scores, model.logprobs(calls, ["fine", "FINE"]), rtol=1e-5)
    for at in range(0, model.hidden, 3):
        step = 1e-2 * np.eye(model.hidden, dtype=np.float32)[at]
        for n, (call, text, weight) in enumerate(zip(calls, ["fine", "FINE"], [1.5, -1.0], strict=True)):
            (steer,) = call.steering
            both = [replace(call, steering=(replace(steer, vector=steer.vector + by),)) for by in (step, -step)]
            up, down = model.logprobs(both, [text] * 2)
            assert weight * (up - down) / 2e-2 == pytest.approx(float(gradients[n][at]), abs=1e-2)


def test_one_step_is_that_of_the_formula():
    (pair,) = likes(1)
    recipe = Recipe(rate=0.5, epochs=1, batch=1, warmup=0.0, schedule="constant", decay=0.1)
    made = trained([Job("ana", [pair])], recipe=recipe)["ana"]
    assert made.losses == (pytest.approx(math.log(2)),)
    assert (made.held, made.steps) == ((), 1)
    model = InsideToy()
    zero = Steer(1, np.zeros(model.hidden, np.float32))
    asked = [replace(pair.call, steering=(zero,))] * 2
    _, (better, worse) = model.steer_gradients(asked, [pair.better, pair.worse], [1.0, -1.0])
    states = model.activations([pair.call], [pair.better], 1)[0]
    size = np.mean(np.linalg.norm(states, axis=1)) / np.sqrt(model.hidden)
    # Adam's first step is the sign of the gradient, here of -(grad log p(better) - grad log p(worse)) / 2
    np.testing.assert_allclose(made.vector, 0.5 * size * np.sign(better + worse), rtol=1e-3)


def test_the_loss_of_the_second_step_is_against_no_vector():
    (pair,) = likes(1)
    recipe = Recipe(rate=0.05, epochs=2, batch=1, warmup=0.0, schedule="constant")
    first = trained([Job("ana", [pair])], recipe=replace(recipe, epochs=1))["ana"].vector
    made = trained([Job("ana", [pair])], recipe=recipe)["ana"]
    model = InsideToy()
    (plain,) = odds(model, [pair], [()])
    losses = [
        np.logaddexp(0, -0.1 * sign * (odds(model, [pair], [(Steer(1, first, sign),)])[0] - plain))
        for sign in (1.0, -1.0)
    ]
    assert made.losses[1] == pytest.approx(losses[0], rel=1e-4) or made.losses[1] == pytest.approx(losses[1], rel=1e-4)
    assert max(losses) < math.log(2)  # both signs of the vector do what they are for


def test_the_opposite_choices_give_the_opposite_vector():
    one = trained([Job("ana", likes())])["ana"].vector
    two = trained([Job("ana", likes(shouting=False))])["ana"].vector
    assert cosine(one, two) < -0.95


def test_the_gap_grows_with_the_strength_on_prompts_that_were_not_learnt():
    made = trained([Job("ana", likes())])["ana"].vector
    model, probe = InsideToy(), likes(4, start=6)
    gaps = [odds(model, probe, [(Steer(1, made, strength),)] * 4).mean() for strength in (-2, -1, 0, 1, 2)]
    assert np.all(np.diff(gaps) > 0)
    assert gaps[2] == pytest.approx(odds(model, probe, [()] * 4).mean())


def test_a_vector_does_not_depend_on_what_is_trained_beside_it():
    jobs = [
        Job("ana", likes(), likes(2, start=6)),
        Job("bob", likes(4, shouting=False)),
        Job("cleo", likes(3, start=3)),
    ]
    for places in (1, 2, 3):
        together = trained([*jobs, Job("nobody", [])], places=places)
        assert together.keys() == {"ana", "bob", "cleo"}
        for job in jobs:
            alone = trained([job])[job.key]
            np.testing.assert_array_equal(together[job.key].vector, alone.vector)
            assert together[job.key].losses == alone.losses
            assert together[job.key].held == alone.held


def test_it_ends_once_held_out_choices_are_foreseen_no_better_and_keeps_the_best():
    recipe = replace(RECIPE, epochs=30, rate=0.3, patience=2)
    made = trained([Job("ana", likes(), likes(2, start=6))], recipe=recipe)["ana"]
    assert made.held[0] == pytest.approx(math.log(2))
    assert len(made.held) - 1 - int(np.argmin(made.held)) == 2
    assert len(made.losses) == len(made.held) - 1 < 30
    best = int(np.argmin(made.held))
    until = trained([Job("ana", likes())], recipe=replace(recipe, epochs=30))  # the same steps, without a look
    assert until["ana"].losses[:best] == made.losses[:best]
    model, held = InsideToy(), likes(2, start=6)
    change = [odds(model, held, [(Steer(1, made.vector, sign),)] * 2) - odds(model, held, [()] * 2) for sign in (1, -1)]
    loss = np.mean([np.logaddexp(0, -0.1 * sign * by).mean() for sign, by in zip((1, -1), change, strict=True)])
    assert loss == pytest.approx(min(made.held), rel=1e-4)


def test_choices_that_contradict_those_held_out_give_no_vector():
    made = trained([Job("ana", likes(), likes(4, shouting=False))])["ana"]
    assert not made.vector.any()
    assert min(made.held) == made.held[0]


def test_progress_and_ending_between_steps():
    seen = []
    trained([Job("ana", likes(5))], recipe=replace(RECIPE, epochs=2), progress=seen.append)
    assert seen == [2, 2, 1, 2, 2, 1]

    def stop():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        trained([Job("ana", likes(5))], check=stop)


def test_a_killed_run_goes_on_and_ends_with_the_same_vectors(monkeypatch):
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", -1.0)
    jobs = [Job("ana", likes(4), likes(2, start=6)), Job("bob", likes(6, shouting=False)), Job("cyd", likes(2))]
    whole, kept, told = trained(jobs, places=2), KeptInMemory(), []
    with pytest.raises(Killed):
        trained(jobs, places=2, check=killed_after(5), checkpoints=kept)
    assert set(kept) == {"ana", "bob"}
    made = trained(jobs, places=2, progress=told.append, checkpoints=kept)
    assert not kept
    assert sum(told) < RECIPE.epochs * 12 - 12
    for key, one in whole.items():
        assert made[key].vector.tobytes() == one.vector.tobytes()
        assert (made[key].losses, made[key].held) == (one.losses, one.held)
    with pytest.raises(Killed):
        trained(jobs[:1], check=killed_after(3), checkpoints=kept)
    other = trained(jobs[:1], beta=0.2, checkpoints=KeptInMemory(kept))["ana"]
    assert other.vector.tobytes() == trained(jobs[:1], beta=0.2)["ana"].vector.tobytes()


def edited(n, at, shouting=True):
    quiet = SHORT[n % len(SHORT)]
    loud = quiet.upper()
    answer, edit = (quiet, loud) if shouting else (loud, quiet)
    return record_of("ana", f"how was day {n}", answer, Feedback(edit=edit), time=at, trace="")


def house(path, model=None, n=6, shouting=True):
    store = open_store(path, HashEmbedder())
    store.add([edited(i, 1e9 + i, shouting) for i in range(n)])
    return Idiolect(store, model or InsideToy(), Settings(methods=()), clock=lambda: 2e9, backend_name="toy")


def fitted(app, **settings):
    app.fit({"name": "bipo", **settings}, ["ana"])
    return app.store.artifacts("ana")[0]


def test_pairs_are_choices_and_edits_with_their_prompts():
    chosen = record_of("ana", "a or b", "x", Feedback(drafts=("aa", "bb", "cc"), chosen=1), time=1.0, trace="")
    remark = record_of("ana", "a or b", "x", Feedback(comment="nice"), time=2.0, trace="")
    long = record_of("ana", "q", "y" * 2001, Feedback(edit="y" * 2002), time=3.0, trace="")
    found = pairs_of([chosen, remark, long, edited(0, 4.0), say("ana", "hello", 5.0)])
    texts = [(pair.call.query, pair.better, pair.worse) for pair in found]
    assert texts == [("a or b", "bb", "aa"), ("a or b", "bb", "cc"), ("how was day 0", "FINE", "fine")]


def test_what_is_kept_is_two_bytes_a_number_and_served_with_the_strength_asked_for(tmp_path):
    app = house(tmp_path)
    artifact = fitted(app)
    head, vector = unpack(artifact.payload)
    line = artifact.payload.index(b"\n") + 1
    assert len(artifact.payload) - line == 2 * 16
    assert head["layer"] == 2  # 15/32 of four layers, rounded
    assert len(artifact.record_ids) == 6
    assert app.plan(ASK, "ana", methods=[{"name": "bipo", "strength": 0}]).call is ASK
    for strength in (1.0, -2.0):
        call = app.plan(ASK, "ana", methods=[{"name": "bipo", "strength": strength}]).call
        (one,) = call.steering
        np.testing.assert_array_equal(one.vector, vector)
        assert (one.layer, one.strength, one.along) == (2, strength, False)
        assert [(used.id, used.score) for used in call.used] == [(artifact.id, strength)]


def test_served_vectors_move_the_answer_the_way_of_the_choices(tmp_path):
    app, model = house(tmp_path), InsideToy()
    fitted(app, rate=0.05)
    probe = Pair(ASK, "VERY WELL", "very well")
    gaps = []
    for strength in (-1.0, 0.0, 1.0):
        call = app.plan(ASK, "ana", methods=[{"name": "bipo", "rate": 0.05, "strength": strength}]).call
        gaps.append(float(odds(model, [probe], [call.steering])[0]))
    assert gaps == sorted(gaps)
    assert gaps[2] - gaps[1] > 0.1


def test_few_choices_train_nothing_and_new_ones_train_anew(tmp_path):
    app = house(tmp_path, n=2)
    assert app.fit("bipo", ["ana"]) == 0
    method = make_method("bipo")[1]
    assert not method.stale(view(app.store, "ana"))
    app.store.add([edited(i, 1e9 + i) for i in range(2, 5)])
    assert method.stale(view(app.store, "ana"))
    assert app.fit("bipo", ["ana"]) == 1
    assert not method.stale(view(app.store, "ana"))
    assert app.fit("bipo", ["ana"]) == 0  # the same records
    app.store.add([edited(i, 1e9 + i) for i in range(5, 30)])
    assert method.stale(view(app.store, "ana"))
    artifact = fitted(app, newest=10)
    assert len(artifact.record_ids) == 10
    assert artifact.scores["held"] < artifact.scores["plain"] == pytest.approx(math.log(2))


def test_a_zero_vector_leaves_the_call_untouched(tmp_path):
    app = house(tmp_path)
    app.store.add([edited(i, 2e9 - 100 + i, shouting=False) for i in range(6)])
    artifact = fitted(app, hold_out=0.5)
    assert not unpack(artifact.payload)[1].any()
    assert app.plan(ASK, "ana", methods=[{"name": "bipo", "hold_out": 0.5}]).call is ASK


def test_the_vector_of_another_model_or_another_layer_is_not_used(tmp_path):
    app = house(tmp_path)
    fitted(app)
    assert app.plan(ASK, "ana", methods=[{"name": "bipo", "layer": 1}]).call is ASK
    app.backend = InsideToy(strength=2.0)
    assert app.plan(ASK, "ana", methods=["bipo"]).call is ASK


def test_a_layer_that_is_not_there_and_a_closed_model_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="layers 0 to 3"):
        fitted(house(tmp_path), layer=4)
    with pytest.raises(UnsupportedCall, match="inside"):
        fitted(house(tmp_path / "b", ToyBackend()))
