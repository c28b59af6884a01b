"""``idiolect consent``: whether a user's records may serve other people."""

from __future__ import annotations

from typing import Annotated

import typer

from idiolect.cli.options import Json, UserId
from idiolect.cli.output import emit, note
from idiolect.cli.root import CONTROL, command
from idiolect.cli.session import need_user, opened_store


@command("consent", "idiolect consent ana --give", panel=CONTROL)
def consent(
    user: UserId,
    give: Annotated[
        bool | None,
        typer.Option("--give/--withdraw", help="Record consent or its end; without, show it.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Show, give or withdraw consent: may this user's records serve other people?

    Nobody shares unless it is given. Withdrawing deletes what was learnt with this user's records for others.
    """
    from idiolect.store.sharing import share, shares

    with opened_store(deletes=True) as store:
        need_user(store, user)
        gone = 0 if give is None else share(store, user, give)
        on = shares(store, user)
    if json:
        emit({"user": user, "shares": on, "artifacts_deleted": gone})
        return
    note(f"{user}: {'shares records with other people' if on else 'does not share records with other people'}")
    if gone:
        note(f"{gone} learnt artifacts rested on these records and are deleted; fit the methods again")
