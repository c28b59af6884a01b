"""``idiolect memories``: what a user has said about themselves, to read, add, correct and delete."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from idiolect.cli.options import Json, UserId
from idiolect.cli.output import console, day, emit, moment, note, safe, table
from idiolect.cli.root import CONTROL, epilog, group
from idiolect.cli.session import need_user, opened_store
from idiolect.errors import InputError, NotFound

if TYPE_CHECKING:
    from idiolect.store.store import Store
    from idiolect.types import Record

Text = Annotated[str, typer.Argument(help="The statement, in the user's own words.")]
RecordId = Annotated[
    str, typer.Argument(metavar="ID", help="The memory's id, or as many of its last digits as tell it.")
]


class ListByDefault(TyperGroup):
    """``idiolect memories ana`` means ``idiolect memories ana list``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command where none is named."""
        if args and not args[0].startswith("-") and (len(args) == 1 or args[1].startswith("-")):
            args = [args[0], "list", *args[1:]]
        return super().parse_args(ctx, args)


memories = group(
    "memories",
    "What a user has said about themselves: read, add, correct, delete.",
    panel=CONTROL,
    cls=ListByDefault,
    no_args_is_help=True,
    epilog=epilog("idiolect memories ana", 'idiolect memories ana add "I am allergic to walnuts."'),
)


def memories_of(store: Store, user: str) -> list[Record]:
    """Return a user's memories, oldest first."""
    found = [record for record in store.all_records(user) if record.kind == "profile"]
    return sorted(found, key=lambda record: (record.time, record.id))


@memories.callback()
def root(context: typer.Context, user: UserId) -> None:
    """Name the user, then what to do; without more, the memories are listed."""
    context.obj = user


@memories.command("list", epilog=epilog("idiolect memories ana list --json"))
def list_(context: typer.Context, json: Json = False) -> None:
    """List the memories, oldest first (JSON Lines with --json)."""
    user: str = context.obj
    with opened_store() as store:
        need_user(store, user)
        _show(memories_of(store, user), json)


@memories.command("add", epilog=epilog('idiolect memories ana add "I am allergic to walnuts."'))
def add(context: typer.Context, text: Text, json: Json = False) -> None:
    """Add a memory; one that is there already is not added twice."""
    with opened_store(embed=True) as store:
        record = _put(store, context.obj, text)
    _tell("kept", record, json)


@memories.command("edit", epilog=epilog('idiolect memories ana edit 3f9a02c1 "I am allergic to hazelnuts."'))
def edit(context: typer.Context, record_id: RecordId, text: Text, json: Json = False) -> None:
    """Replace a memory's text; what was learnt from the old one is dropped with it."""
    user: str = context.obj
    with opened_store(embed=True) as store:
        old = _find(store, user, record_id)
        new = _put(store, user, text)
        if new.id != old.id:
            store.delete(user, [old.id])
    _tell("kept", new, json)


@memories.command("delete", epilog=epilog("idiolect memories ana delete 3f9a02c1"))
def delete(context: typer.Context, record_id: RecordId, json: Json = False) -> None:
    """Delete a memory and what was learnt from it."""
    user: str = context.obj
    with opened_store() as store:
        old = _find(store, user, record_id)
        store.delete(user, [old.id])
    _tell("deleted", old, json)


@memories.command("search", epilog=epilog("idiolect memories ana search food"))
def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    json: Json = False,
) -> None:
    """Find memories, the best first (JSON Lines with --json)."""
    from idiolect.store.view import StoredUser

    user: str = context.obj
    with opened_store(embed=True) as store:
        need_user(store, user)
        _show([hit.record for hit in StoredUser(store, user).search(query, k, kinds=("profile",))], json)


def _put(store: Store, user: str, text: str) -> Record:
    from idiolect.memory.sameness import key
    from idiolect.types import Record

    text = " ".join(text.split())
    if not text:
        raise InputError("a memory needs some text")
    wanted = key(text)
    for record in memories_of(store, user):
        if key(record.output) == wanted and record.output == text:
            return record
    record = Record.new(
        user, text, time=time.time(), kind="profile", source="memory", key=f"{wanted} {text}", meta={"said_by": "user"}
    )
    store.add([record])
    return record


def _find(store: Store, user: str, ending: str) -> Record:
    need_user(store, user)
    found = [record for record in memories_of(store, user) if record.id.endswith(ending)] if ending else []
    if not found:
        raise NotFound(f"user {user!r} has no memory {ending!r}; see: idiolect memories {user}")
    if len(found) > 1:
        raise InputError(f"{len(found)} memories of {user!r} end in {ending!r}; give more digits")
    return found[0]


def _document(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "time": record.time,
        "date": moment(record.time),
        "text": record.text,
        "source": record.source,
        "meta": record.meta,
    }


def _show(found: list[Record], json: bool) -> None:
    if json:
        for record in found:
            emit(_document(record), line=True)
        return
    if not found:
        note("No memories.")
        return
    rows = table("id", "since", "memory", "source")
    for record in found:
        rows.add_row(record.id[-8:], day(record.time), safe(record.text), safe(record.source))
    console().print(rows)


def _tell(done: str, record: Record, json: bool) -> None:
    if json:
        emit({done: _document(record)})
    else:
        typer.echo(f"{done} {record.id[-8:]}: {safe(record.text)}")
