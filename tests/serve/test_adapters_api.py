"""The API over what was learnt into weights."""

from __future__ import annotations

import pytest

from helpers import say
from idiolect.types import Artifact, Body


def adapter(n: int, **more) -> Artifact:
    return Artifact.new(
        "ana", "adapter", method="lora", settings={"rank": 2}, payload=b"{}", record_ids=(), time=float(n),
        base_model="tiny@1", scores={"gain": 0.25}, body=Body.of(b"weights %d" % n), **more,
    )  # fmt: skip


@pytest.fixture
def ana(client):
    store = client.idiolect.store
    store.add([say("ana", "one", 1.0), say("bob", "two", 1.0)])
    store.put_artifacts([
        adapter(1, people=("bob",)), adapter(2),
        Artifact.new("ana", "profile", method="profile", payload=b"{}", record_ids=(), time=3.0),
    ])  # fmt: skip
    return client


def test_adapters_are_listed_without_their_weights_and_name_nobody(ana):
    second, first = ana.get("/v1/users/ana/adapters").json()["data"]
    assert (second["time"], second["newest"], second["rank"], second["bytes"]) == (2.0, True, 2, 9)
    assert (first["time"], first["newest"], first["people"]) == (1.0, False, 1)
    assert first["scores"] == {"gain": 0.25}
    assert "bob" not in ana.get("/v1/users/ana/adapters").text
    assert ana.get("/v1/users/bob/adapters").json()["data"] == []
    assert ana.get("/v1/users/nobody/adapters").status_code == 404


def test_a_deleted_adapter_is_gone_and_the_one_before_serves(ana):
    second, first = ana.get("/v1/users/ana/adapters").json()["data"]
    told = []
    ana.idiolect.store.dropped = told.extend
    assert ana.delete(f"/v1/users/bob/adapters/{second['id']}").status_code == 404
    assert ana.delete(f"/v1/users/ana/adapters/{second['id']}").json() == {"id": second["id"], "deleted": True}
    assert ana.delete(f"/v1/users/ana/adapters/{second['id']}").status_code == 404
    assert ana.get("/v1/users/ana/adapters").json()["data"] == [{**first, "newest": True}]
    assert told == [second["id"]]
    (profile,) = (a.id for a in ana.idiolect.store.artifacts("ana") if a.kind == "profile")
    assert ana.delete(f"/v1/users/ana/adapters/{profile}").status_code == 404
