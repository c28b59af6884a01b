"""A prefix for each person on a real (random) model: opposite people are told apart from sixteen rows each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from idiolect.adaptation.lora import Lora
from idiolect.adaptation.task_lora import TaskLora
from idiolect.adaptation.user_adapter import UserAdapter
from idiolect.registry import settings_of
from idiolect.store.sharing import share
from idiolect.types import EVERYONE
from tiny import ask

pytest.importorskip("torch")
METHOD = UserAdapter(rate=0.3, epochs=40, batch=8, hold_out=0.0, schedule="constant")


def spec(method):
    return {"name": "user_adapter", **settings_of(method)}


def test_opposite_people_are_told_apart_by_their_prefixes(opposites):
    opposites.house.fit(spec(METHOD), ["ana", "bob"])
    assert opposites.right(METHOD, "ana") > 0.85
    assert opposites.right(METHOD, "bob") > 0.85
    assert opposites.right(METHOD, "ana", marked_as="bob") < 0.15
    (artifact,) = opposites.house.store.artifacts("ana")
    assert len(artifact.payload) < 2000  # 4 x 32 numbers in float16, and what is said of them
    assert not opposites.house.store.artifacts(EVERYONE)


def test_the_weights_stay_as_they_are_and_the_prefix_stands_before_others(opposites):
    before = {name: value.clone() for name, value in opposites.house.backend._loaded().model.state_dict().items()}
    quick = replace(METHOD, epochs=1)
    opposites.house.fit(spec(quick), ["ana"])
    for name, value in opposites.house.backend._loaded().model.state_dict().items():
        assert value.equal(before[name])
    other = np.ones((2, 32), np.float32)
    call = quick.apply(ask("the cat", soft_prompt=other), opposites.user("ana"), opposites.ctx)
    assert call.soft_prompt.shape == (6, 32)
    np.testing.assert_array_equal(call.soft_prompt[4:], other)
    assert not np.array_equal(call.soft_prompt[:2], other)


def test_what_is_held_out_is_measured_with_and_without_the_prefix(opposites):
    held = replace(METHOD, hold_out=0.25, epochs=10)
    opposites.house.fit(spec(held), ["ana"])
    (artifact,) = opposites.house.store.artifacts("ana")
    assert artifact.scores["held"] < artifact.scores["plain"]


def test_nobody_is_trained_again_on_the_same_records_and_after_new_ones_when_it_is_due(opposites):
    quick = replace(METHOD, epochs=1, refresh=2)
    assert quick.stale(opposites.user("ana"))
    opposites.house.fit(spec(quick), ["ana"])
    assert not quick.stale(opposites.user("ana"))
    assert list(quick.fit([opposites.user("ana")], opposites.ctx)) == []
    for n in range(2):
        old = opposites.user("ana").history[n]
        opposites.house.store.add([replace(old, id=f"z{n}{old.id[2:]}", time=old.time + 5000)])
    assert quick.stale(opposites.user("ana"))
    assert len(list(quick.fit([opposites.user("ana")], opposites.ctx))) == 1


def test_over_an_adapter_it_is_named_with_its_people_and_goes_with_them(opposites):
    """What a prefix was trained over shaped it, too."""
    task = TaskLora(context=("none",), rank=2, epochs=1)
    opposites.house.fit({"name": "task_lora", **settings_of(task)}, ["ana", "bob"])
    over = replace(METHOD, epochs=1, context=("task_lora:context=none:rank=2:epochs=1",))
    opposites.house.fit(spec(over), ["ana", "cyd"])
    store = opposites.house.store
    (shared,), (own,), (strangers,) = (store.artifacts(name) for name in (EVERYONE, "ana", "cyd"))
    assert (own.people, strangers.people) == (("bob",), ("ana", "bob"))
    call = over.apply(ask("the cat"), opposites.user("ana"), opposites.ctx)
    assert [used.id for used in call.used] == [shared.id, own.id]
    share(store, "bob", False)
    assert not [artifact for name in (EVERYONE, "ana", "cyd") for artifact in store.artifacts(name)]


def test_over_the_persons_own_adapter_it_rests_on_what_that_was_learnt_from(opposites):
    own = Lora(context=("none",), rank=2, epochs=1, hold_out=0.0)
    opposites.house.fit({"name": "lora", **settings_of(own)}, ["ana"])
    over = replace(METHOD, epochs=1, newest=4, context=("lora:context=none:rank=2:epochs=1:hold_out=0",))
    opposites.house.fit(spec(over), ["ana"])
    store, records = opposites.house.store, [record.id for record in opposites.user("ana").history]
    (prefix,) = (artifact for artifact in store.artifacts("ana") if artifact.kind == "prefix")
    assert prefix.record_ids[:4] == tuple(records[-4:])
    assert set(prefix.record_ids) == {*records}
    assert list(over.fit([opposites.user("ana")], opposites.ctx)) == []  # the same records are not learnt again
    store.delete("ana", records[:1])  # the prefix never saw it; what lies under it did
    assert not [artifact for artifact in store.artifacts("ana") if artifact.kind in ("prefix", "adapter")]


def test_without_an_adapter_under_it_nobody_else_is_named(opposites):
    opposites.house.fit(spec(replace(METHOD, epochs=1)), ["ana"])
    (own,) = opposites.house.store.artifacts("ana")
    assert own.people == ()
