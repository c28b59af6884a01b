"""The command line, one file a command group. Results go to stdout, progress and notes to stderr."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typer import Typer

# In the order of the help. A command may not be named like its module where Python forbids it (import).
GROUPS = (
    "demo", "ask", "chat", "feedback", "ranking", "serve",
    "importing", "embedding", "exporting", "erasing", "queue",
    "proof", "bench",
    "users", "groups", "consent", "search", "profile", "memories", "adapters", "explain",
    "methods", "models", "config",
)  # fmt: skip


def main() -> None:
    """Run ``idiolect``."""
    load()(prog_name="idiolect")


def load() -> Typer:
    """Return the application with all its commands; nothing heavier than typer is imported."""
    for group in (*GROUPS, "moving"):  # it adds to ``adapters``
        import_module(f"idiolect.cli.{group}")
    from idiolect.cli.root import app

    app.registered_commands.sort(key=lambda info: GROUPS.index(str(info.callback.__module__).split(".")[2]))
    app.registered_groups.sort(key=lambda info: GROUPS.index(str(info.name)))
    return app
