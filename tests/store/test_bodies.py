"""Weights of artifacts: kept apart, read when asked for, gone with what they belong to."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import open_store, say
from idiolect.errors import InputError, NotFound, RecordTooLarge, StoreCorrupt
from idiolect.store import keys
from idiolect.store.checkpoints import StoredCheckpoints
from idiolect.store.erase import erase
from idiolect.store.forget import forget
from idiolect.store.rows import Plane
from idiolect.store.sealed import SealedWriter
from idiolect.store.sharing import permitted, share
from idiolect.types import EVERYONE, Artifact, Body, Learnt

MARK = b"weights-sentinel-4711"


def weights(seed: int = 0, size: int = 100_000) -> bytes:
    return MARK + np.random.default_rng(seed).bytes(size)


def adapter(seed: int = 0, user: str = "ana", record_ids=(), **more) -> Artifact:
    settings = more.pop("settings", {"rank": 2, "modules": ("q_proj",)})
    return Artifact.new(
        user, "adapter", method="lora", settings=settings, payload=b"{}", record_ids=record_ids, time=float(seed),
        body=Body.of(weights(seed)), **more,
    )  # fmt: skip


def cells(store, user="ana", plane=Plane.BODY):
    with store.rows.read() as tx:
        return tx.count(store.number(user), plane)


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path)
    store.add([say("ana", "one", 1.0), say("ana", "two", 2.0), say("bob", "three", 3.0)])
    return store


def test_a_body_comes_back_as_it_was(tmp_path, store):
    made = adapter()
    assert store.put_artifacts([made]) == 1
    assert store.put_artifacts([made]) == 0
    for opened in (store, open_store(tmp_path)):
        (kept,) = opened.artifacts("ana")
        assert (kept.id, kept.body) == (made.id, made.body)
        assert kept.body.size == len(weights())
        assert kept.body.read() == weights()
    assert MARK not in b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())


def test_listing_artifacts_reads_no_body(store, monkeypatch):
    store.put_artifacts([adapter(n) for n in range(3)])
    asked = []
    opened = keys.Box.open
    monkeypatch.setattr(keys.Box, "open", lambda box, cell, place: asked.append(len(cell)) or opened(box, cell, place))
    store.drop_cached("ana")
    found = store.artifacts("ana")
    assert max(asked) < 2000
    assert found[0].body.read() == weights(2)
    assert max(asked) > 100_000


def test_each_is_kept_as_soon_as_it_comes(tmp_path, store):
    other, seen = open_store(tmp_path), []

    def training():
        for n in range(3):
            yield adapter(n, "ana" if n % 2 else "bob")
            seen.append([len(other.artifacts(user)) for user in ("bob", "ana")])
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        store.put_artifacts(permitted(store, training()))
    assert seen == [[1, 0], [1, 1], [2, 1]]
    assert [a.body.read() for a in other.artifacts("bob")] == [weights(2), weights(0)]


def test_what_is_learnt_from_a_turn_may_have_a_body(store):
    store.learn("ana", Learnt(artifacts=(adapter(),)))
    assert store.artifacts("ana")[0].body.read() == weights()


def test_three_versions_are_kept(store):
    told = []
    store.dropped = told.extend
    made = [adapter(n) for n in range(5)]
    other = adapter(9, settings={"rank": 4})
    store.put_artifacts([other, *made])
    assert [a.id for a in store.artifacts("ana")] == [*(a.id for a in reversed(made[2:])), other.id]
    assert cells(store) == 4
    assert told == [made[0].id, made[1].id]
    store.put_artifacts([adapter(n, EVERYONE) for n in range(5)])
    assert [a.time for a in store.artifacts(EVERYONE)] == [4.0, 3.0, 2.0]


def test_a_body_goes_with_its_artifact(store):
    one, two = [record.id for record in store.all_records("ana")]
    made = [adapter(n, record_ids=[rid]) for n, rid in enumerate((one, two))]
    store.put_artifacts(made)
    told = []
    store.dropped = told.extend
    held = {a.id: a for a in store.artifacts("ana")}
    store.delete("ana", [one])
    assert (cells(store), told) == (1, [made[0].id])
    with pytest.raises(NotFound, match=f"{made[0].id} are gone"):
        held[made[0].id].body.read()
    assert held[made[1].id].body.read() == weights(1)
    store.delete_artifacts("ana", [made[1].id])
    assert (cells(store), told) == (0, [made[0].id, made[1].id])


def test_a_withdrawal_and_an_erasure_take_bodies_back(store):
    for user in ("ana", "bob"):
        share(store, user, True)
    store.put_artifacts([adapter(1, EVERYONE, people=("ana", "bob")), adapter(2, "ana", people=("bob",)), adapter(3)])
    told = []
    store.dropped = told.extend
    share(store, "bob", False)
    assert (cells(store, EVERYONE), cells(store), len(told)) == (0, 1, 2)
    (held,) = store.artifacts("ana")
    receipt = erase(store, "ana", 1e9)
    assert (receipt.removed["artifacts"], receipt.removed["bodies"]) == (1, 1)
    assert told[2:] == [held.id]
    store.add([say("ana", "here again", 4.0)])
    store.put_artifacts([adapter(3)])
    with pytest.raises(NotFound, match="are gone"):
        held.body.read()  # the same person and artifact, but not what was held


def test_a_body_that_does_not_verify_is_never_returned(store):
    store.put_artifacts([adapter(0), adapter(1)])
    second, first = store.artifacts("ana")
    with store.rows.write() as tx:
        SealedWriter(tx, store.key("ana")).put(Plane.BODY, [(0, weights(1))])
        tx.put(store.number("ana"), Plane.BODY, [(1, b"x" * 200)])
    for artifact, what in ((first, "not those that were kept"), (second, "does not verify")):
        with pytest.raises(StoreCorrupt, match=what):
            artifact.body.read()


def test_a_wrong_digest_and_too_much_are_refused(store, monkeypatch):
    made = adapter()
    wrong = Body(Body.of(b"other").digest, 5, lambda: weights())
    with pytest.raises(InputError, match="not what its digest says"):
        store.put_artifacts(
            [Artifact.new("ana", "adapter", method="m", payload=b"", record_ids=(), time=1.0, body=wrong)]
        )
    monkeypatch.setattr("idiolect.store.bodies.LARGEST", 1000)
    with pytest.raises(RecordTooLarge, match="limit is 1,000"):
        store.put_artifacts([made])
    assert store.artifacts("ana") == []


@pytest.mark.parametrize("way", ["forget", "erase", "withdraw"])
def test_no_byte_is_left_in_any_file(tmp_path, monkeypatch, way):
    monkeypatch.setattr(keys.Box, "seal", lambda self, data, place: data)
    monkeypatch.setattr(keys.Box, "open", lambda self, cell, place: cell)
    store = open_store(tmp_path)
    store.add([say("cleo", "I sing alto", 1.0)])
    share(store, "cleo", True)
    (record,) = store.all_records("cleo")
    store.put_artifacts([adapter(1, "cleo", record_ids=[record.id]), adapter(2, EVERYONE, people=("cleo",))])
    StoredCheckpoints(store, lambda: "lora").save("cleo", MARK)

    def left() -> set[str]:
        found = [path for path in tmp_path.rglob("*") if path.is_file() and MARK in path.read_bytes()]
        return {path.parent.name for path in found}

    assert left() == {"data", "checkpoints"}
    if way == "forget":
        assert len(forget(store, "cleo", record.id).artifacts) == 1
        store.delete_artifacts(EVERYONE, [a.id for a in store.artifacts(EVERYONE)])
        store.rows.scrub()
    elif way == "erase":
        erase(store, "cleo", 1e9)
    else:
        store.delete("cleo", [record.id])
        share(store, "cleo", False)
    assert left() == set()
