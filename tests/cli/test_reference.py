from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from idiolect import registry
from idiolect.cli import load
from idiolect.cli.reference import documents

DOCS = Path(__file__).parents[2] / "docs"


def commands(command: Any = None, path: str = "idiolect") -> Iterator[tuple[str, Any]]:
    command = command or typer.main.get_command(load())
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{path} {name}")


@pytest.mark.parametrize("name", ["cli.md", "methods.md", "tasks.md"])
def test_docs_are_current(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == documents()[name], "run: make docs"


def test_every_registered_method_has_its_row() -> None:
    text = (DOCS / "methods.md").read_text("utf-8")
    for entry in registry.methods:
        assert f"`{entry.name}`" in text
        assert all(f"`{field.name}`" in text for field in dataclasses.fields(entry.make))


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_has_help_and_an_example(path: str, command: Any) -> None:
    assert command.help
    assert f"Example: {path}" in command.epilog or path in ("idiolect",) or path.startswith("idiolect memories")
    assert "Example: idiolect" in command.epilog
    for parameter in command.params:
        assert parameter.help, f"{path}: {parameter.name}"


def test_every_promised_command_is_there() -> None:
    names = set(typer.main.get_command(load()).commands)  # type: ignore[attr-defined]
    promised = (
        "demo chat ask serve import export erase users search profile memories explain methods models config bench"
    )
    assert set(promised.split()) <= names


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_prints_results_offers_json(path: str, command: Any) -> None:
    names = {name for parameter in command.params for name in parameter.opts}
    silent = (
        "idiolect",
        "idiolect serve",
        "idiolect models",
        "idiolect config",
        "idiolect memories",
        "idiolect adapters",
        "idiolect bench",
        "idiolect bench report",
    )
    assert "--json" in names or path in silent
