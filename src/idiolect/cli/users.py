"""``idiolect users``: who is in the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from idiolect.cli.options import Json
from idiolect.cli.output import console, emit, note, safe, table
from idiolect.cli.root import CONTROL, command
from idiolect.cli.session import opened_store

if TYPE_CHECKING:
    from idiolect.store.store import Store, UserInfo


@command("users", "idiolect users --json", panel=CONTROL)
def users(json: Json = False) -> None:
    """List the users, oldest first (JSON Lines with --json)."""
    with opened_store() as store:
        if json:
            for info in all_users(store):
                emit(asdict(info), line=True)
            return
        rows = table("user", "records", "learnt", "groups", right=("records", "learnt"))
        for info in all_users(store):
            rows.add_row(safe(info.id), f"{info.records:,}", f"{info.artifacts:,}", safe(", ".join(info.groups)))
    if rows.row_count:
        console().print(rows)
    else:
        note("No users yet. Bring in data: idiolect import PATH --user NAME")


def all_users(store: Store) -> Iterator[UserInfo]:
    """Yield every user, read page by page."""
    after = ""
    while page := store.users(after):
        yield from page
        after = page[-1].id
