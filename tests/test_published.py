"""What is published of the bench is what the result files say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from idiolect import registry

ROOT = Path(__file__).resolve().parents[1]
FIRST = sorted((ROOT / "benchmarks" / "results" / "bench").glob("*.json"))
INPUT = sorted((ROOT / "benchmarks" / "results" / "input").glob("*.json"))


def test_the_page_and_the_picture_are_current():
    spec = importlib.util.spec_from_file_location("publish", ROOT / "benchmarks" / "publish.py")
    publish = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(publish)
    for name, text in publish.published().items():
        assert (ROOT / name).read_text("utf-8") == text, "run: python benchmarks/publish.py"


@pytest.mark.parametrize("path", [*FIRST, *INPUT], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_result_says_what_made_it(path):
    document = json.loads(path.read_text("utf-8"))
    for key in ("task_version", "command", "seed", "model", "backend", "data", "packages", "machine", "people"):
        assert document[key] not in ("", None, {}), key
    names = {row["method"] for row in document["results"]}
    expected = {"bm25", "dense", "profile"} if path in FIRST else set()
    assert {"none", "random", "recent", "retrieval"} | expected <= names
    assert any(row["kind"] == "predictor" for row in document["results"])
    assert len(document["person_ids"]) == document["people"]


def test_every_method_has_its_line_in_the_paper_index():
    text = (ROOT / "docs" / "paper_index.md").read_text("utf-8")
    own = [entry.name for entry in registry.methods if entry.make.__module__.startswith("idiolect.")]
    assert [name for name in own if f"| `{name}` |" not in text] == []
