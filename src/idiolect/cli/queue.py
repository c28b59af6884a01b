"""``idiolect queue``: the turns that still wait to be learnt from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from idiolect.cli.options import Json
from idiolect.cli.output import emit, moment, note, progress
from idiolect.cli.root import DATA, command
from idiolect.cli.session import opened_app, opened_store

if TYPE_CHECKING:
    from idiolect.store.finishing import Queue


@command("queue", "idiolect queue", "idiolect queue --retry", panel=DATA)
def queue(
    again: Annotated[bool, typer.Option("--retry", help="Try all of them now, those that were given up too.")] = False,
    json: Json = False,
) -> None:
    """Show how many turns wait to be learnt from, failed and are tried again, or were given up."""
    from idiolect.store.finishing import queue as count

    learnt = _retry() if again else None
    with opened_store() as store:
        found = count(store)
    if json:
        emit({**asdict(found), **({} if learnt is None else {"learnt": learnt})})
        return
    if learnt is not None:
        note(f"Learnt from {learnt} turns.")
    _show(found)


def _retry() -> int:
    from idiolect.store.finishing import queue as count
    from idiolect.store.finishing import retry

    with opened_app() as app:
        retry(app.store, app.clock())
        with progress() as bars:
            bar = bars.add_task("learning", total=count(app.store).new, about="turns")
            return app.learn_waiting(lambda: bars.advance(bar))


def _show(found: Queue) -> None:
    typer.echo(f"{found.new} wait")
    again = "" if found.next_try is None else f", the next is tried again at {moment(found.next_try)}"
    typer.echo(f"{found.failed} failed{again}")
    typer.echo(f"{found.given_up} given up{'; try them with: idiolect queue --retry' if found.given_up else ''}")
