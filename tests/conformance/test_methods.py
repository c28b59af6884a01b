"""What every registered method must do, whoever wrote it; new methods are tested by being registered."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

from helpers import HashEmbedder, InsideToy, open_store, say
from idiolect import registry
from idiolect.errors import UnsupportedCall
from idiolect.store.peers import Policy, StorePeers
from idiolect.store.sharing import share
from idiolect.store.view import StoredUser
from idiolect.types import EVERYONE, Fits, Observes, Turn

from .conftest import DAY, NOW, QUESTION, TASTES, World, app, history

METHODS = registry.methods.names()
MODULES = {"transformers": "torch"}
"""By extra a module that is there where it was installed; CI installs them all."""


def learns_together(name):
    return registry.methods.get(name).info["together"]


def logits(house, call):
    """The next-token logits after a call: what a leak would move even where the text stays the same."""
    return house.backend.logits(call)


@pytest.mark.parametrize("name", METHODS)
class TestMethod:
    @pytest.fixture(autouse=True)
    def _installed(self, name):
        extra = registry.methods.get(name).info.get("extra")
        if extra:
            pytest.importorskip(MODULES[extra])

    def test_describes_itself(self, name):
        entry = registry.methods.get(name)
        assert entry.summary.endswith(".")
        assert entry.info["level"] in ("input", "model", "objective", "trust")
        assert any(word in entry.info["paper"] for word in ("arXiv:", "doi:", "none"))
        for field in dataclasses.fields(entry.make):
            assert field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING

    def test_is_a_frozen_value_that_survives_its_settings(self, name):
        _, method = registry.make_method(name)
        again = registry.build(registry.methods.get(name), registry.settings_of(method))
        assert again == method
        with pytest.raises(dataclasses.FrozenInstanceError):
            method.anything = 1

    def test_someone_without_history_gets_the_base_call(self, name, world):
        world.fitted(name)
        assert world.plan(name, "nobody") == QUESTION

    def test_changes_something_for_someone_with_history(self, name, world):
        world.fitted(name)
        planned = world.plan(name, "ana")
        assert planned != QUESTION
        assert planned.used
        if planned.choose is None:
            assert not np.array_equal(logits(world.app, planned), logits(world.app, QUESTION))

    def test_is_pure(self, name, world):
        world.fitted(name)
        before = copy.deepcopy(QUESTION)
        one, two = world.plan(name, "ana"), world.plan(name, "ana")
        assert before == QUESTION
        assert one == two
        np.testing.assert_array_equal(logits(world.app, one), logits(world.app, two))

    def test_batched_equals_one_by_one(self, name, world):
        world.fitted(name)
        calls = [world.plan(name, user) for user in TASTES]
        plain = InsideToy()  # it remembers nothing
        answers = ["saffron rice", "brisket", "opera"]
        together = plain.logprobs(calls, answers)
        alone = [plain.logprobs([c], [a])[0] for c, a in zip(calls, answers, strict=True)]
        np.testing.assert_allclose(together, alone, atol=1e-5)

    def test_fitted_together_equals_fitted_alone(self, name, world, tmp_path):
        if not isinstance(registry.make_method(name)[1], Fits) or learns_together(name):
            return
        world.app.fit(name, list(TASTES))
        for user, taste in TASTES.items():
            store = open_store(tmp_path / user, HashEmbedder())
            store.add(history(user, taste))
            for other in set(TASTES) - {user} if registry.methods.get(name).info["peers"] else ():
                store.add(history(other, TASTES[other]))
                share(store, other, True)
            app(store).fit(name, [user])
            alone, together = store.artifacts(user), world.app.store.artifacts(user)
            assert [(a.id, a.payload) for a in alone] == [(a.id, a.payload) for a in together]
            assert alone

    def test_fitted_twice_equals_fitted_once(self, name, world):
        if not isinstance(registry.make_method(name)[1], Fits):
            return
        world.fitted(name)
        once = [world.app.store.artifacts(owner) for owner in ("ana", EVERYONE)]
        world.fitted(name)
        assert [world.app.store.artifacts(owner) for owner in ("ana", EVERYONE)] == once

    def test_uses_only_the_persons_own_records_where_nobody_shares(self, name, world):
        for user in TASTES:
            share(world.app.store, user, False)
        world.fitted(name)
        before = world.plan(name, "ana")
        world.app.store.add(history("mallory", "saffron saffron saffron", 60))
        world.app.store.add([say("bob", "saffron is mine", NOW - 5)])
        world.fitted(name)
        after = world.plan(name, "ana")
        assert after == before
        np.testing.assert_array_equal(logits(world.app, after), logits(world.app, before))
        own = {r.id for r in world.app.store.all_records("ana")} | {a.id for a in world.app.store.artifacts("ana")}
        assert {u.id for u in after.used} <= own
        assert not {u.owner for u in after.used} - {""}

    def test_reads_of_others_only_those_who_share(self, name, world):
        world.fitted(name)
        before = world.plan(name, "ana")
        world.app.store.add(history("mallory", "saffron saffron saffron", 60))
        world.app.peers = StorePeers(world.app.store, Policy(texts=True, least=2))
        after = world.plan(name, "ana")
        assert after == before
        assert {u.owner for u in after.used} <= {"", "bob", "cleo"}
        trace = world.app.plan(QUESTION, "ana", methods=[name]).trace
        assert not any("brisket" in str(part) or "opera" in str(part) for part in (trace["messages"], trace["used"]))

    def test_a_withdrawal_takes_back_what_was_learnt_with_it(self, name, world):
        info = registry.methods.get(name).info
        if not (info["peers"] or info["together"]):
            return
        world.fitted(name)
        store = world.app.store
        for other in ("bob", "cleo"):
            share(store, other, False)
        assert not [a for owner in ("ana", EVERYONE) for a in store.artifacts(owner) if {"bob", "cleo"} & {*a.people}]
        assert not {u.owner for u in world.plan(name, "ana").used} - {""}

    def test_uses_only_what_was_there_at_the_time(self, name, world):
        then = NOW - 10 * DAY
        earlier = open_store(world.folder / "earlier", HashEmbedder())
        for user, taste in TASTES.items():
            earlier.add([r for r in history(user, taste) if r.time < then])
            share(earlier, user, True)
        past = app(earlier)
        world.fitted(name)
        World(past, world.folder).fitted(name)
        for owner in (*TASTES, EVERYONE):
            world.app.store.put_artifacts(reversed(earlier.artifacts(owner)))  # oldest first, as they came
        planned = world.plan(name, "ana", now=then)
        assert planned == past.plan(QUESTION, "ana", methods=[name], now=then).call
        times = {r.id: r.time for user in TASTES for r in world.app.store.all_records(user)}
        times |= {a.id: a.time for owner in (*TASTES, EVERYONE) for a in world.app.store.artifacts(owner)}
        assert all(times[u.id] < then for u in planned.used)

    def test_a_forgotten_record_shapes_nothing_more(self, name, world):
        world.fitted(name)
        used = world.plan(name, "ana").used
        store = world.app.store
        rests_on = {r.id: [r.id] for r in store.all_records("ana")}
        rests_on |= {a.id: list(a.record_ids) for a in store.artifacts("ana")}
        mine = [use for use in used if rests_on.get(use.id)]
        if not mine:  # all that was used belongs to everyone
            assert {use.id for use in used} <= {a.id for a in store.artifacts(EVERYONE)}
            assert learns_together(name)
            return
        store.delete("ana", rests_on[mine[0].id][:1])
        assert mine[0].id not in {u.id for u in world.plan(name, "ana").used}

    def test_erased_means_the_base_call(self, name, world):
        world.fitted(name)
        world.app.erase("ana")
        assert world.plan(name, "ana") == QUESTION

    def test_the_prompt_stays_within_its_budget(self, name, world):
        world.fitted(name)
        for tokens in (0, 40, 150, 400):
            used = world.plan(name, "ana", tokens=tokens).used
            assert sum(len(f"{u.text}\n".encode()) for u in used if u.text) <= tokens

    def test_observing_keeps_only_the_persons_own(self, name, world):
        _, method = registry.make_method(name)
        if not isinstance(method, Observes):
            return
        told = "No, I meant a dish without meat. I am allergic to peanuts. Remember that I live in Oslo."
        talk = (("user", "What shall I cook?"), ("assistant", "Goulash."), ("user", told))
        turn = Turn(tuple({"role": role, "content": text} for role, text in talk), "Noted.", NOW)
        learnt = method.observe(turn, StoredUser(world.app.store, "ana"), world.app.context())
        assert {r.user_id for r in learnt.records} == {"ana"}
        assert {a.user_id for a in learnt.artifacts} <= {"ana"}

    def test_a_backend_that_cannot_do_it_is_refused_before_generating(self, name, world):
        needs = registry.methods.get(name).info["needs"]
        if not needs:
            return
        world.fitted(name)
        if not world.plan(name, "ana").needs:  # it fills one under other settings only
            return
        world.app.backend.supports = frozenset()
        with pytest.raises(UnsupportedCall, match=name):
            world.plan(name, "ana")
