"""PLoRA beside plain LoRA, beside its own formula, and merged into weights and biases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from idiolect.backends.transformers import TransformersBackend
from idiolect.errors import InputError, Stopped
from idiolect.trainable import Example, Job, Recipe, Vectors
from idiolect.training import factors, peft_format, unfinished
from idiolect.types import EVERYONE, Adapter, Call
from merged import logprobs, merged
from tiny import CALLS, TEXTS, ask, write_model

torch = pytest.importorskip("torch")
RECIPE = Recipe(rank=4, alpha=8.0, rate=2e-2, epochs=20, batch=3, dtype="float32")
VECTORS = Vectors(width=4, rate=0.1, drop=0.0)
THINGS = ("the cat", "a dog here", "tea", "ana sings on a blue cat", "bob")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    backend = TransformersBackend(str(write_model(tmp_path_factory.mktemp("tiny"))), dtype="float32", threads=1)
    yield backend
    backend.close()


def job(name: str, answer: str, held: bool = True) -> Job:
    asked = [Example(ask(thing), answer) for thing in THINGS]
    return Job(name, asked[:4], asked[4:] if held else [])


@pytest.fixture(scope="module")
def joint(model):
    return model.train_jointly([job("ana", "red tea"), job("bob", "blue dog")], RECIPE, VECTORS)


def adapters(joint, name=""):
    own = [one.body for one in joint.people if one.key == name]
    return tuple(Adapter(body.digest, 1.0, body) for body in (joint.shared.body, *own))


def read(body):
    return peft_format.load(body.read())


def test_without_vectors_it_is_plain_lora(model):
    jobs = [job("ana", "red tea"), job("bob", "blue dog")]
    quick = replace(RECIPE, rate=1e-2, epochs=4)
    found = model.train_jointly(jobs, quick, replace(VECTORS, drop=1.0))
    pooled = Job("", [one for j in jobs for one in j.examples], [one for j in jobs for one in j.held])
    (plain,) = model.train([pooled], quick)
    ours, theirs = read(found.shared.body), read(plain.body)
    assert found.shared.losses == pytest.approx(plain.losses, abs=1e-3)
    assert found.shared.held == pytest.approx(plain.held, abs=1e-3)
    for name, one in theirs.modules.items():
        np.testing.assert_allclose(ours.modules[name].a, one.a, atol=1e-3)
        np.testing.assert_allclose(ours.modules[name].b, one.b, atol=1e-3)
    for person in found.people:  # a vector of zero is no change at all, bit by bit
        for one in read(person.body).modules.values():
            assert not one.bias.any()
            assert not one.delta().any()
    calls = [replace(call, adapters=adapters(found, name)) for call in CALLS for name in ("", "ana")]
    rows = model.token_logprobs(calls, [text for text in TEXTS for _ in range(2)])
    for with_, without in zip(rows[::2], rows[1::2], strict=True):
        np.testing.assert_allclose(with_, without, atol=1e-5)


def test_what_was_learnt_is_what_is_served(model, joint):
    held = [one for name in ("ana", "bob") for one in [(name, example) for example in job(name, "").held]]
    total = tokens = 0.0
    for name, example in held:
        text = {"ana": "red tea", "bob": "blue dog"}[name]
        call = replace(example.call, adapters=adapters(joint, name))
        engine = model._loaded()
        total -= logprobs(model, call, [text + " <end>"])[0]
        tokens += len(engine.tokens(text)) + 1
    assert total / tokens == pytest.approx(min(joint.shared.held), abs=1e-4)
    assert min(joint.shared.held) < joint.shared.held[0]


def test_people_are_told_apart_by_their_biases(model, joint):
    for name, own, other in (("ana", "red tea", "blue dog"), ("bob", "blue dog", "red tea")):
        mine, theirs = model.logprobs([ask("a cat", adapters=adapters(joint, name))] * 2, [own, other])
        assert mine > theirs + 1


def test_a_persons_part_is_the_same_at_every_position_and_equals_the_formula(model, joint):
    """The difference that a person makes to a module's output is ``s B P e``, with one ``e`` for all modules."""
    engine, own = model._loaded(), read(next(one for one in joint.people if one.key == "ana").body)
    name = "model.layers.0.self_attn.q_proj"  # what it reads is the same with and without the person
    seen = []
    for call in (ask("x", adapters=adapters(joint)), ask("x", adapters=adapters(joint, "ana"))):
        with merged(model, call.adapters):
            handle = engine.model.get_submodule(name).register_forward_hook(lambda m, x, y: seen.append(y[0].numpy()))
            with torch.no_grad():
                engine.model(torch.tensor([[4, 5, 6, 7, 8]]))
            handle.remove()
    difference = seen[1] - seen[0]  # [tokens, out]
    np.testing.assert_allclose(difference, np.tile(own.modules[name].bias, (5, 1)), atol=1e-5)
    projection = read(joint.projection)
    deltas = np.concatenate([projection.delta(one) for one in own.modules]).astype(np.float64)  # [all outputs, width]
    biases = np.concatenate([own.scaling * one.bias for one in own.modules.values()])
    vector = np.linalg.lstsq(deltas, biases, rcond=None)[0]
    assert np.abs(vector).max() > 1e-2
    np.testing.assert_allclose(deltas @ vector, biases, atol=1e-6)


def test_both_adapters_merge_into_weights_and_biases(model, joint):
    mine = adapters(joint, "ana")
    whole = factors.cat([read(one.body) for one in mine], [1.0, 1.0])
    body = peft_format.dump(whole)
    one = Adapter("whole", 1.0, replace(mine[0].body, digest="whole", size=len(body), read=lambda: body))
    for call, text in zip(CALLS, TEXTS, strict=True):
        expected = logprobs(model, replace(call, adapters=mine), [text])
        assert model.logprobs([replace(call, adapters=mine)], [text]) == pytest.approx(expected, abs=1e-4)
        assert model.logprobs([replace(call, adapters=(one,))], [text]) == pytest.approx(expected, abs=1e-4)


def newcomers(model, joint, jobs, **more):
    learnt = joint.shared.body, joint.projection
    return {one.key: one for one in model.train_vectors(jobs, *learnt, replace(RECIPE, epochs=16), VECTORS, **more)}


def test_a_newcomers_vector_is_learnt_with_all_else_as_it_is_and_the_same_beside_others(model, joint):
    weights = {name: value.clone() for name, value in model._loaded().model.state_dict().items()}
    jobs = [job("cyd", "red tea"), job("dan", "blue dog"), job("eve", "blue dog", held=False)]
    together = newcomers(model, joint, jobs)
    for one in jobs:
        alone = newcomers(model, joint, [one])[one.key]
        for name, part in read(alone.body).modules.items():
            np.testing.assert_allclose(read(together[one.key].body).modules[name].bias, part.bias, atol=1e-4)
        assert alone.losses == pytest.approx(together[one.key].losses, abs=1e-4)
        assert alone.losses[-1] < alone.losses[0]
    for name, value in model._loaded().model.state_dict().items():
        assert value.equal(weights[name])

    def says(name):
        call = Call(CALLS[0].messages, adapters=(*adapters(joint), Adapter(name, 1.0, together[name].body)))
        red, blue = model.logprobs([call] * 2, ["red tea", "blue dog"])
        return red - blue

    assert says("cyd") > 1
    assert says("dan") < -1
    assert together["cyd"].held[-1] < together["cyd"].held[0]
    assert not together["eve"].held


def test_it_goes_on_top_of_what_the_calls_carry(model, joint):
    """Training over an adapter equals training over the model into which it is merged."""
    under = adapters(joint, "ana")
    over = [
        Job(one.key, [replace(e, call=replace(e.call, adapters=under)) for e in one.examples])
        for one in (job("cyd", "cat"), job("dan", "dog"))
    ]
    bare = [Job(one.key, [replace(e, call=replace(e.call, adapters=())) for e in one.examples]) for one in over]
    ours = model.train_jointly(over, RECIPE, VECTORS)
    with merged(model, under):
        theirs = model.train_jointly(bare, RECIPE, VECTORS)
        (plain,) = model.train(bare[:1], RECIPE)
    assert ours.shared.losses == pytest.approx(theirs.shared.losses, abs=1e-4)
    # The trainer of many people's adapters takes such a bias along too
    (beside,) = model.train(over[:1], RECIPE)
    assert beside.losses == pytest.approx(plain.losses, abs=1e-4)
    with pytest.raises(InputError, match="same adapters"):
        model.train_jointly([over[0], bare[1]], RECIPE, VECTORS)


def test_nothing_to_learn_is_refused_and_the_work_can_be_ended(model):
    with pytest.raises(InputError, match="nobody has an example"):
        model.train_jointly([Job("ana", [])], RECIPE, VECTORS)
    assert list(model.train_vectors([], None, None, RECIPE, VECTORS)) == []
    told = []
    model.train_jointly([job("ana", "tea", held=False)], replace(RECIPE, epochs=2), VECTORS, progress=told.append)
    assert sum(told) == 8

    class Ended(Exception):
        pass

    def stop():
        raise Ended

    with pytest.raises(Ended):
        model.train_jointly([job("ana", "tea")], RECIPE, VECTORS, check=stop)


class Kept(dict):
    """Checkpoints in memory."""

    load = dict.get

    def save(self, key, data):
        self[key] = data

    def drop(self, key):
        self.pop(key)


def ends_after(steps):
    left = iter(range(steps))

    def check():
        if next(left, None) is None:
            raise Stopped("killed")

    return check


def assert_same(one, other):
    """Two adapters, bit for bit."""
    ours, theirs = read(one), read(other)
    assert ours.modules.keys() == theirs.modules.keys()
    for name, part in theirs.modules.items():
        for mine, wanted in ((ours.modules[name].a, part.a), (ours.modules[name].b, part.b)):
            np.testing.assert_array_equal(mine, wanted)
        assert (part.bias is None) == (ours.modules[name].bias is None)
        if part.bias is not None:
            np.testing.assert_array_equal(ours.modules[name].bias, part.bias)


@pytest.mark.parametrize("steps", [1, 4, 8])  # within the first pass, after a look at what is held out, in the last
def test_a_joint_training_that_was_killed_goes_on_and_ends_with_the_same_weights(model, monkeypatch, steps):
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", -1.0)
    recipe, vectors = replace(RECIPE, epochs=3, decay=0.01), replace(VECTORS, drop=0.3)
    jobs, kept = [job("ana", "red tea"), job("bob", "blue dog")], Kept()
    whole = model.train_jointly(jobs, recipe, vectors)
    with pytest.raises(Stopped):
        model.train_jointly(jobs, recipe, vectors, check=ends_after(steps), checkpoints=kept)
    made, learnt = ends_after(9 - steps), []
    resumed = model.train_jointly(jobs, recipe, vectors, check=made, checkpoints=kept, progress=learnt.append)
    assert len(learnt) == 9 - steps  # three steps in each of three passes
    for one, other in zip(
        (resumed.shared.body, resumed.projection, *(p.body for p in resumed.people)),
        (whole.shared.body, whole.projection, *(p.body for p in whole.people)),
        strict=True,
    ):
        assert_same(one, other)
    assert [p.steps for p in resumed.people] == [p.steps for p in whole.people]
    assert (resumed.shared.losses, resumed.shared.held) == (whole.shared.losses, whole.shared.held)
    # the finished one stays until the caller drops it
    again = model.train_jointly(jobs, recipe, vectors, check=ends_after(0), checkpoints=kept)
    assert_same(again.shared.body, whole.shared.body)
    assert [*kept] == [EVERYONE]


def test_what_was_saved_of_another_joint_training_is_not_gone_on_with(model, monkeypatch):
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", -1.0)
    recipe, kept = replace(RECIPE, epochs=2), Kept()
    jobs = [job("ana", "red tea"), job("bob", "blue dog")]
    with pytest.raises(Stopped):
        model.train_jointly(jobs, recipe, VECTORS, check=ends_after(4), checkpoints=kept)
    others = [job("ana", "red tea"), job("cyd", "blue dog")]
    found = model.train_jointly(others, recipe, VECTORS, checkpoints=kept)
    assert_same(found.shared.body, model.train_jointly(others, recipe, VECTORS).shared.body)


@pytest.mark.parametrize("steps", [1, 5, 13])
def test_newcomers_who_were_killed_go_on_and_end_with_the_same_vectors(model, joint, monkeypatch, steps):
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", -1.0)
    jobs, kept = [job("cyd", "red tea"), job("dan", "blue dog"), job("eve", "blue dog", held=False)], Kept()
    whole = newcomers(model, joint, jobs)
    with pytest.raises(Stopped):
        newcomers(model, joint, jobs, check=ends_after(steps), checkpoints=kept)
    assert set(kept) == {"cyd", "dan", "eve"}
    learnt = []
    resumed = newcomers(model, joint, jobs, checkpoints=kept, progress=learnt.append)
    assert len(learnt) == max(one.steps for one in whole.values()) - steps
    for name, one in whole.items():
        assert_same(resumed[name].body, one.body)
        assert (resumed[name].losses, resumed[name].held) == (one.losses, one.held)
    assert not kept


def test_peft_loads_both_parts(model, joint, tmp_path):
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    mine, names = adapters(joint, "ana"), ["shared", "own"]
    folders = [
        peft_format.save_folder(one.body.read(), tmp_path / name, model.model)
        for one, name in zip(mine, names, strict=True)
    ]
    base = transformers.AutoModelForCausalLM.from_pretrained(model.model, dtype=torch.float32)
    loaded = peft.PeftModel.from_pretrained(base, folders[0], adapter_name="shared")
    loaded.load_adapter(folders[1], adapter_name="own")
    loaded.base_model.set_adapter(names)
    ids = torch.tensor([[4, 5, 6, 7, 8]])
    with merged(model, mine), torch.no_grad():
        expected = model._loaded().model(ids).logits
        np.testing.assert_allclose(loaded.eval()(ids).logits.numpy(), expected.numpy(), atol=1e-4)
