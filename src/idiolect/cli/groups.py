"""``idiolect groups``: the groups a user belongs to."""

from __future__ import annotations

from typing import Annotated

import typer

from idiolect.cli.options import Json, UserId
from idiolect.cli.output import emit, note, safe
from idiolect.cli.root import CONTROL, command
from idiolect.cli.session import need_user, opened_store


@command("groups", "idiolect groups ana --set nurses --set staff", panel=CONTROL)
def groups(
    user: UserId,
    wanted: Annotated[
        list[str] | None, typer.Option("--set", metavar="GROUP", help="A group, the narrowest first; may be repeated.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take the user out of all groups.")] = False,
    json: Json = False,
) -> None:
    """Show or set the groups a user belongs to, the narrowest first.

    Methods that learn for groups (group_lora, group_message) serve whoever has nothing of their own with what their
    group has. Only what people share is learnt from; which groups there are is the operator's to say.
    """
    if wanted and clear:
        raise typer.BadParameter("give --set or --clear, not both")
    with opened_store() as store:
        need_user(store, user)
        if wanted or clear:
            store.set_groups(user, wanted or [])
        found = list(store.facts(user).get("groups", []))
    if json:
        emit({"user": user, "groups": found})
        return
    note(f"{safe(user)}: {safe(', '.join(found)) if found else 'in no group'}")
