"""The bench on the command line, over small invented files in the formats of the public data."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Run, process, write
from serve.stub import Stub

NAMES = (
    "lamp-1 lamp-2n lamp-2m lamp-3 lamp-4 lamp-5 lamp-7 locomo realtalk ukpconvarg opinionqa p-soups studemo popquorn "
    "popquorn-email md-agreement prefeval movielens tallrec u-safebench bbq panza"
).split()
CATEGORIES = ("sports", "politics", "travel")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """LaMP-2N authors, each of whom writes under one category, and LaMP-1 questions."""
    folder = tmp_path / "data" / "lamp"
    folder.mkdir(parents=True)
    authors = [
        {
            "author": f"a{n}",
            "history": [{"text": f"story {n} {i} of the {CATEGORIES[n % 3]} desk", "category": CATEGORIES[n % 3]}
                        for i in range(6)],
            "queries": [{"id": f"{n}{i}", "input": f"new story {n} {i}", "output": CATEGORIES[n % 3]}
                        for i in range(2)],
        }
        for n in range(9)
    ]  # fmt: skip
    write(folder / "lamp2news_authors.jsonl", authors)
    question = (
        'For an author who has written the paper with the title "On {0}", which reference is related? Just answer with '
        '[1] or [2] without explanation. [1]: "All about {0}" [2]: "Nothing of it"'
    )
    papers = [
        {"id": str(n), "input": question.format(f"thing{n}"), "output": "[1]",
         "profile": [{"title": f"More on thing{n} {i}", "abstract": f"We study thing{n}.", "id": str(i)}
                     for i in range(4)]}
        for n in range(6)
    ]  # fmt: skip
    write(folder / "lamp1_users.jsonl", papers)
    return tmp_path / "data"


def test_all_tasks_are_there(run: Run) -> None:
    found = {task["name"]: task for task in run("bench", "tasks", "--json").json}
    assert set(NAMES) <= set(found)
    for task in found.values():
        assert task["metrics"]
        assert task["predictors"]
        assert task["published"].startswith("https://")
        assert task["paper"]
        assert task["licence"]
    assert "lamp-2n" in run("bench", "tasks").out


def test_run_writes_a_result_and_its_lines(run: Run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    done = run("bench", "run", "lamp-2n", "--method", "retrieval,profile", "--data", str(data), "--out", str(out))
    assert "9 people, 18 queries, a pilot" in done.out
    document = json.loads(out.read_text())
    assert document["task"] == "lamp-2n"
    names = [row["method"] for row in document["results"]]
    assert names[:6] == ["none", "other", "random", "recent", "retrieval", "profile"]
    for row in document["results"]:
        assert row["users"] == 9
        assert row["queries"] == 18
        assert {"mean", "low", "high"} <= set(row["metrics"]["accuracy"])
        assert {"parse_failures", "tokens", "seconds"} <= set(row)
    lines = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
    assert len(lines) == 6 * 18
    assert document["command"].startswith("idiolect bench run lamp-2n --data DIR --method retrieval,profile --seed 0")
    assert document["data"]["files"][0]["name"] == "lamp2news_authors.jsonl"
    assert str(data) not in out.read_text()


def test_several_tasks_go_into_one_file_and_the_printed_json_is_the_same(run: Run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.json"
    args = ("lamp-1", "lamp-2n", "--method", "retrieval", "--data", str(data), "--limit", "4", "--out", str(out))
    printed = run("bench", "run", *args, "--json").json
    assert [document["task"] for document in printed["runs"]] == ["lamp-1", "lamp-2n"]
    assert printed == json.loads(out.read_text())
    assert [document["queries"] for document in printed["runs"]] == [4, 4]


def test_all_takes_what_is_there(run: Run, data: Path) -> None:
    done = run("bench", "run", "all", "--method", "none", "--data", str(data), "--limit", "2", "--json")
    assert [document["task"] for document in done.json["runs"]] == ["lamp-1", "lamp-1-title", "lamp-2n"]
    assert "left out locomo: no file at" in done.err
    assert "snap-research/locomo" in done.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("lamp-9",), "Did you mean"),
        (("lamp-4",), "no file at"),
        (("lamp-1:depth=3",), "depth"),
        (("lamp-1", "--method", "retreival"), "Did you mean 'retrieval'"),
        (("lamp-1", "--set", "strength"), "KEY=VALUE"),
        (("lamp-1", "--set", "stength=2"), "strength"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(run: Run, data: Path, args: tuple[str, ...], says: str) -> None:
    assert says in run("bench", "run", *args, "--data", str(data), code=1).err


def test_a_missing_data_folder(run: Run) -> None:
    assert "--data DIR" in run("bench", "run", "lamp-1", code=1).err


def test_report_and_compare(run: Run, data: Path, tmp_path: Path) -> None:
    first, second, page = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "out" / "report.html"
    common = ("bench", "run", "lamp-2n", "--data", str(data), "--out")
    run(*common, str(first), "--method", "retrieval", "--cold-start")
    run(*common, str(second), "--method", "retrieval:k=1", "--set", "strength=0.5")
    run("bench", "report", str(first), str(second), "--out", str(page), "--markdown", str(tmp_path / "report.md"),
        "--svg", str(tmp_path / "report.svg"))  # fmt: skip
    assert (tmp_path / "report.svg").read_text().startswith("<svg")
    text = page.read_text()
    assert "<svg" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "lamp-2n" in (tmp_path / "report.md").read_text()
    found = run("bench", "compare", str(first), str(second), "--json").json[0]
    assert found["people"] == 9
    assert {row["method"] for row in found["results"]} >= {"none", "other"}
    assert "lamp-2n" in run("bench", "compare", str(first), str(second)).out
    (tmp_path / "c.json").write_text("{}")
    assert "holds no results" in run("bench", "compare", str(first), str(tmp_path / "c.json"), code=1).err


def test_own_users(run: Run, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"user_id": user, "time": f"2025-05-{n + 1:02}", "output": f"{word} note number {n}"}
        for user, word in (("ana", "saffron"), ("ben", "engine"))
        for n in range(12)
    ]
    run("import", str(write(tmp_path / "notes.jsonl", rows)))
    out = tmp_path / "own.json"
    done = run("bench", "own", "--method", "retrieval", "--hold-out", "3", "--out", str(out))
    assert "2 people, 6 queries" in done.out
    text = out.read_text() + out.with_suffix(".jsonl").read_text()
    assert not any(word in text for word in ("saffron", "engine", '"ana"', '"ben"'))
    assert "--least" in run("bench", "own", "--least", "99", code=1).err


def test_any_endpoint_can_be_measured(run: Run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "result.json"
    with Stub() as stub:
        options = ("--set", f"base_url={stub.address}", "--set", "model=stub-1", "--set", "api_key=secret-1")
        run("bench", "run", "lamp-1", "--method", "none", "--data", str(data), "--limit", "3", "--backend", "openai",
            *options, "--out", str(out))  # fmt: skip
        asked = [seen.json["messages"][0]["content"] for seen in stub.seen if "messages" in seen.json]
    document = json.loads(out.read_text())
    assert document["scored_by"] == "text"
    assert "secret-1" not in out.read_text()
    none = document["results"][0]
    assert none["parse_failures"] == none["queries"] == 3
    assert none["metrics"]["accuracy"]["mean"] == none["metrics"]["macro_f1"]["mean"] == 0.0
    assert none["tokens"] == {"in": 9, "out": 9}
    assert asked[0].startswith("For an author who has written the paper")


@pytest.mark.models
def test_the_embedded_model(
    run: Run, data: Path, tmp_path: Path, models_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDIOLECT_BACKEND", "llamacpp")
    monkeypatch.setenv("IDIOLECT_EMBEDDER", "minilm")
    args = ("bench", "run", "lamp-2n", "--method", "retrieval,dense", "--data", str(data), "--limit", "3")
    caches = [("--cache", str(tmp_path / f"{n}.db"), "--tokens", "60", "--json") for n in range(2)]
    first, second = (run(*args, *cache).json for cache in caches)
    assert first["model"].startswith("smollm2-135m-instruct@")
    assert first["embedder"].startswith("minilm@")
    assert first["scored_by"] == "likelihood"
    scores = [[row["metrics"]["gold_probability"]["mean"] for row in made["results"][:6]] for made in (first, second)]
    assert scores[0] == scores[1]  # another cache, the same numbers
    assert len(set(scores[0])) > 3


@pytest.mark.process
def test_a_killed_run_goes_on(run: Run, data: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "result.json", tmp_path / "whole.json"
    args = ("bench", "run", "lamp-2n", "--method", "retrieval,profile", "--data", str(data), "--out")
    started = process(*args, str(out), "--cache", str(tmp_path / "cache.db"))
    cache = tmp_path / "cache.db-wal"
    end = time.monotonic() + 60
    while time.monotonic() < end and started.poll() is None and not (cache.exists() and cache.stat().st_size > 20000):
        time.sleep(0.002)
    os.kill(started.pid, signal.SIGKILL)
    started.communicate()
    assert not out.exists()
    run(*args, str(out), "--cache", str(tmp_path / "cache.db"))
    run(*args, str(whole), "--cache", str(tmp_path / "other.db"))
    resumed, plain = (json.loads(path.read_text()) for path in (out, whole))
    for left, right in zip(resumed["results"], plain["results"], strict=True):
        assert left["metrics"] == right["metrics"]
        assert left["by_person"] == right["by_person"]
