"""Arguments and options that several commands share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from idiolect.config import MethodSpec


def _time(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a date like 2025-05-08 or 2025-05-08T14:00:00Z") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


UserId = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
Now = Annotated[
    float | None, typer.Option(parser=_time, metavar="DATE", help="Hide everything from that time on (ISO 8601, UTC).")
]
AsOf = Annotated[
    float | None, typer.Option("--as-of", parser=_time, metavar="DATE", help="What held at that time (ISO 8601, UTC).")
]
Methods = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES", help="Methods as NAME or NAME:setting=value, with commas; 'none' for no personalization."
    ),
]
BackendName = Annotated[str | None, typer.Option("--backend", metavar="NAME", help="Another backend than configured.")]
Remember = Annotated[
    bool | None,
    typer.Option("--remember/--no-remember", help="Whether to learn from what is said.", show_default=False),
]


def specs(methods: str | None) -> list[MethodSpec] | None:
    """Return methods as the pipeline takes them; ``None`` for the default ones."""
    from idiolect import registry

    if methods is None:
        return None
    named = (part.strip() for part in registry.split(methods, ","))
    return [registry.read_spec(part) for part in named if part not in ("", "none")]
