"""``idiolect embed``: vectors for the records that have none yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from idiolect.cli.options import Json
from idiolect.cli.output import emit, progress, safe, size
from idiolect.cli.root import DATA, command
from idiolect.cli.session import need_user, opened_store

if TYPE_CHECKING:
    from idiolect.store.store import Store


@command("embed", "idiolect embed ana", panel=DATA)
def embed(
    users: Annotated[
        list[str] | None, typer.Argument(metavar="[USER]...", help="Whose; everybody's if left out.")
    ] = None,
    json: Json = False,
) -> None:
    """Embed the records that have no vector yet: after --no-embed, an interruption or a change of embedder."""
    with opened_store(embed=True) as store:
        for user in users or ():
            need_user(store, user)
        done = embed_users(store, users or [info.id for info in store.everybody()])
        disk = store.rows.size()
    if json:
        emit({"embedded": done, "bytes": disk})
    else:
        typer.echo(f"{done:,} records embedded; the store has {size(disk)}")


def embed_users(store: Store, users: Iterable[str]) -> int:
    """Embed what has no vector yet, under a progress bar; return how many records."""
    if store.embedder is None:
        return 0
    names, done = list(users), 0
    with progress() as bars:
        bar = bars.add_task("embedding", total=None, about="")
        for number, user in enumerate(names, 1):
            about = f"{safe(user)} ({number} of {len(names)})" if len(names) > 1 else safe(user)

            def at(completed: int, total: int, about: str = about) -> None:
                bars.update(bar, completed=completed, total=total, about=about)

            done += store.embed(user, at)
    return done
