from __future__ import annotations

import json
from pathlib import Path

from cli.conftest import Run, write


def test_users(run: Run, ana: Path) -> None:
    assert run("users", "--json").lines == [
        {"id": "ana", "records": 4, "artifacts": 0, "groups": [], "shares": False},
        {"id": "ben", "records": 1, "artifacts": 0, "groups": [], "shares": False},
    ]
    assert "ana" in run("users").out


def test_consent_is_given_shown_and_withdrawn(run: Run, ana: Path) -> None:
    assert run("consent", "ana", "--json").json["shares"] is False
    assert run("consent", "ana", "--give", "--json").json["shares"] is True
    assert [user["shares"] for user in run("users", "--json").lines] == [True, False]
    assert "does not share" in run("consent", "ana", "--withdraw").err


def test_groups_are_set_shown_and_cleared(run: Run, ana: Path) -> None:
    assert "in no group" in run("groups", "ana").err
    assert run("groups", "ana", "--set", "nurses", "--set", "staff", "--json").json["groups"] == ["nurses", "staff"]
    assert "nurses, staff" in run("groups", "ana").err
    assert [user["groups"] for user in run("users", "--json").lines] == [["nurses", "staff"], []]
    assert "printable" in run("groups", "ana", "--set", " ", code=1).err
    assert "not both" in run("groups", "ana", "--set", "x", "--clear", code=2).err
    assert run("groups", "ana", "--clear", "--json").json["groups"] == []


def test_no_users_yet(run: Run) -> None:
    done = run("users")
    assert done.out == ""
    assert "idiolect import" in done.err


def test_search(run: Run, ana: Path) -> None:
    done = run("search", "ana", "walnut cake", "-k", "1", "-C", "1", "--json").json
    (hit,) = done["hits"]
    assert hit["output"] == "Baked a walnut cake for Ines"
    assert hit["date"] == "2025-05-08T00:00:00Z"
    assert hit["parts"]["bm25"] > 0
    assert [near["output"] for near in hit["neighbours"]] == ["The cake [was] too sweet"]
    shown = run("search", "ana", "walnut cake", "-C", "1").out
    assert "8 May 2025" in shown
    assert "The cake [was] too sweet" in shown


def test_search_now_and_mode(run: Run, ana: Path) -> None:
    found = run("search", "ana", "lake", "--now", "2025-06-01", "--json").json["hits"]
    assert "Rowed across the lake" not in [hit["output"] for hit in found]
    assert run("search", "ana", "cake", "--mode", "lexical", "--json").json["hits"]
    assert "no search by meaning" in run("search", "ana", "cake", "--mode", "dense", code=1).err


def test_search_wrong_input(run: Run, ana: Path) -> None:
    assert "Did you mean 'ana'" in run("search", "ann", "cake", code=1).err
    assert "integer" in run("search", "ana", "cake", "-k", "many", code=2).err
    assert "greater than or equal to 1" in run("search", "ana", "cake", "-k", "0", code=2).err
    assert "hybrid" in run("search", "ana", "cake", "--mode", "fuzzy", code=2).err


def test_stored_text_cannot_steer_the_terminal(run: Run, ana: Path) -> None:
    assert "\x1b" not in run("search", "ben", "hill").out
    assert run("search", "ben", "hill", "--json").json["hits"][0]["output"] == "Climbed \x1b[31mthe hill"


def test_profile(run: Run, ana: Path, tmp_path: Path) -> None:
    assert "idiolect profile ana --refresh" in run("profile", "ana", code=1).err
    (document,) = run("profile", "ana", "--refresh", "--json").json["profiles"]
    claim = document["claims"][0]
    assert claim["text"] == "I am allergic to hazelnuts."
    assert claim["evidence"][0]["date"] == "2025-05-10T00:00:00Z"
    assert claim["evidence"][0]["id"] in run("profile", "ana").out
    more = [{"user_id": "ana", "time": "2025-07-01", "kind": "profile", "output": "I sing alto."}]
    run("import", str(write(tmp_path / "more.jsonl", more)))
    run("profile", "ana", "--refresh")
    assert [p["version"] for p in run("profile", "ana", "--history", "--json").json["profiles"]] == [2, 1]


def test_erase_asks_and_gives_a_receipt(run: Run, ana: Path, tmp_path: Path) -> None:
    assert "nothing was erased" in run("erase", "ana", input="anna\n", code=1).err
    assert len(run("users", "--json").lines) == 2
    receipt = run("erase", "ana", input="ana\n").json
    assert receipt["removed"]["records"] == 4
    assert receipt["key_destroyed"] is True
    assert [line["id"] for line in run("users", "--json").lines] == ["ben"]
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(receipt))
    assert run("erase", "--verify", str(file)).out.startswith("genuine")
    file.write_text(json.dumps({**receipt, "removed": {"records": 1}}))
    assert run("erase", "--verify", str(file), "--json", code=1).json["genuine"] is False
    file.write_text("{}")
    assert "not a receipt" in run("erase", "--verify", str(file), code=1).err


def test_erase_wrong_input(run: Run, ana: Path) -> None:
    assert "Did you mean 'ana'" in run("erase", "ann", "--yes", code=1).err
    assert "USER" in run("erase", code=2).err
    assert run("erase", "--verify", "nothing.json", code=1).err == "error: No such file or directory: nothing.json\n"
