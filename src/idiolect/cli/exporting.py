"""``idiolect export``: everything about one person as a zip of readable files."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Annotated

import typer

from idiolect.cli.options import Json, UserId
from idiolect.cli.output import emit, size
from idiolect.cli.root import DATA, command
from idiolect.cli.session import need_user, opened_store
from idiolect.errors import InputError


@command("export", "idiolect export ana -o ana.zip", panel=DATA)
def export(
    user: UserId,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Default: USER.zip here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    json: Json = False,
) -> None:
    """Write a user's whole data as a zip of readable files that imports again to the same state."""
    from idiolect.store.export import export as write

    target = output or Path(_file_name(user))
    if target.exists() and not force:
        raise InputError(f"{target} is there already; give another name with -o, or --force")
    part = target.with_name(target.name + ".part")
    with opened_store() as store:
        need_user(store, user)
        try:
            manifest = write(store, user, part, now=time.time())
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    if json:
        emit({"path": str(target), **manifest})
    else:
        files = manifest["files"].items()
        counts = [f"{entry['lines']:,} {name.split('.')[0]}" for name, entry in files if "lines" in entry]
        weights = sum(entry.get("bytes", 0) for _, entry in files)
        typer.echo(f"{target}: {', '.join([*counts, *([f'{size(weights)} of weights'] if weights else [])])}")


def _file_name(user: str) -> str:
    plain = re.sub(r"[^\w.@-]", "_", user).lstrip(".")
    return f"{plain[:100] or 'user'}.zip"
