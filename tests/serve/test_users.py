"""The API over each user's data."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from helpers import HashEmbedder, say

ANA = "/v1/users/ana"
ROWS = [
    {"output": "I like jazz", "time": 1000, "kind": "profile"},
    {"output": "Bought a trumpet", "time": "2024-05-01T10:00:00Z"},
    {"input": "Which tea?", "output": "Green tea, please", "kind": "dialogue", "time": 2000, "meta": {"session": "s"}},
]


@pytest.fixture
def ana(client):
    answer = client.post(f"{ANA}/records", json=ROWS)
    assert answer.json()["added"] == 3
    return client


def records(client, user="ana", **query):
    return client.get(f"/v1/users/{user}/records", params=query).json()


def test_records_are_kept_once_and_come_back_as_they_were_given(ana):
    assert ana.post(f"{ANA}/records", json=ROWS).json()["known"] == 3
    kept = records(ana)["data"]
    assert [record["output"] for record in kept] == [row["output"] for row in ROWS]
    assert kept[2]["meta"] == {"session": "s"}
    assert kept[1]["time"] == 1714557600.0
    assert ana.get(f"{ANA}/records/{kept[0]['id']}").json() == kept[0]


def test_one_record_a_list_an_object_and_json_lines_are_all_taken(client):
    client.post(f"{ANA}/records", json={"output": "one"})
    client.post(f"{ANA}/records", json={"records": [{"output": "two"}]})
    lines = b'{"output": "three"}\n\n{"output": "four"}\r\n'
    client.post(f"{ANA}/records", content=lines, headers={"content-type": "application/x-ndjson"})
    assert [record["output"] for record in records(client)["data"]] == ["one", "two", "three", "four"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({}, "no output"),
        ("text", "a record is a JSON object"),
        ({"output": 5}, "output must be text"),
        ({"output": "x", "kind": "nonsense"}, "unknown kind"),
        ({"output": "x", "time": 1e15}, "milliseconds"),
        ({"output": "x", "meta": json.loads('{"a":' * 300 + "1" + "}" * 300)}, "record 1"),
    ],
)
def test_one_wrong_record_and_none_is_kept(client, row, says):
    answer = client.post(f"{ANA}/records", json=[{"output": "fine"}, row])
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
    assert "record 1" in answer.json()["error"]["message"]
    assert client.get("/v1/users").json()["data"] == []


@pytest.mark.parametrize("body", [b'{"output": "\xff"}', b'[{"output": "x"}', b"[" * 100000])
def test_what_is_not_json_in_utf8_is_refused(client, body):
    answer = client.post(f"{ANA}/records", content=body)
    assert answer.status_code == 400
    assert "not JSON in UTF-8" in answer.json()["error"]["message"]


def test_a_hundred_megabyte_record_is_a_clear_error(make):
    client = make()
    answer = client.post(f"{ANA}/records", content=b'{"output": "' + b"x" * (100 << 20) + b'"}')
    assert answer.status_code == 413
    assert "serve.max_body_mb" in answer.json()["error"]["message"]
    answer = client.post(f"{ANA}/records", content=b'{"output": "' + b"x" * (20 << 20) + b'"}')
    assert answer.status_code == 400
    assert "larger than 16 MB" in answer.json()["error"]["message"]
    assert client.get("/v1/users").json()["data"] == []


def test_pages(client):
    client.idiolect.store.add([say("ana", f"record {n}", float(n)) for n in range(250)])
    first = records(client, limit=100)
    assert len(first["data"]) == 100
    second = records(client, limit=100, after=first["next"])
    third = records(client, limit=100, after=second["next"])
    assert third["next"] is None
    seen = [record["output"] for page in (first, second, third) for record in page["data"]]
    assert seen == [f"record {n}" for n in range(250)]
    assert client.get(f"{ANA}/records?limit=x").status_code == 400
    assert client.get("/v1/users/nobody/records").status_code == 404


def test_deleting_a_record_takes_what_was_made_from_it(ana):
    profile = ana.post(f"{ANA}/profile").json()
    source = profile["claims"][0]["record_ids"][0]
    assert ana.delete(f"{ANA}/records/{source}").json() == {"id": source, "deleted": True, "artifacts": [profile["id"]]}
    assert ana.get(f"{ANA}/profile").status_code == 404
    assert ana.get(f"{ANA}/records/{source}").status_code == 404
    assert ana.delete(f"{ANA}/records/{source}").status_code == 404


def test_search(ana):
    found = ana.get(f"{ANA}/search", params={"q": "green tea", "k": 1}).json()["data"]
    assert found[0]["record"]["output"] == "Green tea, please"
    assert found[0]["score"] > 0
    assert found[0]["parts"]
    past = ana.get(f"{ANA}/search", params={"q": "green tea", "now": 1500}).json()["data"]
    assert all(hit["record"]["time"] < 1500 for hit in past)
    only = ana.get(f"{ANA}/search", params={"q": "jazz tea trumpet", "kinds": "profile"}).json()["data"]
    assert {hit["record"]["kind"] for hit in only} == {"profile"}
    assert ana.get(f"{ANA}/search", params={"kinds": "x"}).status_code == 400
    assert ana.get(f"{ANA}/search", params={"now": "x"}).status_code == 400
    assert ana.get("/v1/users/nobody/search?q=tea").json()["data"] == []


def test_profile(ana):
    assert ana.get(f"{ANA}/profile").status_code == 404
    written = ana.post(f"{ANA}/profile").json()
    assert written["claims"][0]["text"] == "I like jazz"
    assert ana.get(f"{ANA}/profile").json() == written
    assert ana.delete(f"{ANA}/profile").json()["artifacts"] == [written["id"]]
    assert ana.get(f"{ANA}/profile").status_code == 404
    assert ana.post("/v1/users/nobody/profile").status_code == 404


def test_export_imports_again_to_the_same_state(ana):
    ana.post(f"{ANA}/profile")
    zipped = ana.get(f"{ANA}/export")
    assert zipped.headers["content-type"] == "application/zip"
    assert int(zipped.headers["content-length"]) == len(zipped.content)
    with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
        assert "records.jsonl" in archive.namelist()
    before, profile = records(ana)["data"], ana.get(f"{ANA}/profile").json()
    ana.delete(ANA)
    back = ana.post(f"{ANA}/import", params={"filename": "export.zip"}, content=zipped.content).json()
    assert back["added"] == 3
    assert records(ana)["data"] == before
    assert ana.get(f"{ANA}/profile").json()["claims"] == profile["claims"]
    assert ana.get("/v1/users/nobody/export").status_code == 404


def test_import_counts_what_is_new_known_and_skipped(client):
    lines = b'{"output": "a", "time": 1}\n{"time": 2}\n{"output": "b", "time": 3}\n'
    dry = client.post(f"{ANA}/import", params={"filename": "x.jsonl", "dry_run": "true"}, content=lines).json()
    assert (dry["records"], dry["skipped"], dry["dry_run"]) == (2, 1, True)
    assert client.get("/v1/users").json()["data"] == []
    first = client.post(f"{ANA}/import", params={"filename": "x.jsonl"}, content=lines).json()
    assert (first["format"], first["added"], first["known"], first["skipped"]) == ("jsonl", 2, 0, 1)
    assert first["told"] == [{"file": "x.jsonl", "line": 2, "reason": "no output"}]
    again = client.post(f"{ANA}/import", params={"filename": "x.jsonl"}, content=lines).json()
    assert (again["added"], again["known"]) == (0, 2)


def test_import_of_a_named_format_with_settings(client):
    table = b"when,what\n2024-01-01,walked the dog\n"
    query = {"filename": "t.csv", "format": "csv", "settings": json.dumps({"output": "what", "time": "when"})}
    answer = client.post(f"{ANA}/import", params=query, content=table)
    assert answer.json()["added"] == 1, answer.text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"filename": "../../etc/passwd"}, 400),
        ({"filename": ".hidden"}, 400),
        ({"filename": "x.jsonl", "format": "nonsense"}, 400),
        ({"filename": "x.jsonl", "settings": "["}, 400),
        ({"filename": "x.bin"}, 400),
    ],
)
def test_an_import_that_cannot_be_meant_is_refused_and_leaves_no_file(client, query, status):
    assert client.post(f"{ANA}/import", params=query, content=b"\x00\x01").status_code == status
    assert not list(client.data.glob("upload-*"))


def test_an_upload_that_is_too_large_is_refused(make):
    client = make(serve={"max_upload_mb": 1})
    answer = client.post(f"{ANA}/import", content=b" " * (2 << 20))
    assert answer.status_code == 413


def test_erase_gives_a_receipt_that_verifies(ana):
    from idiolect.store.erase import verify

    receipt = ana.delete(ANA).json()
    assert receipt["removed"]["records"] == 3
    assert verify(ana.idiolect.store, receipt)
    assert ana.get(f"{ANA}/records").status_code == 404
    assert ana.delete(ANA).status_code == 404


@pytest.mark.parametrize("user", ["org/ana", "ä ö?#%", "..", "a%2Fb", "\N{GRINNING FACE}", "x" * 500])
def test_any_text_is_a_user_id(client, user):
    from urllib.parse import quote

    path = f"/v1/users/{quote(user, safe='')}"
    if user == "..":
        path = "/v1/users/%2E%2E"
    client.idiolect.store.add([say(user, "hello", 1.0)])
    assert client.get(f"{path}/records").json()["data"][0]["output"] == "hello"
    assert client.get("/v1/users").json()["data"][0]["id"] == user


def test_the_list_of_users_is_paged(client):
    client.idiolect.store.add([say(f"u{n}", "x", 1.0) for n in range(5)])
    first = client.get("/v1/users?limit=3").json()
    second = client.get("/v1/users", params={"limit": 3, "after": first["next"]}).json()
    assert [user["id"] for user in first["data"] + second["data"]] == [f"u{n}" for n in range(5)]
    assert second["next"] is None


def test_influence_names_what_mattered(client):
    client.idiolect.store.add([say("ana", "I always drink green tea", 1.0)])
    ask = {"messages": [{"role": "user", "content": "What tea do I drink?"}], "user": "ana"}
    trace = client.post("/v1/chat/completions", json=ask).headers["X-Idiolect-Trace"]
    found = client.post(f"/v1/traces/{trace}/influence").json()["data"]
    assert found[0]["used"]["what"] == "record"
    assert isinstance(found[0]["effect"], float)
    assert client.get("/v1/traces/nonsense").status_code == 404


def test_embeddings(client):
    import base64

    import numpy as np

    assert client.post("/v1/embeddings", json={"input": "x"}).status_code == 400
    embedder = client.idiolect.store.embedder = HashEmbedder()
    floats = client.post("/v1/embeddings", json={"input": ["one", "two"]}).json()
    packed = client.post("/v1/embeddings", json={"input": ["one", "two"], "encoding_format": "base64"}).json()
    for index, text in enumerate(("one", "two")):
        expected = embedder.embed([text])[0]
        assert np.allclose(floats["data"][index]["embedding"], expected)
        assert np.array_equal(np.frombuffer(base64.b64decode(packed["data"][index]["embedding"]), "<f4"), expected)
    assert floats["usage"]["prompt_tokens"] > 0
    for body in ({}, {"input": []}, {"input": [[1, 2]]}, {"input": "x", "dimensions": 3},
                 {"input": "x", "encoding_format": "hex"}):  # fmt: skip
        assert client.post("/v1/embeddings", json=body).status_code == 400


def test_the_document_names_exactly_what_is_offered(client):
    from starlette.routing import Route

    offered = {
        (method, route.path.replace(":path", ""))
        for route in client.app.routes
        if isinstance(route, Route) and route.path != "/v1/{path:path}"
        for method in route.methods - {"HEAD"}
    }
    paths = client.get("/openapi.json").json()["paths"]
    assert {(method.upper(), path) for path, operations in paths.items() for method in operations} == offered
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation["summary"].startswith(f"{method.upper()} {path}"), operation["summary"]


def test_unknown_paths_and_methods_have_openais_error_form(client):
    for method, path in (("GET", "/nope"), ("GET", "/v1/nope"), ("PUT", "/v1/users"), ("POST", "/v1/users/ana/nope")):
        answer = client.request(method, path)
        assert answer.status_code in (404, 405)
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_groups_are_the_administrators_to_set(ana):
    assert ana.get(f"{ANA}/groups").json() == {"user": "ana", "groups": []}
    wanted = {"groups": ["nurses", "staff", "nurses"]}
    assert ana.put(f"{ANA}/groups", json=wanted).json()["groups"] == ["nurses", "staff"]
    assert ana.get(f"{ANA}/groups").json()["groups"] == ["nurses", "staff"]
    for wrong in ({"groups": "nurses"}, {"groups": [1]}, {"groups": ["\n"]}, {}):
        assert ana.put(f"{ANA}/groups", json=wrong).status_code == 400
    assert ana.get("/v1/users/nobody/groups").status_code == 404
    assert ana.put("/v1/users/nobody/groups", json={"groups": []}).status_code == 404


def test_consent_and_evidence(ana):
    assert ana.get(f"{ANA}/consent").json() == {"user": "ana", "shares": False}
    assert ana.put(f"{ANA}/consent", json={"shares": True}).json()["shares"] is True
    assert ana.get(f"{ANA}/consent").json()["shares"] is True
    assert ana.put(f"{ANA}/consent", json={"shares": "yes"}).status_code == 400
    assert ana.get("/v1/users/nobody/consent").status_code == 404
    told = ana.get(f"{ANA}/evidence").json()
    assert (told["rests_on"], told["serves"]) == ("nothing measured yet", "profile+memory+retrieval")
    rows = [{"output": f"I like jazz, record {n}", "time": 3000 + n} for n in range(30)]
    ana.post(f"{ANA}/records", json=rows)
    measured = ana.post(f"{ANA}/evidence").json()
    assert measured["rests_on"] == "own records"
    assert ana.get(f"{ANA}/evidence").json() == measured
    assert {row["candidate"] for row in measured["candidates"]} >= {"retrieval", "profile"}
