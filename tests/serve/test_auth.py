"""Who may ask, and for whom."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from helpers import say
from idiolect import config
from idiolect.config import Serve
from idiolect.errors import ConfigError, InputError
from idiolect.serve.auth import Caller, Keys, check_bind
from idiolect.serve.wishes import user_of
from serve.conftest import key

ASK = {"messages": [{"role": "user", "content": "What do I drink?"}]}
KEYS = [key("for-ana", "ana"), key("for-bob", "bob"), key("app"), key("root", admin=True)]


def bearer(secret, **more):
    return {"Authorization": f"Bearer {secret}", **more}


@pytest.fixture
def keyed(make):
    client = make(serve={"keys": KEYS})
    client.idiolect.store.add([say("ana", "Ana drinks tea", 1.0), say("bob", "Bob drinks gin", 1.0)])
    return client


def asked_for(client, answer):
    trace = answer.headers.get("X-Idiolect-Trace")
    return client.idiolect.trace(trace)["user"] if trace else None


def test_without_a_valid_key_nothing_is_answered(keyed):
    for headers in ({}, bearer("wrong"), {"Authorization": "for-ana"}, {"Authorization": "Basic for-ana"}):
        for method, path in (
            ("GET", "/v1/users"),
            ("POST", "/v1/chat/completions"),
            ("GET", "/metrics"),
            ("GET", "/x"),
        ):
            answer = keyed.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
    assert keyed.get("/healthz").status_code == 200
    assert keyed.get("/readyz").status_code == 200


def test_the_user_is_found_by_precedence(keyed):
    body = {**ASK, "metadata": {"user_id": "m"}}
    store = keyed.idiolect.store
    store.add([say(name, "drinks water", 1.0) for name in ("h", "s", "u", "m")])

    def who(headers, **fields):
        return asked_for(keyed, keyed.post("/v1/chat/completions", json={**body, **fields}, headers=headers))

    every = {"user": "u", "safety_identifier": "s"}
    assert who(bearer("for-ana", **{"X-User-Id": "h"}), **every) == "ana"
    assert who(bearer("app", **{"X-User-Id": "h"}), **every) == "h"
    assert who(bearer("app"), **every) == "s"
    assert who(bearer("app"), user="u") == "u"
    assert who(bearer("app")) == "m"
    assert who(bearer("app"), metadata=None) is None
    assert who(bearer("app"), user=5, safety_identifier=["s"]) == "m"


def test_a_header_may_hold_any_script(keyed):
    keyed.idiolect.store.add([say("Ünal Öz", "drinks ayran", 1.0)])
    headers = {"Authorization": "Bearer app", "X-User-Id": "Ünal Öz".encode()}
    assert asked_for(keyed, keyed.post("/v1/chat/completions", json=ASK, headers=headers)) == "Ünal Öz"
    with pytest.raises(InputError, match="not UTF-8"):
        user_of(Headers(raw=[(b"x-user-id", b"\xff\xfe")]), {}, Caller())


EVERY_PATH = [
    ("DELETE", ""), ("GET", "/export"), ("POST", "/import"), ("GET", "/records"), ("POST", "/records"),
    ("GET", "/records/x"), ("DELETE", "/records/x"), ("GET", "/search?q=gin"), ("GET", "/profile"),
    ("POST", "/profile"), ("DELETE", "/profile"), ("GET", "/memories"), ("POST", "/memories"),
    ("PUT", "/memories/x"), ("DELETE", "/memories/x"), ("GET", "/memories/x"),
    ("PATCH", "/memories/x"), ("GET", "/wishes"), ("PUT", "/wishes"), ("GET", "/evidence"), ("POST", "/evidence"),
    ("GET", "/groups"), ("PUT", "/groups"), ("GET", "/consent"), ("PUT", "/consent"),
    ("GET", "/adapters"), ("DELETE", "/adapters/x"),
    ("POST", "/rank"), ("POST", "/choices"),
]  # fmt: skip


def test_every_path_of_a_user_is_in_this_test(client):
    offered = {
        (m.upper(), p) for p, operations in client.get("/openapi.json").json()["paths"].items() for m in operations
    }
    named = [(m, p.split("?")[0].replace("/adapters/x", "/adapters/{adapter}")) for m, p in EVERY_PATH]
    here = {(m, "/v1/users/{user}" + p.replace("/x", "/{record}")) for m, p in named}
    assert here == {(m, p) for m, p in offered if p.startswith("/v1/users/{user}")}


@pytest.mark.parametrize(("method", "path"), EVERY_PATH)
def test_a_key_bound_to_one_user_reaches_no_other(keyed, method, path):
    for user in ("bob", "b%6Fb"):
        answer = keyed.request(method, f"/v1/users/{user}{path}", headers=bearer("for-ana"))
        assert answer.status_code == 403
        assert "gin" not in answer.text
    assert keyed.get("/v1/users/bob/records", headers=bearer("for-bob")).json()["data"][0]["output"] == "Bob drinks gin"


def test_a_bound_key_sees_neither_the_list_nor_the_metrics_nor_others_traces(keyed):
    answer = keyed.post("/v1/chat/completions", json=ASK, headers=bearer("for-bob"))
    trace = answer.headers["X-Idiolect-Trace"]
    assert keyed.get(f"/v1/traces/{trace}", headers=bearer("for-bob")).status_code == 200
    mine = keyed.get(f"/v1/traces/{trace}", headers=bearer("for-ana"))
    none = keyed.get("/v1/traces/" + "0" * 32, headers=bearer("for-ana"))
    assert mine.status_code == none.status_code == 404
    assert mine.json()["error"]["code"] == none.json()["error"]["code"]
    assert keyed.post(f"/v1/traces/{trace}/influence", headers=bearer("for-ana")).status_code == 404
    assert keyed.get("/metrics", headers=bearer("for-ana")).status_code == 403
    assert keyed.get("/v1/users", headers=bearer("for-ana")).status_code == 403
    assert keyed.get("/v1/users", headers=bearer("app")).status_code == 403
    assert len(keyed.get("/v1/users", headers=bearer("root")).json()["data"]) == 2


def test_the_body_never_overrides_a_bound_key(keyed):
    body = {**ASK, "user": "bob", "safety_identifier": "bob", "metadata": {"user_id": "bob"}}
    answer = keyed.post("/v1/chat/completions", json=body, headers=bearer("for-ana", **{"X-User-Id": "bob"}))
    trace = keyed.get(f"/v1/traces/{answer.headers['X-Idiolect-Trace']}", headers=bearer("for-ana")).json()
    assert trace["user"] == "ana"
    assert "gin" not in str(trace)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8484"}, 200),
        ({"Host": "[::1]:8484"}, 200),
        ({"Origin": "http://127.0.0.1:8484", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "rebound.example"}, 403),
        ({"Host": "127.0.0.1.example"}, 403),
        ({"Host": "rebound.example@127.0.0.1"}, 403),
        ({"Origin": "https://other.example"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_browsers_on_other_sites_are_refused_where_there_is_no_key(client, headers, status):
    assert client.get("/v1/models", headers=headers).status_code == status


def test_keys_let_other_hosts_in(keyed):
    assert keyed.get("/v1/models", headers=bearer("app", Host="llm.example.org")).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_other_addresses_need_a_key(host):
    with pytest.raises(ConfigError, match="idiolect config add-key"):
        check_bind(Serve(host=host))
    check_bind(Serve(host=host, keys=(key("x"),)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_none(host):
    assert check_bind(Serve(host=host)) is None


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"hash": "secret"}, "sha256"),
        ({"hash": key("x")["hash"], "users": "ana"}, "'users'"),
        ({"hash": key("x")["hash"], "user": "ana", "admin": True}, "not both"),
        ({"hash": key("x")["hash"], "user": 5}, "'user' must be text"),
        ({}, "idiolect config add-key"),
    ],
)
def test_a_key_that_cannot_be_meant_is_a_clear_error(entry, says):
    with pytest.raises(ConfigError, match=says):
        Keys([entry])


def test_keys_come_from_the_settings():
    settings = config.parse({"serve": {"keys": [key("s", "ana")]}})
    found = Keys(settings.serve.keys).find(b"s")
    assert found is not None
    assert (found.user, found.admin) == ("ana", False)
    assert Keys(settings.serve.keys).find(b"S") is None


def test_an_empty_id_is_no_user():
    assert user_of(Headers({"x-user-id": ""}), {"user": "", "metadata": {"user_id": "m"}}, Caller()) == "m"
