"""People's control over what is kept about them, at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Run, write


def lines(run: Run, *args: str) -> list[dict]:
    return run("memories", "ana", *args, "--json").lines


def texts(run: Run, *args: str) -> list[str]:
    return [line["text"] for line in lines(run, *args)]


def test_a_memory_is_added_once_corrected_found_and_forgotten(run: Run, ana: Path) -> None:
    added = run("memories", "ana", "add", "I  sing alto.", "--json").json
    assert (added["kept"]["text"], added["new"], added["closed"]) == ("I sing alto.", True, [])
    again = run("memories", "ana", "add", "I sing alto.", "--json").json
    assert (again["kept"]["id"], again["new"]) == (added["kept"]["id"], False)
    assert "known already" in run("memories", "ana", "add", "I sing alto.").out
    right = run("memories", "ana", "correct", added["kept"]["id"][-8:], "I sing tenor.", "--json").json
    assert right["closed"] == [added["kept"]["id"]]
    assert right["kept"]["said_by"] == "corrected"
    assert texts(run) == ["I am allergic to hazelnuts.", "I sing tenor."]
    assert texts(run, "search", "sing", "-k", "1") == ["I sing tenor."]
    assert texts(run, "list", "--all") == ["I am allergic to hazelnuts.", "I sing alto.", "I sing tenor."]
    gone = run("memories", "ana", "forget", right["kept"]["id"], "--json").json
    assert gone["records"] == [right["kept"]["id"]]
    assert texts(run) == ["I am allergic to hazelnuts."]  # what was put right does not come back


def test_what_is_added_closes_what_it_contradicts(run: Run, ana: Path) -> None:
    old = run("memories", "ana", "add", "I live in Porto.", "--json").json["kept"]
    new = run("memories", "ana", "add", "I live in Lisbon.", "--json").json
    assert new["closed"] == [old["id"]]
    assert new["kept"]["said_by"] == "user"
    assert "I live in Porto." not in texts(run)
    closed = next(line for line in lines(run, "list", "--all") if line["text"] == "I live in Porto.")
    assert (closed["holds"], closed["closed_by"]) == (False, new["kept"]["id"])
    run("memories", "ana", "forget", new["kept"]["id"])
    assert "I live in Porto." in texts(run)  # the closing is undone


def test_a_memory_is_shown_with_its_source_and_its_chain(run: Run, ana: Path) -> None:
    run("ask", "ana", "I live in Porto.")
    first = next(line for line in lines(run) if "Porto" in line["text"])
    second = run("memories", "ana", "add", "I live in Lisbon.", "--json").json["kept"]
    third = run("memories", "ana", "correct", second["id"], "I live in Lisboa.", "--json").json["kept"]
    shown = run("memories", "ana", "show", first["id"][-8:], "--json").json
    assert [source["output"] for source in shown["sources"]] == ["I live in Porto."]
    assert [one["id"] for one in shown["replaced_by"]] == [second["id"], third["id"]]
    shown = run("memories", "ana", "show", third["id"], "--json").json
    assert [one["id"] for one in shown["replaces"]] == [second["id"], first["id"]]
    said = run("memories", "ana", "show", first["id"]).out
    assert "said " in said
    assert "replaced by" in said


def test_as_of_shows_what_held_then(run: Run, ana: Path) -> None:
    assert texts(run, "list", "--as-of", "2025-05-09") == []
    (memory,) = lines(run, "--as-of", "2025-06-01")
    run("memories", "ana", "close", memory["id"])
    assert texts(run) == []
    assert texts(run, "list", "--as-of", "2025-06-01") == ["I am allergic to hazelnuts."]
    assert "No memories" in run("memories", "ana").err
    run("memories", "ana", "reopen", memory["id"])
    assert texts(run) == ["I am allergic to hazelnuts."]


def test_what_no_longer_holds_shapes_no_answer(run: Run, ana: Path) -> None:
    (memory,) = lines(run)
    ask = ("ask", "ana", "which hazelnuts?", "--methods", "memory", "--no-remember", "--json")
    assert [used["id"] for used in run(*ask).json["used"]] == [memory["id"]]
    assert lines(run)[0]["uses"] == 0  # nothing is learnt of an answer that is not remembered
    run("memories", "ana", "close", memory["id"])
    assert run(*ask).json["used"] == []


def test_a_pinned_memory_is_always_in_mind(run: Run, ana: Path) -> None:
    (memory,) = lines(run)

    def slots() -> list[str]:  # without an embedder whatever is found is brought up, but not as always in mind
        asked = run("ask", "ana", "two and two?", "--methods", "memory", "--no-remember", "--json").json
        return [used["slot"] for used in asked["used"] if used["id"] == memory["id"]]

    assert slots() == ["memory"]
    assert run("memories", "ana", "pin", memory["id"][-8:], "--json").json["pinned"]["tier"] == "long"
    assert slots() == ["standing"]
    assert "pinned" in run("memories", "ana").out
    run("memories", "ana", "unpin", memory["id"])
    assert slots() == ["memory"]


def test_correcting_keeps_the_pin_and_drops_what_was_learnt(run: Run, ana: Path) -> None:
    run("profile", "ana", "--refresh")
    (memory,) = lines(run)
    run("memories", "ana", "pin", memory["id"])
    done = run("memories", "ana", "correct", memory["id"], "I am allergic to walnuts.", "--json").json
    assert done["kept"]["pinned"] is True
    assert len(done["artifacts"]) == 1
    assert "no profile" in run("profile", "ana", code=1).err
    refused = run("memories", "ana", "correct", memory["id"], "I am allergic to all nuts.", code=1).err
    assert "no longer holds" in refused


def test_correcting_to_what_is_known_closes_the_wrong_one(run: Run, ana: Path) -> None:
    run("memories", "ana", "add", "I sing alto.")
    wrong = run("memories", "ana", "add", "My sister paints boats.", "--json").json["kept"]
    done = run("memories", "ana", "correct", wrong["id"], "I sing alto.", "--json").json
    assert (done["new"], done["closed"]) == (False, [wrong["id"]])
    assert texts(run) == ["I am allergic to hazelnuts.", "I sing alto."]


def test_forgetting_asks_at_a_terminal_alone(run: Run, ana: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("ask", "ana", "I love rye bread.")
    memory = next(line for line in lines(run) if "rye" in line["text"])

    def at_terminal(answer: str):
        monkeypatch.setattr("idiolect.cli.memories.ask", lambda prompt: answer)
        monkeypatch.setattr("idiolect.cli.memories._at_terminal", lambda: True)

    at_terminal("n")
    assert "nothing was forgotten" in run("memories", "ana", "forget", memory["id"], code=1).err
    at_terminal("y")
    done = run("memories", "ana", "forget", memory["id"]).out
    assert "gone: 2 records" in done
    assert "1 traces" in done
    assert "rye" not in run("search", "ana", "bread", "--json").out
    (left,) = lines(run)
    at_terminal("never asked")
    run("memories", "ana", "forget", left["id"], "--yes")


def test_muted_topics_and_words_come_up_with_no_method(run: Run, ana: Path) -> None:
    ask = ("ask", "ana", "walnut cake and hazelnuts?", "--methods", "memory,retrieval", "--no-remember", "--json")
    assert len(run(*ask).json["used"]) > 1
    assert run("memories", "ana", "mute", "cakes", "--json").json["muted"] == ["cakes"]
    assert not any("cake" in used["text"] for used in run(*ask).json["used"])
    run("memories", "ana", "mute", "hazelnut")
    assert "hazelnut" in run("memories", "ana", "mute").out
    assert not any("hazelnut" in used["text"] for used in run(*ask).json["used"])
    assert "is not muted" in run("memories", "ana", "unmute", "lakes", code=1).err
    run("memories", "ana", "unmute", "Cakes")
    assert any("cake" in used["text"] for used in run(*ask).json["used"])
    assert "names nothing" in run("memories", "ana", "mute", "the", code=1).err


def test_what_is_never_to_be_kept_is_not_kept(run: Run, ana: Path) -> None:
    assert "Nothing" in run("memories", "ana", "never").err
    assert run("memories", "ana", "never", "sister", "--json").json["never"] == ["sister"]
    run("ask", "ana", "My sisters live in Bergen.")
    assert "Bergen" not in run("search", "ana", "sisters", "--json").out
    assert "never to be kept" in run("memories", "ana", "add", "My sister Nora sings.", code=1).err
    run("memories", "ana", "never", "sister", "--remove")
    run("memories", "ana", "add", "My sister Nora sings.")
    assert "lifted" in run("memories", "ana", "never", "--remove", code=2).err


def test_wrong_input(run: Run, ana: Path) -> None:
    assert "Did you mean 'ana'" in run("memories", "anna", code=1).err
    assert "has no memory 'zz'" in run("memories", "ana", "forget", "zz", code=1).err
    assert "needs some text" in run("memories", "ana", "add", "  ", code=1).err
    assert "password" in run("memories", "ana", "add", "My password is hunter2", code=1).err
    assert "Did you mean 'ana'" in run("memories", "ann", "close", "zz", code=1).err
    (memory,) = lines(run)
    assert "same as before" in run("memories", "ana", "correct", memory["id"], memory["text"], code=1).err
    assert "not a date" in run("memories", "ana", "--as-of", "then", code=2).err


def test_adding_needs_no_model(run: Run, ana: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDIOLECT_BACKEND", "llamacpp")
    run("memories", "ana", "add", "I sing alto.")
    assert "I sing alto." in texts(run)


def test_an_export_brings_the_whole_memory_back(run: Run, ana: Path, tmp_path: Path) -> None:
    run("memories", "ana", "add", "I live in Porto.")
    run("memories", "ana", "add", "I live in Lisbon.")
    run("memories", "ana", "pin", lines(run)[0]["id"])
    run("memories", "ana", "mute", "cake")
    before = lines(run, "list", "--all")
    run("export", "ana", "-o", "ana.zip")
    run("erase", "ana", "--yes")
    assert json.loads(run("import", "ana.zip", "--json").out)["states"] == 2
    assert lines(run, "list", "--all") == before
    assert run("memories", "ana", "mute", "--json").json["muted"] == ["cake"]
    assert run("import", str(write(tmp_path / "more.jsonl", [{"user_id": "ana", "output": "x"}]))).code == 0
