"""The exact mean of adapters, and the rounds of learning one to begin from."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from adaptation.people import Person, context, gave
from idiolect import registry
from idiolect.adaptation.shared.meta import moved, ready
from idiolect.errors import ConfigError
from idiolect.trainable import Trained
from idiolect.training import peft_format
from idiolect.training.factors import Factors, LowRank, mean, truncated
from idiolect.types import Body

pytest.importorskip("safetensors")


def some(n, *shape):
    return np.random.default_rng(n).normal(size=shape).astype(np.float32)


def change(a, b):
    return LowRank({"q": Factors(a, b)}, 2.0, "new@1")


def steps_from(start, size):
    """Adapters of several people who all began at the same factors."""
    return [change(start.a + size * some(10 + n, 4, 16), start.b + size * some(20 + n, 12, 4)) for n in range(5)]


def factor_mean(adapters):
    parts = [one.modules["q"] for one in adapters]
    return change(np.mean([part.a for part in parts], axis=0), np.mean([part.b for part in parts], axis=0))


def distance(one, two):
    return float(np.linalg.norm(one.delta("q") - two.delta("q")) / np.linalg.norm(two.delta("q")))


def test_the_mean_of_factors_is_another_adapter_even_from_a_common_start():
    start = Factors(some(1, 4, 16), some(2, 12, 4))
    near, far = (steps_from(start, size) for size in (0.05, 1.0))
    exact = [mean(found) for found in (near, far)]
    assert 1e-4 < distance(factor_mean(near), exact[0]) < 0.02
    assert distance(factor_mean(far), exact[1]) > 0.2
    # cut to the rank, the exact one is nearer than any other of that rank
    for found, whole in zip((near, far), exact, strict=True):
        assert distance(truncated(whole, 4), whole) <= distance(factor_mean(found), whole)


def test_it_moves_towards_the_mean_by_a_step():
    start = Factors(some(1, 4, 16), some(2, 12, 4))
    trained, initial = steps_from(start, 0.3), change(start.a, start.b)
    wanted = 0.75 * initial.delta("q") + 0.25 * np.mean([one.delta("q") for one in trained], axis=0)
    np.testing.assert_allclose(moved(initial, trained, 0.25, 12).delta("q"), wanted, atol=1e-4)
    first = moved(None, trained, 0.25, 12)
    np.testing.assert_allclose(first.delta("q"), 0.25 * mean(trained).delta("q"), atol=1e-4)
    assert moved(initial, trained, 0.25, 4).rank == 4


def test_what_is_ready_is_the_same_change_with_rows_as_training_begins_with_them():
    one = truncated(change(1e-3 * some(1, 4, 16), some(2, 12, 4)), 3).modules["q"]
    two = ready(one)
    np.testing.assert_allclose(two.delta(), one.delta(), atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(two.a, axis=1), 1 / np.sqrt(3), rtol=1e-5)
    assert ready(Factors(np.zeros((4, 16), np.float32), np.zeros((12, 4), np.float32))).rank == 0


class Walks:
    """A trainer that goes a step from where it is told to begin, and may be killed in a round."""

    fingerprint, supports = "new@1", frozenset({"adapters", "training"})

    def __init__(self, killed_at=None):
        self.rounds, self.killed_at = [], killed_at

    def train(self, jobs, recipe, **_):
        jobs = list(jobs)
        if len(self.rounds) == self.killed_at:
            raise KeyboardInterrupt
        self.rounds.append([(job.key, len(job.examples), job.start is not None) for job in jobs])
        for job in jobs:
            seed = len(job.key) + int(job.key[1:])
            parts = [change(some(seed, 2, 16), some(seed + 50, 12, 2))]
            if job.start is not None:
                parts.append(peft_format.load(job.start.read()))
            yield Trained(job.key, Body.of(peft_format.dump(truncated(mean(parts), 2))), (1.0,), (), 1, 1, 0.0)


class Kept(dict):
    load = dict.get

    def save(self, key, data):
        self[key] = data

    def drop(self, key):
        self.pop(key, None)


def people(n):
    return [Person(f"u{i}", [gave(f"u{i}", f"q{j}", f"a{j}", j) for j in range(6)]) for i in range(n)]


def meta(**more):
    settings = {"context": "none", "rank": 2, "rounds": 4, "people": 3, **more}
    return registry.build(registry.methods.get("meta_lora"), settings)


def test_each_round_draws_people_and_records_and_begins_where_the_last_ended():
    model = Walks()
    (artifact,) = meta().fit(people(5), context(model))
    assert [len(one) for one in model.rounds] == [3] * 4
    assert {n for one in model.rounds for _, n, _ in one} == {4}
    assert [{started for *_, started in one} for one in model.rounds] == [{False}, {True}, {True}, {True}]
    assert len({tuple(sorted(key for key, *_ in one)) for one in model.rounds}) > 1
    assert (artifact.user_id, artifact.record_ids, artifact.people) == ("*", (), tuple(f"u{i}" for i in range(5)))
    assert orjson.loads(artifact.payload)["losses"] == [1.0] * 4


def test_a_killed_run_goes_on_with_the_round_it_was_in():
    kept, whole = Kept(), list(meta().fit(people(5), context(Walks())))
    with pytest.raises(KeyboardInterrupt):
        list(meta().fit(people(5), context(Walks(killed_at=2), checkpoints=kept)))
    rest = Walks()
    assert list(meta().fit(people(5), context(rest, checkpoints=kept))) == whole
    assert len(rest.rounds) == 2
    assert not kept


def test_other_records_begin_anew():
    kept = Kept()
    with pytest.raises(KeyboardInterrupt):
        list(meta().fit(people(5), context(Walks(killed_at=2), checkpoints=kept)))
    rest = Walks()
    list(meta().fit(people(4), context(rest, checkpoints=kept)))
    assert len(rest.rounds) == 4


def test_a_person_begins_from_it_and_rests_on_those_it_came_from():
    (artifact,) = meta().fit(people(5), context(Walks()))
    ana = people(6)[5]
    method = registry.build(
        registry.methods.get("lora"),
        {"context": "none", "rank": 2, "start": "meta_lora:context=none:rank=2:rounds=4:people=3"},
    )
    with pytest.raises(ConfigError, match="idiolect fit meta_lora"):
        list(method.fit([ana], context(Walks())))
    ana.keep([artifact])
    model = Walks()
    adapter, lesson = method.fit([ana], context(model))
    assert model.rounds == [[("u5", 6, True)], []]
    assert orjson.loads(adapter.payload)["from"] == artifact.id
    assert adapter.people == lesson.people == artifact.people
    assert list(adapter.record_ids) == [record.id for record in ana.history]


def test_what_is_begun_from_is_learnt_first():
    spec = "lora:context=profile:start=[meta_lora:context=none:rank=2]"
    assert [name for name, _ in registry.with_parts(registry.make_folded(spec))] == ["meta_lora", "profile", "lora"]


@pytest.mark.parametrize("start", ["retrieval", "lora", "meta_lora+meta_lora"])
def test_only_what_was_learnt_to_begin_from_is_begun_from(start):
    method = registry.build(registry.methods.get("lora"), {"context": "none", "start": start})
    with pytest.raises(ConfigError, match="meta_lora"):
        list(method.fit(people(1), context(Walks())))
