"""``idiolect users``: who is in the store."""

from __future__ import annotations

from dataclasses import asdict

from idiolect.cli.options import Json
from idiolect.cli.output import console, emit, note, safe, table
from idiolect.cli.root import CONTROL, command
from idiolect.cli.session import opened_store


@command("users", "idiolect users --json", panel=CONTROL)
def users(json: Json = False) -> None:
    """List the users, oldest first (JSON Lines with --json)."""
    with opened_store() as store:
        if json:
            for info in store.everybody():
                emit(asdict(info), line=True)
            return
        rows = table("user", "records", "learnt", "groups", right=("records", "learnt"))
        for info in store.everybody():
            rows.add_row(safe(info.id), f"{info.records:,}", f"{info.artifacts:,}", safe(", ".join(info.groups)))
    if rows.row_count:
        console().print(rows)
    else:
        note("No users yet. Bring in data: idiolect import PATH --user NAME")
