"""What a person says of answers, and the turns that wait, at the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Run
from idiolect.memory.memory import Memory


@pytest.fixture
def trace(run: Run, ana: Path) -> str:
    return run("ask", "ana", "which cake?", "--json").json["trace"]


def test_a_rating_with_a_comment_is_kept_with_question_and_answer(run: Run, trace: str) -> None:
    done = run("feedback", trace, "--down", "--comment", "too long", "--json").json["feedback"]
    assert (done["kind"], done["source"], done["input"], done["output"]) == (
        "preference", "feedback", "which cake?", "too long",
    )  # fmt: skip
    assert done["meta"]["feedback"] == {"rating": -1.0, "comment": "too long"}
    assert done["meta"]["answer"] == run("explain", trace, "--json").json["answer"]
    again = run("feedback", trace, "--down", "--comment", "too long", "--json").json["feedback"]
    assert again["id"] == done["id"]
    assert run("feedback", trace, "--up").out.startswith("kept")


def test_an_edit_comes_from_a_file_or_stdin(run: Run, trace: str, tmp_path: Path) -> None:
    (tmp_path / "better.txt").write_text("Walnut cake.\n")
    assert run("feedback", trace, "--edit", "better.txt", "--json").json["feedback"]["output"] == "Walnut cake."
    done = run("feedback", trace, "--edit", "-", "--json", input="Hazelnut cake.\n").json["feedback"]
    assert done["meta"]["feedback"] == {"edit": "Hazelnut cake."}


def test_wrong_input(run: Run, trace: str) -> None:
    assert "needs a rating" in run("feedback", trace, code=1).err
    assert "no trace" in run("feedback", "nonsense", "--up", code=1).err
    assert "nothing.txt" in run("feedback", trace, "--edit", "nothing.txt", code=1).err
    run("memories", "ana", "never", "cake")
    assert "never to be kept" in run("feedback", trace, "--up", code=1).err


def test_secrets_are_taken_out(run: Run, trace: str) -> None:
    done = run("feedback", trace, "--comment", "my password is hunter2, silly", "--json").json["feedback"]
    assert "hunter2" not in str(done)


def test_feedback_in_a_conversation(run: Run, ana: Path) -> None:
    said = "/good\nwhich cake?\n/good\n/bad too long\n/edit\nWalnut cake.\nOf course.\n\n/quit\n"
    done = run("chat", "ana", "--json", input=said)
    given = [line["feedback"] for line in done.lines if "feedback" in line]
    assert given == [{"rating": 1.0}, {"rating": -1.0, "comment": "too long"}, {"edit": "Walnut cake.\nOf course."}]
    assert "there is no answer yet" in done.err


def test_forgetting_in_a_conversation_takes_it_out_of_the_conversation(run: Run, ana: Path) -> None:
    done = run("chat", "ana", "--json", input="I love rye bread.\n/memories\n/forget 2\nand now?\n/quit\n")
    last = run("explain", done.lines[-1]["trace"], "--json").json
    assert "rye" not in str(last)
    assert "rye" not in run("search", "ana", "bread", "--json").out


def test_the_queue_is_shown_and_tried_again(run: Run, ana: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("queue", "--json").json == {"new": 0, "failed": 0, "given_up": 0, "next_try": None}

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(Memory, "observe", fails)
        run("ask", "ana", "I love rye bread.")
        shown = run("queue", "--json").json
        assert (shown["new"], shown["failed"], shown["given_up"]) == (0, 1, 0)
        assert "tried again at" in run("queue").out
        assert run("queue", "--retry", "--json").json["learnt"] == 0
    done = run("queue", "--retry", "--json").json
    assert (done["learnt"], done["failed"]) == (1, 0)
    assert "rye" in run("memories", "ana", "--json").out
    assert "0 wait" in run("queue").out
