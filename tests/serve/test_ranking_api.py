"""Ranking, questions and choices over the API."""

from __future__ import annotations

import pytest

import tastes
from serve.conftest import key

RANK, CHOICES = "/v1/users/ana/rank", "/v1/users/ana/choices"
MENU = ["a cold salad", "a cake", "hot soup", "apple pie"]
ASK = {"prompt": "What shall we eat?", "options": MENU}


@pytest.fixture(autouse=True)
def judging(monkeypatch):
    tastes.register(monkeypatch)


@pytest.fixture
def client(make):
    return make(methods=[tastes.NAME])


def test_ask_choose_ask_until_it_is_sure(client):
    questions = 0
    while (found := client.post(RANK, json=ASK).json())["ask"] is not None:
        pair = [found["ask"]["first"], found["ask"]["second"]]
        choice = next((place for place, text in enumerate(pair) if "soup" in text), 0 if "cake" not in pair[0] else 1)
        done = client.post(CHOICES, json={"prompt": ASK["prompt"], "options": pair, "choice": choice})
        assert (done.status_code, done.json()["output"], done.json()["kind"]) == (201, pair[choice], "preference")
        assert client.idiolect.store.find("ana", done.json()["id"]).meta["options"] == pair
        questions += 1
        assert questions <= 6
    assert questions >= 2
    assert found["best"] == found["ranking"][0]["option"] == "hot soup"
    assert [row["option"] for row in found["ranking"]] != MENU
    assert sum(row["chance"] for row in found["ranking"]) == pytest.approx(1.0)
    assert {row["option"]: row["position"] for row in found["ranking"]} == {o: n for n, o in enumerate(MENU)}
    assert all(set(row) == {"option", "position", "chance", "spread"} for row in found["ranking"])
    assert 0.0 < found["sure"] <= 1.0
    assert found["method"] == "tastes"


def test_messages_and_options_with_labels(client):
    options = [{"label": "A", "text": "hot soup", "item": "s"}, {"label": "B", "text": "a cake", "item": "c"}, "tea"]
    found = client.post(RANK, json={"messages": [{"role": "user", "content": "Lunch?"}], "options": options}).json()
    assert {row["option"] for row in found["ranking"]} == {"A", "B", "tea"}
    body = {"prompt": "Lunch?", "options": options[:2], "choice": 1, "item": "lunch"}
    meta = client.post(CHOICES, json=body).json()["meta"]
    assert meta == {
        "about": "Lunch?", "options": ["hot soup", "a cake"], "choice": 1, "option_items": ["s", "c"], "item": "lunch",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        (RANK, {"options": MENU}, "'prompt' or 'messages'"),
        (RANK, {**ASK, "messages": [{"role": "user", "content": "x"}]}, "either"),
        (RANK, {"messages": [], "options": MENU}, "messages"),
        (RANK, {"prompt": "x", "options": "soup"}, "list of 2"),
        (RANK, {"prompt": "x", "options": ["soup"]}, "list of 2"),
        (RANK, {"prompt": "x", "options": ["soup", 3]}, "option 1"),
        (RANK, {"prompt": "x", "options": ["soup", "soup"]}, "the same"),
        (RANK, {"prompt": "x", "options": ["soup", {"txt": "tea"}]}, "txt"),
        (RANK, {**ASK, "stars": 1}, "stars"),
        (RANK, {**ASK, "methods": "tastes"}, "list of names"),
        (RANK, {**ASK, "methods": ["nonsense"]}, "nonsense"),
        (RANK, {**ASK, "methods": ["retrieval"]}, "judges options"),
        (CHOICES, {**ASK}, "position"),
        (CHOICES, {**ASK, "choice": True}, "position"),
        (CHOICES, {**ASK, "choice": 4}, "numbered from 0"),
        (CHOICES, {"options": MENU, "choice": 0}, "'prompt'"),
        (CHOICES, {**ASK, "prompt": 1, "choice": 0}, "'prompt' must be text"),
    ],
)
def test_what_cannot_be_meant_is_refused(client, path, body, says):
    answer = client.post(path, json=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
    assert client.get("/v1/users").json()["data"] == []


def test_where_nothing_judges_or_nothing_was_learnt(make):
    client = make(methods=["retrieval"])
    answer = client.post(RANK, json=ASK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "config_error")
    assert "settings" in answer.json()["error"]["message"]
    untaught = {**ASK, "methods": [{"name": "tastes", "taught": False}]}
    answer = client.post(RANK, json=untaught)
    assert answer.status_code == 404
    assert "idiolect fit" in answer.json()["error"]["message"]


def test_a_bound_key_ranks_and_chooses_for_its_own_user_alone(make):
    client = make(methods=[tastes.NAME], serve={"keys": [key("a", "ana"), key("b", "ben")]})
    for path, body, good in ((RANK, ASK, 200), (CHOICES, {**ASK, "choice": 0}, 201)):
        for secret, status in (("b", 403), ("a", good), ("", 401)):
            headers = {"authorization": f"Bearer {secret}"} if secret else {}
            assert client.post(path, json=body, headers=headers).status_code == status
