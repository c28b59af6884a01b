"""PLoRA as a method: who gets which part, and newcomers over a shared part that stays."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from idiolect.adaptation.plora import PLora
from idiolect.adaptation.task_lora import TaskLora
from idiolect.registry import settings_of
from idiolect.store import checkpoints
from idiolect.store.sharing import share
from idiolect.training import unfinished
from idiolect.types import EVERYONE
from tiny import ask

pytest.importorskip("torch")
METHOD = PLora(
    width=8, rank=4, alpha=8.0, rate=2e-2, rate_of_vectors=5e-2, epochs=30, batch=8, hold_out=0.0, modules=()
)
QUICK = replace(METHOD, epochs=1)
UNDER, TASK = "task_lora:context=none:rank=2:epochs=1", TaskLora(context=("none",), rank=2, epochs=1)


def spec(method):
    return {"name": "plora", **settings_of(method)}


def parts(opposites, method, name):
    return [one.id for one in method.apply(ask("the cat"), opposites.user(name), opposites.ctx).adapters]


def test_opposite_people_are_told_apart_by_their_biases_and_swapping_these_swaps_the_answers(opposites):
    opposites.house.fit(spec(METHOD), ["ana", "bob", "cyd"])
    assert min(opposites.right(METHOD, name) for name in ("ana", "bob")) > 0.85
    assert opposites.right(METHOD, "ana", marked_as="bob") < 0.15
    (own,) = opposites.house.store.artifacts("ana")
    assert own.people == ("bob",)
    assert set(own.record_ids) == {record.id for record in opposites.user("ana").history}
    shared = next(a for a in opposites.house.store.artifacts(EVERYONE) if a.kind == "adapter")
    assert orjson.loads(own.payload)["shared"] == shared.id
    assert parts(opposites, METHOD, "ana") == [shared.id, own.id]
    assert parts(opposites, METHOD, "cyd") == [shared.id]  # does not share


def test_the_shared_part_serves_strangers_by_neither_side(opposites):
    opposites.house.fit(spec(replace(METHOD, drop=0.3)), ["ana", "bob"])
    ana = opposites.right(replace(METHOD, drop=0.3), "cyd")
    assert 0.0 < ana < 1.0  # opposite people taught it, nothing of the person is known


def test_newcomers_leave_what_is_shared_as_it_is(opposites):
    opposites.house.fit(spec(METHOD), ["ana", "bob"])
    before = opposites.house.store.artifacts(EVERYONE)
    share(opposites.house.store, "cyd", True)
    opposites.house.settings = replace(opposites.house.settings, peers=replace(opposites.house.settings.peers, least=1))
    opposites.house.fit(spec(METHOD), ["cyd"])
    assert opposites.house.store.artifacts(EVERYONE) == before
    (own,) = opposites.house.store.artifacts("cyd")
    assert own.people == ("ana", "bob")
    assert len(parts(opposites, METHOD, "cyd")) == 2
    user = opposites.user("cyd")
    call = METHOD.apply(ask("the cat"), user, opposites.ctx)
    blue = opposites.house.backend.logprobs([call] * 2, ["blue", "red"])
    assert blue[0] > blue[1]  # cyd sees things as bob does


def test_of_more_people_than_teach_only_the_biases_are_fitted(opposites):
    share(opposites.house.store, "cyd", True)
    few = replace(QUICK, people=2)
    opposites.house.fit(spec(few), ["ana", "bob", "cyd"])
    assert {a.people for a in opposites.house.store.artifacts(EVERYONE)} == {("ana", "bob")}
    assert len(parts(opposites, few, "cyd")) == 2


def test_another_training_replaces_what_is_shared_and_peoples_biases(opposites):
    opposites.house.fit(spec(QUICK), ["ana", "bob"])
    before = parts(opposites, QUICK, "ana")
    record = opposites.user("ana").history[0]
    opposites.house.store.add([replace(record, id="z" + record.id[1:], time=record.time + 5000)])
    opposites.house.fit(spec(QUICK), ["ana", "bob"])
    after = parts(opposites, QUICK, "ana")
    assert len(after) == 2
    assert not set(before) & set(after)


def test_a_withdrawal_takes_what_was_taught_with_it(opposites):
    opposites.house.fit(spec(QUICK), ["ana", "bob"])
    share(opposites.house.store, "bob", False)
    assert parts(opposites, QUICK, "ana") == []


def killed(opposites, method, users, count):
    """Fit until so many records were learnt from, and end there as a killed process does."""

    def progress(done, total):
        if done >= count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opposites.house.fit(spec(method), users, progress)


def test_a_training_that_was_killed_goes_on_and_leaves_nothing_behind(opposites, monkeypatch):
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", -1.0)
    some = replace(METHOD, epochs=3)
    killed(opposites, some, ["ana", "bob"], 32)
    folder = checkpoints.folder_of(opposites.house.store)
    assert len(list(folder.iterdir())) == 1
    learnt = []
    opposites.house.fit(spec(some), ["ana", "bob"], lambda done, total: learnt.append(done))
    assert 0 < learnt[-1] <= 3 * 32 - 24  # the step that was killed was not saved
    assert not list(folder.iterdir())
    assert len(parts(opposites, some, "ana")) == 2


def test_killed_among_newcomers_neither_what_is_shared_nor_who_is_finished_is_trained_again(opposites, monkeypatch):
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", -1.0)
    store, backend, few = opposites.house.store, opposites.house.backend, replace(METHOD, epochs=2, people=2)
    share(store, "cyd", True)
    vectors = type(backend).train_vectors

    def dies(self, *args, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(backend), "train_vectors", dies)
        with pytest.raises(KeyboardInterrupt):
            opposites.house.fit(spec(few), ["ana", "bob", "cyd"])
    before = {artifact.id for name in (EVERYONE, "ana", "bob") for artifact in store.artifacts(name)}
    asked, learnt = [], []

    def told(self, jobs, *args, **more):
        jobs = list(jobs)
        asked.append([job.key for job in jobs])
        return vectors(self, jobs, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(type(backend), "train_vectors", told)
        opposites.house.fit(spec(few), ["ana", "bob", "cyd"], lambda done, total: learnt.append(done))
        assert {a.id for name in (EVERYONE, "ana", "bob") for a in store.artifacts(name)} == before
        assert learnt[-1] == 2 * 16  # cyd's records, twice
        opposites.house.settings = replace(
            opposites.house.settings, peers=replace(opposites.house.settings.peers, least=1)
        )
        opposites.house.fit(spec(few), ["cyd"])
    assert asked == [["cyd"], []]
    assert not list(checkpoints.folder_of(store).iterdir())


def test_what_is_taught_over_an_adapter_names_who_taught_that_and_newcomers_among_them_stay_newcomers(opposites):
    store = opposites.house.store
    share(store, "cyd", True)
    opposites.house.fit({"name": "task_lora", **settings_of(TASK)}, ["ana", "bob", "cyd"])
    over = replace(QUICK, context=(UNDER,))
    opposites.house.fit(spec(over), ["ana", "bob"])
    shared = next(a for a in store.artifacts(EVERYONE) if a.method == "plora" and a.kind == "adapter")
    assert shared.people == ("ana", "bob", "cyd")
    assert next(a for a in store.artifacts("ana") if a.method == "plora").people == ("bob", "cyd")
    opposites.house.settings = replace(opposites.house.settings, peers=replace(opposites.house.settings.peers, least=1))
    opposites.house.fit(spec(over), ["cyd"])
    assert [a.id for a in store.artifacts(EVERYONE) if a.method == "plora" and a.kind == "adapter"] == [shared.id]
    share(store, "cyd", False)  # withdraws what lies under it
    assert not [a for name in (EVERYONE, "ana", "bob") for a in store.artifacts(name) if a.kind == "adapter"]
