from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Run
from idiolect.backends.toy import ToyBackend


def test_ask_json(run: Run, ana: Path) -> None:
    done = run("ask", "ana", "which cake?", "--methods", "retrieval", "--temperature", "0", "--json").json
    assert done["user"] == "ana"
    assert {used["method"] for used in done["used"]} == {"retrieval"}
    assert "walnut cake" in str(done["messages"])
    assert run("explain", done["trace"], "--json").json["answer"] == done["answer"]


def test_a_method_is_asked_for_with_its_settings(run: Run, ana: Path) -> None:
    asked = ("ask", "ana", "which cake?", "--no-remember", "--json", "--methods")
    assert len(run(*asked, "retrieval").json["used"]) > 1
    assert len(run(*asked, "retrieval:k=1").json["used"]) == 1
    assert "k" in run("ask", "ana", "which cake?", "--methods", "retrieval:k=few", code=1).err


def test_ask_reads_stdin_and_shows_why(run: Run, ana: Path) -> None:
    done = run("ask", "ana", "-", "--show", input="which cake?")
    assert "Baked a walnut cake for Ines" in done.out
    assert "what shaped it" in done.out


def test_ask_without_personalization(run: Run, ana: Path) -> None:
    done = run("ask", "ana", "which cake?", "--methods", "none", "--json").json
    assert done["used"] == []
    assert len(done["messages"]) == 1


def test_now_hides_the_future(run: Run, ana: Path) -> None:
    done = run("ask", "ana", "what did I row across?", "--now", "2025-05-09T12:00:00Z", "--no-remember", "--json").json
    assert "lake" not in str(done["used"])
    assert "cake" in str(done["used"])


def test_ask_learns_unless_told_otherwise(run: Run, ana: Path) -> None:
    run("ask", "ana", "I love rye bread.", "--no-remember")
    assert "rye" not in run("memories", "ana", "--json").out
    run("ask", "ana", "I love rye bread.")
    assert "rye" in run("memories", "ana", "--json").out


def test_ask_wrong_input(run: Run, ana: Path) -> None:
    assert "Did you mean 'retrieval'" in run("ask", "ana", "q", "--methods", "retrievl", code=1).err
    assert "Did you mean 'toy'" in run("ask", "ana", "q", "--backend", "toi", code=1).err
    assert "not a date" in run("ask", "ana", "q", "--now", "yesterday", code=2).err
    assert "integer" in run("ask", "ana", "q", "--tokens", "many", code=2).err
    assert "empty" in run("ask", "ana", " ", code=2).err
    assert "is new here" in run("ask", "nobody", "q").err


def test_explain_last_with_influence(run: Run, ana: Path) -> None:
    run("ask", "ana", "which cake?", "--methods", "retrieval")
    trace = run("explain", "--last", "ana", "--influence", "--json").json
    nats = [entry["nats"] for entry in trace["influence"]]
    assert len(nats) == len(trace["used"]) > 1
    assert nats == sorted(nats, reverse=True)
    shown = run("explain", "--last", "ana", "--influence").out
    assert f"{nats[0]:+.2f}" in shown
    assert "The cake [was] too sweet" in " ".join(shown.split())


def test_explain_wrong_input(run: Run, ana: Path) -> None:
    assert "no trace" in run("explain", "0" * 32, code=1).err
    assert "no trace" in run("explain", "not hex", code=1).err
    assert "no answer yet" in run("explain", "--last", "ana", code=1).err
    assert "Did you mean 'ana'" in run("explain", "--last", "ann", code=1).err
    assert "--last USER" in run("explain", code=2).err


def test_chat(run: Run, ana: Path) -> None:
    typed = "which cake?\n/why\n/memories\n/forget 9\n/forget 1\n/memories\n/dance\n\n/quit\nnever read\n"
    done = run("chat", "ana", input=typed)
    assert "walnut cake" in done.err
    assert "I am allergic to hazelnuts." in done.err
    assert "a number from 1 to 1" in done.err
    assert "Forgotten: I am allergic" in done.err
    assert "No memories yet." in done.err
    assert "no command /dance" in done.err
    assert len(done.out.splitlines()) == 1
    assert "hazelnuts" not in run("memories", "ana", "--json").out


def test_chat_remembers_the_conversation(run: Run, ana: Path) -> None:
    lines = run("chat", "ana", "--json", input="I love rye bread.\nand cake?\n").lines
    assert [line["text"] for line in lines] == ["I love rye bread.", "and cake?"]
    assert lines[0]["answer"] in str(run("explain", lines[1]["trace"], "--json").json["messages"])
    assert "rye" in run("memories", "ana", "--json").out


def test_chat_goes_on_after_an_interrupted_answer(run: Run, ana: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, calls = ToyBackend.stream, 0

    def stream(self: ToyBackend, call: object) -> object:
        nonlocal calls
        calls += 1
        pieces = iter(plain(self, call))  # type: ignore[arg-type]
        yield next(pieces)
        if calls == 1:
            raise KeyboardInterrupt
        yield from pieces

    monkeypatch.setattr(ToyBackend, "stream", stream)
    first, second = run("chat", "ana", "--json", input="one?\ntwo?\n").lines
    assert len(first["answer"]) == 1
    assert len(second["answer"]) > 1


def test_serve_passes_settings_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import idiolect.serve

    seen = []
    monkeypatch.setattr(idiolect.serve, "serve", lambda settings, **_: seen.append(settings), raising=False)
    run("serve", "--port", "0", "--host", "::1")
    assert (seen[0].serve.host, seen[0].serve.port) == ("::1", 0)
    assert "65535" in run("serve", "--port", "99999", code=2).err


def test_passphrase_is_asked_for(run: Run, ana: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDIOLECT_HOME", "sealed")
    monkeypatch.setenv("IDIOLECT_PATHS_MASTER_KEY", "prompt")
    assert run("users", "--json", input="open sesame\n").out == ""
    assert "no passphrase" in run("users", input="", code=1).err
    assert "does not open" in run("users", input="open says me\n", code=1).err
