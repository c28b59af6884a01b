"""Adapters of one model, and another model in its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest

from adaptation.people import DAY, START, gave
from helpers import HashEmbedder, RememberingToy, open_store
from idiolect import moving, registry
from idiolect.adaptation.shared.moving import reused, written
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import Settings
from idiolect.errors import ConfigError, InputError
from idiolect.pipeline import Idiolect
from idiolect.store.adapters import adapters
from idiolect.training import peft_format
from idiolect.training.factors import Factors, LowRank, cat
from idiolect.types import Artifact, Body, Call

pytest.importorskip("safetensors")
SPEC = {"name": "lora", "context": ["none"]}
QUESTION = Call(({"role": "user", "content": "which colour"},))


def change(base_model: str, size: float = 1.0) -> LowRank:
    return LowRank({"out": Factors(np.ones((1, 1), np.float32), np.full((257, 1), size, np.float32))}, 1.0, base_model)


def adapter(base_model: str, **more) -> Artifact:
    body = Body.of(peft_format.dump(change(base_model), "float16"))
    given = {
        "method": "lora",
        "payload": b"{}",
        "record_ids": (),
        "time": START,
        "base_model": base_model,
        "body": body,
    }
    return Artifact.new("ana", "adapter", **(given | more))


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    for user, taste in (("ana", "saffron rice"), ("bob", "smoked brisket")):
        store.add([gave(user, f"what do you cook on day {n}", f"{taste} {n}", n) for n in range(12)])
    return store


def house(store, strength=1.0) -> Idiolect:
    """The toy's fingerprint says how strong it is: another strength is another model."""
    clock = lambda: START + 99 * DAY  # noqa: E731
    return Idiolect(store, RememberingToy(strength=strength), Settings(), clock=clock, backend_name="toy")


@pytest.fixture
def old(store):
    app = house(store)
    app.fit(SPEC, ["ana", "bob"])
    return app


@pytest.fixture
def new(store, old):
    return house(store, 2.0)


class TestFingerprints:
    def test_an_adapter_of_another_model_does_not_serve(self, old, new):
        assert old.plan(QUESTION, "ana", methods=[SPEC]).call.adapters
        assert new.plan(QUESTION, "ana", methods=[SPEC]).call == QUESTION

    def test_nor_is_it_combined(self):
        with pytest.raises(InputError, match="different models"):
            cat([change("old@1"), change("new@1")], [1.0, 1.0])

    def test_nor_does_training_begin_from_it_or_above_it(self, tmp_path):
        pytest.importorskip("torch")
        from adaptation.people import tiny
        from idiolect.trainable import Example, Job, Recipe
        from idiolect.types import Adapter

        model, other = tiny(tmp_path), adapter("other@1")
        with pytest.raises(InputError, match="other@1"):
            list(model.train([Job("ana", [Example(QUESTION, "red")], start=other.body)], Recipe()))
        call = replace(QUESTION, adapters=(Adapter(other.id, 1.0, other.body),))
        with pytest.raises(InputError, match="other@1"):
            list(model.train([Job("ana", [Example(call, "red")])], Recipe()))
        with pytest.raises(InputError, match="other@1"):
            model.generate([call])


class TestReuse:
    def test_onto_the_same_model_is_the_identity(self):
        one = adapter("old@1")
        assert reused(one, "old@1") is one
        assert peft_format.rebased(one.body.read(), "old@1") == one.body.read()

    def test_onto_another_keeps_the_weights_and_what_it_rests_on(self):
        one = adapter("old@1", record_ids=("a", "b"), people=("bob",), payload=b'{"withheld":1,"since":[1.0,"a"]}')
        two = reused(one, "new@1")
        assert (two.base_model, two.record_ids, two.people, two.time) == ("new@1", ("a", "b"), ("bob",), START)
        was, now = peft_format.load(one.body.read()), peft_format.load(two.body.read())
        assert replace(now, base_model="old@1") == was
        assert now.base_model == "new@1"
        assert orjson.loads(two.payload) | {"bytes": 0} == {
            "withheld": 1, "since": [1.0, "a"], "from": one.id, "moved": "reused", "bytes": 0,
        }  # fmt: skip

    def test_serves_only_what_foresees_records_it_never_learnt(self, store):
        spec, new = {**SPEC, "hold_out": 0.0}, house(store, 2.0)
        house(store).fit(spec, ["ana", "bob"])
        found = moving.waiting(new, ["ana", "bob"])
        assert {one.why for one in moving.reuse(new, found)} == {
            "no record is left that it did not learn, so nothing tells whether it still helps"
        }
        store.add([gave("ana", "what do you cook", "saffron rice 99", 50)])
        store.add([gave("bob", "what do you cook", "ZZZZ%%%%", 50)])
        ana, bob = moving.reuse(new, found)
        assert ana.new
        assert ana.scores[0] > ana.scores[1]
        assert new.plan(QUESTION, "ana", methods=[spec]).call.adapters[0].id == ana.new
        assert (bob.new, bob.scores[0] <= bob.scores[1]) == ("", True)
        assert moving.waiting(new, ["ana", "bob"]) == [kept for kept in found if kept.artifact.user_id == "bob"]


class TestReplay:
    def test_learns_again_with_the_same_settings_and_leaves_the_old(self, store, old, new):
        found = moving.waiting(new, ["ana", "bob"])
        assert [kept.artifact.user_id for kept in found] == ["ana", "bob"]
        told = moving.move_by_replay(new, found)
        assert all(one.new and not one.why for one in told)
        assert {kept.artifact.base_model for kept in adapters(store, "ana")} == {"toy:1.0", "toy:2.0"}
        assert len({repr(sorted(kept.artifact.settings.items())) for kept in adapters(store, "ana")}) == 1
        assert old.plan(QUESTION, "ana", methods=[SPEC]).call.adapters[0].id == told[0].old
        assert new.plan(QUESTION, "ana", methods=[SPEC]).call.adapters[0].id == told[0].new
        assert moving.waiting(new, ["ana", "bob"]) == []

    def test_says_why_there_is_none(self, store, old, new):
        found = [replace(kept, artifact=replace(kept.artifact, settings={**kept.artifact.settings, "least": 50}))
                 for kept in moving.waiting(new, ["ana"])]  # fmt: skip
        (told,) = moving.move_by_replay(new, found)
        assert (told.new, "too few" in told.why) == ("", True)
        unknown = [replace(kept, artifact=replace(kept.artifact, settings={"rank": "x"})) for kept in found]
        assert "rank" in moving.move_by_replay(new, unknown)[0].why


class TestDistil:
    def test_reads_no_record_and_rests_on_what_the_old_one_came_from(self, store, old, new, monkeypatch):
        monkeypatch.setattr("idiolect.adaptation.shared.examples.Writer.examples", None)
        found = moving.waiting(new, ["ana"])
        (told,) = moving.distil(new, found, old.backend, ["what now", "and then", "what now", " ", "why", "who"])
        kept = next(one for one in adapters(store, "ana") if one.artifact.id == told.new)
        assert kept.artifact.record_ids == found[0].artifact.record_ids
        head = kept.head
        assert (head["moved"], head["from"], head["withheld"]) == ("distilled", found[0].artifact.id, 1)
        assert head["distilled"] == {"asked": 6, "examples": 4, "empty": 1, "repeated": 1}
        store.delete("ana", [kept.artifact.record_ids[0]])
        assert adapters(store, "ana") == []

    def test_the_model_writes_its_own_questions_and_answers_with_the_adapter(self):
        one, teacher = adapter("old@1"), ScriptedBackend(["Why?", "Why?", "", "Who?", "because", "  "])
        made = written(teacher, one, [], 4, 7)
        assert made.told() == {"asked": 4, "examples": 1, "empty": 2, "repeated": 1}
        assert [example.text for example in made.examples] == ["because"]
        assert made.examples[0].call.adapters == ()
        assert all(call.adapters[0].id == one.id for call in teacher.calls)
        assert [call.sampling.seed for call in teacher.calls[:4]] == [7, 8, 9, 10]

    def test_needs_the_model_that_the_adapter_was_made_for(self, old, new):
        (told,) = moving.distil(new, moving.waiting(new, ["ana"]), RememberingToy(strength=3.0), ["a", "b", "c", "d"])
        assert (told.new, "toy:1.0" in told.why) == ("", True)


def test_what_cannot_regenerate_says_so(new):
    with pytest.raises(ConfigError, match="no method 'nothing'"):
        moving.regenerate(new, ["ana"], "nothing")
    with pytest.raises(ConfigError, match="move by replay"):
        moving.regenerate(new, ["ana"], "profile")


def test_a_method_that_places_people_regenerates(new, monkeypatch):
    class Placing:
        def place(self, users, ctx):
            for user in users:
                yield Artifact.new(user.id, "portrait", method="placing", payload=b"{}", record_ids=(), time=START)

    monkeypatch.setitem(registry.methods._entries, "placing", registry.Entry("placing", Placing, {}))
    monkeypatch.setattr(registry, "make_method", lambda spec: (spec, Placing()))
    assert moving.regenerate(new, ["ana", "bob"], "placing") == 2


def test_the_nightly_job_trains_all_who_are_due_at_once(store, old, monkeypatch):
    asked = []
    train = RememberingToy.train
    monkeypatch.setattr(RememberingToy, "train", lambda self, jobs, recipe, **more: train(
        self, (asked.append((job.key, more["checkpoints"] is not None)) or job for job in jobs), recipe, **more
    ))  # fmt: skip
    assert old.consolidate([SPEC], ["ana", "bob"]) == 0
    assert asked == []
    for user in ("ana", "bob"):
        store.add([gave(user, "what do you cook", f"more {n}", 20 + n) for n in range(40)])
    store.add([gave("cleo", "what do you cook", "fish", 20)])
    told = []
    assert old.consolidate([SPEC], ["ana", "bob", "cleo"], lambda done, total: told.append((done, total))) == 4
    assert asked == [("ana", True), ("bob", True)]
    assert old.consolidate([SPEC], ["ana", "bob", "cleo"]) == 0
