"""A home of its own for every test, and the command line in this process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from idiolect.cli import load

SRC = Path(__file__).parents[2] / "src"
MODELS = os.environ.get("IDIOLECT_MODELS", "")
REQUIRED = os.environ.get("IDIOLECT_REQUIRE_MODELS")


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    for name in list(os.environ):
        if name.startswith("IDIOLECT_"):
            monkeypatch.delenv(name)
    # Set, not only deleted: --home and --config write to the environment, and monkeypatch takes that back.
    monkeypatch.setenv("IDIOLECT_CONFIG", "unset")
    monkeypatch.delenv("IDIOLECT_CONFIG")
    monkeypatch.setenv("IDIOLECT_HOME", str(folder))
    monkeypatch.setenv("IDIOLECT_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("IDIOLECT_EMBEDDER", "none")
    monkeypatch.setenv("IDIOLECT_BACKEND", "toy")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def models_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test see the machine's own models; skip it where they are not."""
    from idiolect import models

    monkeypatch.delenv("IDIOLECT_MODELS")
    if MODELS:
        monkeypatch.setenv("IDIOLECT_MODELS", MODELS)
    here = all(models.find(name) for name in ("smollm2-135m-instruct", "minilm"))
    if not here and not REQUIRED:
        pytest.skip("the models are not here: idiolect models pull smollm2-135m-instruct; idiolect models pull minilm")


@pytest.fixture
def run() -> Run:
    def run(*args: str, input: str | None = None, code: int = 0) -> Done:
        result = CliRunner().invoke(load(), list(args), input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        done = Done(result.exit_code, result.stdout, result.stderr)
        assert done.code == code, done
        assert "Traceback" not in done.err
        return done

    return run


@pytest.fixture
def ana(run: Run, tmp_path: Path) -> Path:
    """Import two people; return the file."""
    file = write(tmp_path / "notes.jsonl", RECORDS)
    run("import", str(file))
    return file


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def process(*args: str, code: str = "from idiolect.cli import main; main()") -> subprocess.Popen[str]:
    """Start the command line as a process of its own, which Ctrl-C reaches even where tests run in the background."""
    env, pipe = {**os.environ, "PYTHONPATH": str(SRC)}, subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code, *args], text=True, env=env, stdout=pipe, stderr=pipe, preexec_fn=_heed_interrupts
    )


def _heed_interrupts() -> None:
    """Undo what a shell does to commands that it starts in the background: they ignore SIGINT, and so would a child."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


RECORDS: list[dict[str, Any]] = [
    {"user_id": "ana", "time": "2025-05-08", "output": "Baked a walnut cake for Ines", "meta": {"session": "s1"}},
    {"user_id": "ana", "time": "2025-05-09", "output": "The cake [was] too sweet", "meta": {"session": "s1"}},
    {"user_id": "ana", "time": "2025-05-10", "kind": "profile", "output": "I am allergic to hazelnuts."},
    {"user_id": "ana", "time": "2025-06-10", "output": "Rowed across the lake"},
    {"user_id": "ben", "time": "2025-05-09", "output": "Climbed \u001b[31mthe hill"},
]
