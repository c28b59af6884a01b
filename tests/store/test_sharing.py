"""Consent, and taking back what was made with it."""

from __future__ import annotations

import pytest

from helpers import open_store, say
from idiolect.errors import InputError, NotFound
from idiolect.store.erase import erase, verify
from idiolect.store.export import export, restore
from idiolect.store.sharing import permitted, share, shares, sharing
from idiolect.types import EVERYONE, Artifact

PEOPLE = ("ana", "bob", "cleo")


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path)
    store.add([say(user, f"{user} likes tea", 1e9) for user in PEOPLE])
    for user in PEOPLE:
        share(store, user, True)
    return store


def learnt(owner, people, payload=b"x"):
    return Artifact.new(owner, "k", method="m", payload=payload, record_ids=(), time=1e9, people=people)


def fill(store):
    store.put_artifacts([
        learnt(EVERYONE, ("bob", "cleo")), learnt(EVERYONE, ("cleo",), b"without bob"),
        learnt("ana", ("bob",)), learnt("ana", (), b"her own"), learnt("bob", ("bob", "cleo")),
    ])  # fmt: skip


def left(store):
    return {(a.user_id, a.payload) for owner in (EVERYONE, *PEOPLE) for a in store.artifacts(owner)}


def test_nobody_shares_unless_they_said_so(store):
    store.add([say("dora", "hello", 1e9)])
    assert not shares(store, "dora")
    assert not shares(store, "nobody")
    assert list(sharing(store)) == list(PEOPLE)


def test_a_withdrawal_takes_back_what_was_learnt_for_everyone_and_for_others(store):
    fill(store)
    assert share(store, "bob", False) == 2
    assert left(store) == {(EVERYONE, b"without bob"), ("ana", b"her own"), ("bob", b"x")}
    assert not shares(store, "bob")
    assert share(store, "bob", False) == 0
    assert share(store, "bob", True) == 0


def test_an_erasure_takes_it_back_too_and_the_receipt_counts_it(store):
    fill(store)
    receipt = erase(store, "bob", 2e9)
    assert receipt.removed["learnt_with_others"] == 2
    assert verify(store, receipt.as_json())
    assert left(store) == {(EVERYONE, b"without bob"), ("ana", b"her own")}


def test_a_withdrawal_that_was_cut_short_is_finished_by_the_erasure(store):
    fill(store)
    store.set_about("bob", shares=False)
    assert erase(store, "bob", 2e9).removed["learnt_with_others"] == 2
    assert (EVERYONE, b"x") not in left(store)


def test_an_erasure_of_somebody_who_never_shared_counts_nothing_of_others(store):
    store.add([say("dora", "hello", 1e9)])
    assert "learnt_with_others" not in erase(store, "dora", 2e9).removed


def test_somebody_who_comes_again_after_an_erasure_does_not_share(store):
    erase(store, "bob", 2e9)
    store.add([say("bob", "here again", 1e9)])
    assert not shares(store, "bob")


def test_what_is_learnt_while_somebody_withdraws_is_not_kept(store):
    def learning():
        yield learnt(EVERYONE, ("ana", "bob"), b"in time")
        share(store, "bob", False)
        yield learnt(EVERYONE, ("ana", "bob"), b"too late")
        yield learnt("bob", ("bob",), b"his own")
        yield learnt(EVERYONE, ("ana",), b"without bob")

    store.put_artifacts(permitted(store, learning()))
    assert left(store) == {("bob", b"his own"), (EVERYONE, b"without bob")}


def test_everyone_is_no_user(store):
    with pytest.raises(InputError, match="no user can be called so"):
        store.add([say("dora", "hello", 1e9), say(EVERYONE, "hello", 1e9)])
    assert "dora" not in {info.id for info in store.users()}
    with pytest.raises(InputError, match="no user"):
        share(store, EVERYONE, True)
    with pytest.raises(NotFound, match="no user 'eve'"):
        share(store, "eve", True)
    store.put_artifacts([learnt(EVERYONE, ("bob",))])
    assert [info.id for info in store.users()] == list(PEOPLE)
    assert EVERYONE not in sharing(store)


def test_an_export_names_nobody_else(store, tmp_path):
    fill(store)
    store.put_artifacts([learnt("ana", ("ana",), b"from her own")])
    export(store, "ana", tmp_path / "ana.zip", now=2e9)
    other = open_store(tmp_path / "other")
    restore(other, tmp_path / "ana.zip")
    back = other.artifacts("ana")
    assert {a.payload for a in back} == {b"her own", b"from her own"}
    assert back == [a for a in store.artifacts("ana") if "bob" not in a.people]
