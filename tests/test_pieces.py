"""Long benchmarks are made in pieces: each adds to one result file, and what stands there is kept."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from idiolect import models

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """``benchmarks/training.py`` where every figure is the number of the run it was made in."""
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("training_benchmark", FOLDER / "training.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.made = 0
    peaks = {"seconds": [1.0], "peak_mb": 3.0, "peaks_mb": {"10": 2.0}}
    monkeypatch.setattr(models, "hf_folder", lambda name: tmp_path)
    monkeypatch.setattr(models, "fingerprint", lambda name: f"{name}@1")
    monkeypatch.setattr(module, "untrained", lambda model: b"")
    monkeypatch.setattr(module, "one", lambda kind, given, python: {**peaks, "seconds": [float(module.made)]})
    monkeypatch.setattr(module, "measured", lambda args, kinds: {kind: {"run": module.made} for kind in kinds})

    def run(*words: str) -> Any:
        module.made += 1
        monkeypatch.setattr(sys, "argv", ["training.py", *words, "--out", str(tmp_path / "out.json")])
        module.main()
        return json.loads((tmp_path / "out.json").read_text())

    return run


def table(document: Any) -> dict[int, dict[str, int]]:
    return {one["tokens"]: {kind: made["run"] for kind, made in one["kinds"].items()} for one in document["runs"]}


def test_pieces_add_up_and_what_is_there_is_kept_unless_asked_for_anew(training: Any) -> None:
    first = training("--only", "runs", "--tokens", "64", "--users", "1", "8")
    assert table(first) == {64: {"ours x 1": 1, "ours x 8": 1, "documented": 1, "tuned": 1}}
    assert "trunk" not in first
    training("--only", "runs", "--tokens", "64", "256", "--users", "8", "32")
    training("--only", "many", "--many", "1000")
    whole = training("--only", "trunk", "many", "--many", "1000")
    assert table(whole) == {
        64: {"ours x 1": 1, "ours x 8": 1, "documented": 1, "tuned": 1, "ours x 32": 2},
        256: {"ours x 8": 2, "ours x 32": 2, "documented": 2, "tuned": 2},
    }
    assert whole["trunk"] == {"ours 0 layers": {"run": 4}, "ours 15 layers": {"run": 4}}
    assert (whole["many"]["users"], whole["many"]["seconds_a_user"], whole["many"]["peak_mb"]) == (1000, 3.0, 3)
    anew = training("--only", "runs", "--tokens", "64", "--users", "1", "--anew")
    assert table(anew)[64] == {"ours x 1": 5, "ours x 8": 1, "documented": 5, "tuned": 5, "ours x 32": 2}
    assert table(anew)[256] == table(whole)[256]


@pytest.mark.parametrize("other", [["--rows", "100"], ["--model", "larger"]])
def test_figures_of_other_settings_are_not_put_beside(training: Any, tmp_path: Path, other: list[str]) -> None:
    training("--only", "runs", "--tokens", "64", "--users", "1")
    before = (tmp_path / "out.json").read_bytes()
    with pytest.raises(SystemExit, match="made otherwise"):
        training("--only", "runs", "--tokens", "256", "--users", "1", *other)
    assert (tmp_path / "out.json").read_bytes() == before
