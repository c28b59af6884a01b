"""``idiolect erase``: a person with everything derived from them, gone, with a receipt."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from idiolect.cli.options import Json
from idiolect.cli.output import emit, note, safe
from idiolect.cli.root import DATA, command
from idiolect.cli.session import ask, need_user, opened_store
from idiolect.errors import InputError


@command("erase", "idiolect erase ana > receipt.json", "idiolect erase --verify receipt.json", panel=DATA)
def erase(
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="The user's id.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    verify: Annotated[
        Path | None, typer.Option(metavar="RECEIPT", help="Check a receipt of an earlier erasure instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Remove a person with everything derived from them, and print the receipt (always JSON)."""
    if (user is None) == (verify is None):
        raise typer.BadParameter("give a user to erase, or --verify RECEIPT", param_hint="USER")
    if verify is not None:
        _verify(verify, json)
    else:
        _erase(str(user), yes)
        note("Keep the receipt: idiolect erase --verify FILE checks it. Backups of the keys folder still hold the key.")


def _erase(user: str, yes: bool) -> None:
    from idiolect.store.erase import erase as remove

    with opened_store(deletes=True) as store:
        need_user(store, user)
        if not yes and ask(f"This cannot be undone. Type the user id ({safe(user)}) to erase it: ") != user:
            raise InputError("that is not the user id; nothing was erased")
        emit(remove(store, user, time.time()).as_json())  # before anybody else is waited for


def _verify(path: Path, json: bool) -> None:
    import orjson

    from idiolect.store.erase import verify

    try:
        receipt = orjson.loads(path.read_bytes())
        with opened_store() as store:
            genuine = verify(store, receipt)
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a receipt ({type(error).__name__}: {error})") from error
    if json:
        emit({"genuine": genuine, "receipt": receipt})
    else:
        typer.echo("genuine: made by the holder of this master key, and unchanged" if genuine else "NOT genuine")
    if not genuine:
        raise typer.Exit(1)
