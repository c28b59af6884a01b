"""Tokens of a generic user and what moves them to a person: the loss by hand, who teaches what, and what is served."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from alignment.people import house, leans, plan
from helpers import InsideToy, KeptInMemory, Killed, killed_after
from idiolect.alignment.shared.user_tokens import Form, train
from idiolect.store.sharing import share
from idiolect.trainable import Example, Job, Recipe
from idiolect.training import unfinished
from idiolect.training.user_encoder import unpack
from idiolect.types import EVERYONE
from tiny import ask

RECIPE = Recipe(rate=0.3, epochs=6, batch=4, warmup=0.0, schedule="constant")
SPEC = {"name": "user_tokens", "rate": 0.2, "epochs": 30, "batch": 8, "hold_out": 0.0, "beta": 0.5}


def choices(name, taken, left, count=4, held=0):
    found = [Example(ask(f"what {n}"), taken, rejected=left) for n in range(count + held)]
    return Job(name, found[:count], found[count:])


def start(model, length=2):
    return model.embeddings(range(length))


def odds(model, vectors, taken="tea", left="milk"):
    call = ask("what now", soft_prompt=vectors)
    one, other = model.logprobs([call, call], [taken, left])
    return one - other


def test_one_step_is_that_of_the_formula():
    model, job = InsideToy(), choices("ana", "tea", "milk", 1)
    first, form = start(model, 1), Form(alpha=0.75, beta=0.2)
    recipe = replace(RECIPE, epochs=1, rate=1e-3, clip=0.0)
    made = train(model, [job], first, form, recipe)
    call = job.examples[0].call

    def loss(generic, own):
        def of(vectors):
            asked = [replace(call, soft_prompt=vectors)] * 2 + [call] * 2
            a, b, c, d = model.logprobs(asked, ["tea", "milk"] * 2)
            return math.log1p(math.exp(-form.beta * (a - b - (c - d))))

        return form.alpha * of(generic + own) + (1 - form.alpha) * of(generic)

    assert made.losses == pytest.approx([loss(first, 0 * first)], abs=1e-6)
    signs = {"generic": [], "own": []}
    for n in range(model.hidden):
        step = np.zeros_like(first)
        step[0, n] = 1e-2
        signs["generic"].append(loss(first + step, 0 * first) - loss(first - step, 0 * first))
        signs["own"].append(loss(first, step) - loss(first, -step))
    for slopes, moved in ((signs["generic"], made.generic - first), (signs["own"], made.own["ana"])):
        clear = np.abs(slopes) > 1e-4
        assert clear.sum() > 4
        assert (np.sign(moved[0])[clear] == -np.sign(np.array(slopes)[clear])).all()


def test_people_who_take_opposite_things_move_apart_from_the_generic_user():
    model = InsideToy()
    jobs = [choices("ana", "tea", "milk", held=1), choices("bob", "milk", "tea", held=1)]
    made = train(model, jobs, start(model), Form(beta=1.0), RECIPE)
    bare = odds(model, start(model))
    ana, bob = (odds(model, made.generic + made.own[name]) for name in ("ana", "bob"))
    assert ana > bare + 1
    assert bob < bare - 1
    assert bob < odds(model, made.generic) < ana
    assert min(made.held) < made.generic_held
    assert len(made.held) == len(made.losses) + 1


def test_the_generic_user_knows_what_all_take():
    model = InsideToy()
    jobs = [choices(name, "tea", "milk") for name in ("ana", "bob", "cyd")]
    made = train(model, jobs, start(model), Form(beta=1.0), RECIPE)
    assert odds(model, made.generic) > odds(model, start(model)) + 1


def test_nobody_elses_choices_move_a_persons_own_tokens_over_fixed_ones():
    model = InsideToy()
    job = choices("ana", "tea", "milk")
    alone = train(model, [job], start(model), Form(), RECIPE, fixed=True)
    np.testing.assert_array_equal(alone.generic, start(model))
    assert odds(model, start(model) + alone.own["ana"]) > odds(model, start(model))
    other = choices("bob", "milk", "tea", 0)
    beside = train(model, [job, other], start(model), Form(), RECIPE, fixed=True)
    np.testing.assert_array_equal(beside.own["ana"], alone.own["ana"])
    assert not beside.own["bob"].any()


def test_alpha_0_leaves_everybody_the_generic_user():
    model = InsideToy()
    made = train(model, [choices("ana", "tea", "milk")], start(model), Form(alpha=0.0), RECIPE)
    assert not made.own["ana"].any()
    assert odds(model, made.generic) > odds(model, start(model))


def test_the_best_pass_is_kept():
    model = InsideToy()
    learnt = choices("ana", "tea", "milk").examples
    job = Job("ana", learnt, [Example(ask("what now"), "milk", rejected="tea")])  # what is learnt makes it worse
    made = train(model, [job], start(model), Form(beta=1.0), replace(RECIPE, patience=1))
    assert made.steps < RECIPE.epochs
    call = replace(job.held[0].call, soft_prompt=made.generic + made.own["ana"])
    a, b = model.logprobs([call, call], ["milk", "tea"])
    c, d = model.logprobs([job.held[0].call] * 2, ["milk", "tea"])
    assert math.log1p(math.exp(-(a - b - (c - d)))) == pytest.approx(min(made.held), abs=1e-5)


def test_a_killed_run_goes_on_and_ends_with_the_same_tokens(monkeypatch):
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", -1.0)
    model = InsideToy()
    jobs = [
        choices("ana", "tea", "milk", held=1),
        choices("bob", "milk", "tea", 3, held=1),
        choices("cyd", "ale", "tea", 1),
    ]
    whole, kept, told = train(model, jobs, start(model), Form(), RECIPE), KeptInMemory(), []
    with pytest.raises(Killed):
        train(model, jobs, start(model), Form(), RECIPE, check=killed_after(5), checkpoints=kept)
    made = train(model, jobs, start(model), Form(), RECIPE, progress=told.append, checkpoints=kept)
    assert sum(told) < RECIPE.epochs * 8 - 8
    assert made.generic.tobytes() == whole.generic.tobytes()
    assert {key: one.tobytes() for key, one in made.own.items()} == {k: one.tobytes() for k, one in whole.own.items()}
    assert (made.losses, made.held, made.generic_held) == (whole.losses, whole.held, whole.generic_held)
    told.clear()
    train(model, jobs, start(model), Form(), RECIPE, progress=told.append, checkpoints=kept)
    assert not told  # what is finished stays until it is dropped
    train(model, jobs, start(model), Form(beta=0.1), RECIPE, progress=told.append, checkpoints=kept)
    assert sum(told) == RECIPE.epochs * 8


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    pytest.importorskip("torch")
    app = house(tmp_path_factory.mktemp("house"))
    assert app.fit(SPEC, ["ana", "bob"]) == 3
    return app


def test_each_one_is_answered_as_they_choose(app):
    ana, bob = (leans(app, plan(app, name, SPEC)) for name in ("ana", "bob"))
    nobody = plan(app, "nobody", SPEC)
    assert nobody.soft_prompt is None
    assert bob + 1 < leans(app, nobody) < ana - 1


def test_a_newcomer_is_the_generic_user_and_then_has_tokens_of_their_own(app):
    (generic,) = app.store.artifacts(EVERYONE)
    call = plan(app, "cyd", SPEC)
    assert [used.id for used in call.used] == [generic.id]
    np.testing.assert_array_equal(call.soft_prompt, unpack(generic.payload)[0]["tokens"])
    before = leans(app, call)
    share(app.store, "cyd", True)
    app.settings = replace(app.settings, peers=replace(app.settings.peers, least=1))
    assert app.fit(SPEC, ["cyd"]) == 1
    assert [one.id for one in app.store.artifacts(EVERYONE)] == [generic.id]
    assert leans(app, plan(app, "cyd", SPEC)) < before - 0.5
    assert app.fit(SPEC, ["cyd"]) == 0
    (own,) = app.store.artifacts("cyd")
    assert set(own.people) == {"ana", "bob"}


def test_it_goes_with_the_choices_and_with_the_consent(tmp_path):
    pytest.importorskip("torch")
    app = house(tmp_path)
    quick = {**SPEC, "epochs": 1}
    app.fit(quick, ["ana", "bob"])
    assert all(plan(app, name, quick).soft_prompt is not None for name in ("ana", "bob", "cyd"))
    share(app.store, "bob", False)
    assert plan(app, "ana", quick).soft_prompt is None
    assert not app.store.artifacts(EVERYONE)
