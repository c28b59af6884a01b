"""People's control over what is kept about them, over the API."""

from __future__ import annotations

import io
import zipfile

import pytest

from serve.conftest import key

ANA = "/v1/users/ana"
MEMORIES = f"{ANA}/memories"


def told(client, **query):
    return client.get(MEMORIES, params=query).json()["data"]


def texts(client, **query):
    return [memory["output"] for memory in told(client, **query)]


@pytest.fixture
def ana(client):
    client.post(f"{ANA}/records", json={"output": "I like jazz", "time": 1000, "kind": "profile"})
    return client


def add(client, text):
    return client.post(MEMORIES, json={"text": text})


def test_a_memory_is_added_corrected_and_forgotten(ana):
    added = add(ana, "I am allergic to nuts")
    assert (added.status_code, added.json()["new"]) == (201, True)
    again = add(ana, "I am allergic to nuts")
    assert (again.status_code, again.json()["id"]) == (200, added.json()["id"])
    wrong = added.json()["id"]
    put = ana.put(f"{MEMORIES}/{wrong}", json={"text": "I am allergic to peanuts"}).json()
    assert (put["replaces"], put["said_by"], put["closed_ids"]) == (wrong, "corrected", [wrong])
    assert texts(ana) == ["I like jazz", "I am allergic to peanuts"]
    assert len(told(ana, all="true")) == 3
    gone = ana.delete(f"{MEMORIES}/{put['id']}").json()
    assert gone == {
        "id": put["id"], "deleted": True, "records": [put["id"]], "artifacts": [], "traces": 0, "turns": 0,
    }  # fmt: skip
    assert texts(ana) == ["I like jazz"]
    assert ana.get(f"{MEMORIES}/{put['id']}").status_code == 404


def test_correcting_drops_what_was_learnt_and_keeps_the_old(ana):
    ana.post(f"{ANA}/profile")
    (memory,) = told(ana)
    put = ana.put(f"{MEMORIES}/{memory['id']}", json={"text": "I like blues"}).json()
    assert len(put["artifacts"]) == 1
    shown = ana.get(f"{MEMORIES}/{put['id']}").json()
    assert [one["id"] for one in shown["replaces"]] == [memory["id"]]
    shown = ana.get(f"{MEMORIES}/{memory['id']}").json()
    assert (shown["holds"], shown["closed_by"]) == (False, put["id"])
    assert [one["id"] for one in shown["replaced_by"]] == [put["id"]]
    assert ana.put(f"{MEMORIES}/{memory['id']}", json={"text": "I like soul"}).status_code == 400


def test_the_exchange_it_was_said_in_is_shown_and_forgotten_with_it(ana):
    ask = {"messages": [{"role": "user", "content": "I live in Porto."}], "user": "ana"}
    trace = ana.post("/v1/chat/completions", json=ask).headers["X-Idiolect-Trace"]
    ana.idiolect.drain()
    memory = next(one for one in told(ana) if "Porto" in one["output"])
    shown = ana.get(f"{MEMORIES}/{memory['id']}").json()
    assert [source["output"] for source in shown["sources"]] == ["I live in Porto."]
    gone = ana.delete(f"{MEMORIES}/{memory['id']}").json()
    assert sorted(gone["records"]) == sorted([memory["id"], shown["sources"][0]["id"]])
    assert gone["traces"] == 1
    assert ana.get(f"/v1/traces/{trace}").status_code == 404


def test_as_of_search_and_pages(ana):
    add(ana, "I live in Porto.")
    assert texts(ana, as_of="1970-01-02") == ["I like jazz"]
    assert texts(ana, as_of=500) == []
    assert texts(ana, q="Porto", k=1) == ["I live in Porto."]
    assert texts(ana, after=1) == ["I live in Porto."]
    first = ana.get(MEMORIES, params={"limit": 1}).json()
    assert first["next"] == 1
    assert ana.get(MEMORIES, params={"all": "yes"}).status_code == 400
    assert ana.get(MEMORIES, params={"as_of": "then"}).status_code == 400
    assert ana.get("/v1/users/nobody/memories").status_code == 404


def test_pinned_closed_and_open_again(ana):
    (memory,) = told(ana)
    path = f"{MEMORIES}/{memory['id']}"
    assert ana.patch(path, json={"pinned": True}).json()["tier"] == "long"
    closed = ana.patch(path, json={"pinned": False, "holds": False}).json()
    assert (closed["pinned"], closed["holds"]) == (False, False)
    assert texts(ana) == []
    assert texts(ana, as_of=2000) == ["I like jazz"]
    assert ana.patch(path, json={"holds": True}).json()["closed"] is None
    for body in ({}, {"pinned": 1}, {"text": "x"}, {"holds": None}):
        assert ana.patch(path, json=body).status_code == 400
    assert ana.patch(f"{MEMORIES}/{'0' * 32}", json={"pinned": True}).status_code == 404


def test_a_record_that_is_no_memory_is_none(ana):
    ana.post(f"{ANA}/records", json={"output": "Bought a trumpet", "time": 2000})
    (other,) = [r["id"] for r in ana.get(f"{ANA}/records").json()["data"] if r["kind"] != "profile"]
    for method in ("get", "delete"):
        assert getattr(ana, method)(f"{MEMORIES}/{other}").status_code == 404
    assert ana.patch(f"{MEMORIES}/{other}", json={"pinned": True}).status_code == 404
    for body in ({}, {"text": " "}, {"text": 1}, {"text": "My password is hunter2"}):
        assert ana.post(MEMORIES, json=body).status_code == 400


def test_wishes(ana):
    assert ana.get(f"{ANA}/wishes").json() == {"user": "ana", "muted": [], "never": []}
    assert ana.put(f"{ANA}/wishes", json={"muted": ["jazz", " Jazz "]}).json()["muted"] == ["jazz"]
    ana.put(f"{ANA}/wishes", json={"never": ["sister"]})
    assert ana.get(f"{ANA}/wishes").json() == {"user": "ana", "muted": ["jazz"], "never": ["sister"]}
    ask = {"messages": [{"role": "user", "content": "jazz?"}], "user": "ana", "idiolect": {"methods": ["memory"]}}
    told = ana.post("/v1/chat/completions", json=ask).headers["X-Idiolect-Personalized"]
    assert told == "false; reason=no-match"
    assert add(ana, "My sister sings").status_code == 400
    assert ana.put(f"{ANA}/wishes", json={"muted": []}).json()["muted"] == []
    for body in ({"muted": "jazz"}, {"other": []}, {"never": [1]}, {"never": ["the"]}):
        assert ana.put(f"{ANA}/wishes", json=body).status_code == 400
    assert ana.get("/v1/users/nobody/wishes").status_code == 404


def test_a_bound_key_reaches_its_own_memory_alone(make):
    client = make(serve={"keys": [key("a", "ana"), key("root", admin=True)]})
    own, boss = ({"authorization": f"Bearer {secret}"} for secret in ("a", "root"))
    assert client.post(MEMORIES, json={"text": "I like jazz"}, headers=own).status_code == 201
    assert client.post("/v1/users/ben/memories", json={"text": "I like jazz"}, headers=own).status_code == 403
    assert client.put("/v1/users/ben/wishes", json={"muted": ["x"]}, headers=own).status_code == 403
    assert client.get("/v1/queue", headers=own).status_code == 403
    assert client.get("/v1/queue", headers=boss).json() == {"new": 0, "failed": 0, "given_up": 0, "next_try": None}


def test_an_export_carries_states_and_wishes(ana):
    add(ana, "I live in Porto.")
    add(ana, "I live in Lisbon.")
    ana.put(f"{ANA}/wishes", json={"muted": ["rain"], "never": ["sister"]})
    before = told(ana, all="true")
    zipped = ana.get(f"{ANA}/export").content
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        assert archive.read("states.jsonl").count(b"\n") == 1
    ana.delete(ANA)
    back = ana.post(f"{ANA}/import", params={"filename": "export.zip"}, content=zipped).json()
    assert back["states"] == 1
    assert told(ana, all="true") == before
    assert ana.get(f"{ANA}/wishes").json()["never"] == ["sister"]
