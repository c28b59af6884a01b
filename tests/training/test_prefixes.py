"""Prefixes of many people at once: each as if alone, by the true gradient, and the best pass is kept."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from helpers import InsideToy, KeptInMemory, Killed, killed_after
from idiolect.trainable import Example, Job, Recipe
from idiolect.training import unfinished
from idiolect.training.prefixes import train
from tiny import ask

RECIPE = Recipe(rate=0.3, epochs=4, batch=2, warmup=0.0, schedule="constant")


def job(name, text, examples=3, held=2, question="what"):
    asked = [Example(ask(f"{question} {n}"), text) for n in range(examples + held)]
    return Job(name, asked[:examples], asked[examples:])


def start(model, length=2):
    return model.embeddings(range(length))


def test_each_prefix_learns_what_its_person_says_and_is_the_same_alone():
    model = InsideToy()
    jobs = [job("ana", "tea"), job("bob", "milk", 5, question="a longer one"), job("cyd", "ale", 1, 0)]
    together = {one.key: one for one in train(model, jobs, start(model), RECIPE, 3)}
    in_turn = {one.key: one for one in train(model, jobs, start(model), RECIPE, 1)}
    for one in jobs:
        (alone,) = train(model, [one], start(model), RECIPE, 3)
        for other in (together[one.key], in_turn[one.key]):
            np.testing.assert_allclose(other.vectors, alone.vectors, atol=1e-6)
            assert other.losses == pytest.approx(alone.losses, abs=1e-6)
            assert other.steps == alone.steps
        assert alone.losses[-1] < alone.losses[0]
    calls = [replace(ask("what now"), soft_prompt=together[name].vectors) for name in ("ana", "bob")]
    says = np.array(model.logprobs([c for c in calls for _ in range(2)], ["tea", "milk"] * 2)).reshape(2, 2)
    assert (says.argmax(axis=1) == [0, 1]).all()


def test_the_first_step_goes_down_the_measured_slope():
    model, one = InsideToy(), job("ana", "tea", 1, 0)
    first = start(model, 1)
    (made,) = train(model, [one], first, replace(RECIPE, epochs=1, rate=1e-3), 1)

    def loss(vectors):
        return -model.logprobs([replace(one.examples[0].call, soft_prompt=vectors)], ["tea"])[0] / 3

    moved = made.vectors - first
    slopes = []
    for n in range(model.hidden):
        up = first.copy()
        up[0, n] += 1e-2
        slopes.append((loss(up) - loss(first)) / 1e-2)
    clear = np.abs(slopes) > 1e-2
    assert clear.sum() > 8
    assert (np.sign(moved[0])[clear] == -np.sign(np.array(slopes)[clear])).all()
    # Adam's first step is as long as the rate in every number: here a part of an embedding's usual size
    np.testing.assert_allclose(np.abs(moved[0])[clear], 1e-3 * model.embedding_norm / model.hidden**0.5, rtol=1e-2)
    assert made.losses == pytest.approx([loss(first)], abs=1e-5)


def test_the_best_pass_is_kept_and_training_ends_once_it_is_past():
    model = InsideToy()
    learnt = [Example(ask(f"what {n}"), "tea") for n in range(4)]
    held = [Example(ask("what now"), "milk")]  # what is learnt makes it worse
    (made,) = train(model, [Job("ana", learnt, held)], start(model), replace(RECIPE, epochs=9, patience=2), 1)
    assert len(made.held) == np.argmin(made.held) + 3
    assert made.steps == 2 * (len(made.held) - 1)
    call = replace(held[0].call, soft_prompt=made.vectors)
    assert -model.logprobs([call], ["milk"])[0] / 4 == pytest.approx(min(made.held), abs=1e-5)
    assert made.bare == pytest.approx(-model.logprobs([held[0].call], ["milk"])[0] / 4, abs=1e-6)


def test_places_are_taken_as_they_become_free_and_the_work_can_be_ended():
    model, drawn = InsideToy(), []

    def jobs():
        for n in range(6):
            drawn.append(n)
            yield job(f"u{n}", "tea", 1 + n % 2, 0)

    made = train(model, jobs(), start(model), replace(RECIPE, epochs=1), 2)
    next(made)
    assert drawn == [0, 1]
    assert [one.key for one in made] == [f"u{n}" for n in range(1, 6)]

    class Ended(Exception):
        pass

    def stop():
        raise Ended

    with pytest.raises(Ended):
        next(train(model, jobs(), start(model), RECIPE, 2, check=stop))
    told = []
    list(train(model, [job("ana", "tea"), Job("nobody", [])], start(model), RECIPE, 2, progress=told.append))
    assert sum(told) == 3 * RECIPE.epochs


def test_examples_count_by_their_weight():
    model = InsideToy()
    both = [Example(ask("what"), "tea", 0.0), Example(ask("what"), "milk")]
    weighed, alone = (
        next(train(model, [Job("ana", part)], start(model), replace(RECIPE, epochs=2), 1)) for part in (both, both[1:])
    )
    np.testing.assert_allclose(weighed.vectors, alone.vectors, atol=1e-6)


def test_a_prefix_stands_before_other_soft_prompts_which_stay_as_they_are():
    model = InsideToy()
    other = np.full((3, model.hidden), 0.1, np.float32)
    asked = [Example(ask("what", soft_prompt=other), "tea")]
    (made,) = train(model, [Job("ana", asked)], start(model), RECIPE, 1)
    assert made.vectors.shape == (2, model.hidden)
    seen = list(itertools.accumulate(made.losses, min))
    assert seen == list(made.losses)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_killed_run_goes_on_and_ends_with_the_same_vectors(monkeypatch, steps):
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", -1.0)
    model, jobs = InsideToy(), [job("ana", "tea"), job("bob", "milk", 5), job("cyd", "ale", 4, 0)]
    whole = {one.key: one for one in train(model, jobs, start(model), RECIPE, 2)}
    kept, made, told = KeptInMemory(), {}, []
    with pytest.raises(Killed):
        made |= {
            one.key: one
            for one in train(model, jobs, start(model), RECIPE, 2, check=killed_after(steps), checkpoints=kept)
        }
    assert set(kept) == {"ana", "bob"}
    for one in train(model, jobs, start(model), RECIPE, 2, progress=told.append, checkpoints=kept):
        made[one.key] = one
    assert not kept
    assert sum(told) < RECIPE.epochs * sum(len(one.examples) for one in jobs)
    for key, one in whole.items():
        assert made[key].vectors.tobytes() == one.vectors.tobytes()
        assert (made[key].losses, made[key].held, made[key].bare) == (one.losses, one.held, one.bare)


def test_unfinished_work_of_another_training_is_not_gone_on_with(monkeypatch):
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", -1.0)
    model, kept = InsideToy(), KeptInMemory()
    with pytest.raises(Killed):
        list(train(model, [job("ana", "tea")], start(model), RECIPE, 1, check=killed_after(3), checkpoints=kept))
    for jobs, recipe in (([job("ana", "ale")], RECIPE), ([job("ana", "tea")], replace(RECIPE, rate=0.2))):
        (fresh,) = train(model, jobs, start(model), recipe, 1)
        (made,) = train(model, jobs, start(model), recipe, 1, checkpoints=KeptInMemory(kept))
        assert made.vectors.tobytes() == fresh.vectors.tobytes()
