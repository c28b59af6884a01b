"""``idiolect feedback``: what a person says of an answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from idiolect.cli.options import Json
from idiolect.cli.output import emit
from idiolect.cli.root import ANSWERS, command
from idiolect.cli.session import opened_app


@command(
    "feedback",
    'idiolect feedback 5d1c... --down --comment "too long"',
    "idiolect feedback 5d1c... --edit better.txt",
    panel=ANSWERS,
)
def feedback(
    trace_id: Annotated[str, typer.Argument(metavar="TRACE", help="The id the answer came with.")],
    up: Annotated[
        bool | None, typer.Option("--up/--down", help="Whether the answer was good.", show_default=False)
    ] = None,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="What was good or bad about it.")] = "",
    edit: Annotated[
        str | None, typer.Option(metavar="FILE", help="The answer as it should have been; '-' reads it from stdin.")
    ] = None,
    json: Json = False,
) -> None:
    """Rate an answer, comment on it, or give the version you would have wanted; later answers learn from it."""
    from idiolect.cli.search import record_document
    from idiolect.memory.feedback import Feedback

    rating = None if up is None else 1.0 if up else -1.0
    said = Feedback(rating, comment.strip(), _text(edit).strip())
    with opened_app() as app:
        record = app.feedback(trace_id, said)
    if json:
        emit({"feedback": record_document(record)})
    else:
        typer.echo(f"kept {record.id[-8:]}")


def _text(edit: str | None) -> str:
    if edit is None:
        return ""
    return sys.stdin.read() if edit == "-" else Path(edit).read_text("utf-8")
