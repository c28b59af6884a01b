"""``idiolect memories``: what is kept of what a user said, and their control over it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from idiolect.cli.options import AsOf, Json, UserId
from idiolect.cli.output import console, day, emit, moment, note, safe, table
from idiolect.cli.root import CONTROL, epilog, group
from idiolect.cli.session import ask, need_user, opened_app, opened_store
from idiolect.errors import InputError, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idiolect.control import Kept, Written
    from idiolect.store.store import Store
    from idiolect.types import Record, Wishes

Text = Annotated[str, typer.Argument(help="The statement, in the user's own words.")]
RecordId = Annotated[
    str, typer.Argument(metavar="ID", help="The memory's id, or as many of its last digits as tell it.")
]
All = Annotated[bool, typer.Option("--all", help="Also what no longer holds.")]
Phrase = Annotated[str, typer.Argument(metavar="TEXT", help="A topic, or words that must all be there, in any form.")]
MaybePhrase = Annotated[
    str | None, typer.Argument(metavar="[TEXT]", help="A topic or words; without, what there is is listed.")
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
    "What is kept of what a user said: read, add, correct, pin, close, mute, forget.",
    panel=CONTROL,
    cls=ListByDefault,
    no_args_is_help=True,
    epilog=epilog("idiolect memories ana", 'idiolect memories ana add "I am allergic to walnuts."'),
)


@memories.callback()
def root(context: typer.Context, user: UserId) -> None:
    """Name the user, then what to do; without more, the memories are listed."""
    context.obj = user


# -- reading -----------------------------------------------------------------------------------------------------------


@memories.command("list", epilog=epilog("idiolect memories ana list --all", "idiolect memories ana --as-of 2025-05-08"))
def list_(context: typer.Context, everything: All = False, as_of: AsOf = None, json: Json = False) -> None:
    """List the memories that hold, oldest first, with tier and use (JSON Lines with --json)."""
    from idiolect.control import memories as read

    user: str = context.obj
    with opened_store() as store:
        need_user(store, user)
        found = read(store, user, time.time(), as_of=as_of, everything=everything)
    _show(found, time.time() if as_of is None else as_of, json)


@memories.command("search", epilog=epilog("idiolect memories ana search food"))
def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    everything: All = False,
    json: Json = False,
) -> None:
    """Find memories that hold, the best first (JSON Lines with --json)."""
    from idiolect.control import search as find

    user: str = context.obj
    with opened_store(embed=True) as store:
        need_user(store, user)
        found = find(store, user, query, k, time.time(), everything=everything)
    _show(found, time.time(), json)


@memories.command("show", epilog=epilog("idiolect memories ana show 3f9a02c1"))
def show(context: typer.Context, record_id: RecordId, json: Json = False) -> None:
    """Show one memory with the exchanges it came from, what it replaced and what replaced it."""
    from idiolect.cli.search import record_document
    from idiolect.control import story

    with opened_store() as store:
        kept = _find(store, context.obj, record_id)
        told = story(store, context.obj, kept)
    if json:
        emit({
            **_document(kept, time.time()), "sources": [record_document(record) for record in told.sources],
            "replaces": [_document(one, time.time()) for one in told.replaces],
            "replaced_by": [_document(one, time.time()) for one in told.replaced_by],
        })  # fmt: skip
        return
    _show([kept], time.time(), json=False)
    for record in told.sources:
        typer.echo(f"said {day(record.time)}: {safe(_exchange(record))}")
    for name, chain in (("replaces", told.replaces), ("replaced by", told.replaced_by)):
        for one in chain:
            typer.echo(f"{name} {one.record.id[-8:]}, {day(one.record.time)}: {safe(one.record.text)}")


# -- changing ----------------------------------------------------------------------------------------------------------


@memories.command("add", epilog=epilog('idiolect memories ana add "I am allergic to walnuts."'))
def add(context: typer.Context, text: Text, json: Json = False) -> None:
    """Add a memory as if it had been said: it closes what it contradicts, and what is known is not added twice."""
    from idiolect.control import add as keep

    with opened_app() as app:
        written = keep(app.store, context.obj, text, app.context())
    _tell("kept", written.kept, json, written)


@memories.command("correct", epilog=epilog('idiolect memories ana correct 3f9a02c1 "I am allergic to hazelnuts."'))
def correct(context: typer.Context, record_id: RecordId, text: Text, json: Json = False) -> None:
    """Put a memory right: a new one closes it; what was learnt from the old one is dropped."""
    from idiolect.control import correct as put_right

    with opened_app() as app:
        old = _find(app.store, context.obj, record_id)
        written = put_right(app.store, context.obj, old.record.id, text, app.context())
    _tell("kept", written.kept, json, written)


@memories.command("close", epilog=epilog("idiolect memories ana close 3f9a02c1"))
def close(context: typer.Context, record_id: RecordId, json: Json = False) -> None:
    """Say that a memory is no longer true; it stays to be read, and what was learnt from it is dropped."""
    from idiolect.control import close as end

    with opened_store(deletes=True) as store:
        kept, _ = end(store, context.obj, _find(store, context.obj, record_id).record.id, time.time())
    _tell("closed", kept, json)


@memories.command("reopen", epilog=epilog("idiolect memories ana reopen 3f9a02c1"))
def reopen(context: typer.Context, record_id: RecordId, json: Json = False) -> None:
    """Say that a memory which was closed is true after all."""
    from idiolect.control import reopen as again

    with opened_store() as store:
        kept = again(store, context.obj, _find(store, context.obj, record_id).record.id)
    _tell("reopened", kept, json)


@memories.command("pin", epilog=epilog("idiolect memories ana pin 3f9a02c1"))
def pin(context: typer.Context, record_id: RecordId, json: Json = False) -> None:
    """Keep a memory always in mind, whatever is asked."""
    _pin(context.obj, record_id, True, json)


@memories.command("unpin", epilog=epilog("idiolect memories ana unpin 3f9a02c1"))
def unpin(context: typer.Context, record_id: RecordId, json: Json = False) -> None:
    """Let a memory come up only where it matters."""
    _pin(context.obj, record_id, False, json)


@memories.command("forget", epilog=epilog("idiolect memories ana forget 3f9a02c1"))
def forget(
    context: typer.Context,
    record_id: RecordId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete a memory for good, with the exchanges it was said in and everything derived from it."""
    from idiolect.store.forget import forget as remove

    user: str = context.obj
    with opened_store(deletes=True) as store:
        kept = _find(store, user, record_id)
        if not yes and _at_terminal():
            answer = ask(f"Forget for good, with the exchanges it was said in: {safe(kept.record.text)} [y/N] ")
            if answer.strip().lower() not in ("y", "yes"):
                raise InputError("nothing was forgotten")
        gone = remove(store, user, kept.record.id)
    if json:
        emit({"forgotten": _document(kept, time.time()), **gone.as_json()})
        return
    typer.echo(f"forgotten {kept.record.id[-8:]}: {safe(kept.record.text)}")
    typer.echo(
        f"gone: {len(gone.records)} records, {len(gone.artifacts)} learnt artifacts, {gone.traces} traces, "
        f"{gone.turns} waiting turns"
    )


# -- wishes ------------------------------------------------------------------------------------------------------------


@memories.command("mute", epilog=epilog("idiolect memories ana mute health", "idiolect memories ana mute"))
def mute(context: typer.Context, text: MaybePhrase = None, json: Json = False) -> None:
    """Never bring up a topic or words, whichever method finds them; nothing is deleted. Without TEXT, list them."""
    _wish(context.obj, "muted", json, mute=_one(text))


@memories.command("unmute", epilog=epilog("idiolect memories ana unmute health"))
def unmute(context: typer.Context, text: Phrase, json: Json = False) -> None:
    """Let a muted topic or words come up again."""
    _wish(context.obj, "muted", json, unmute=[text])


@memories.command("never", epilog=epilog('idiolect memories ana never "my sister"', "idiolect memories ana never"))
def never(
    context: typer.Context,
    text: MaybePhrase = None,
    remove: Annotated[bool, typer.Option("--remove", help="Lift the rule instead.")] = False,
    json: Json = False,
) -> None:
    """Never keep what speaks of these words, from now on. Without TEXT, list the rules."""
    if remove and text is None:
        raise typer.BadParameter("which rule is to be lifted?", param_hint="TEXT")
    _wish(context.obj, "never", json, **{"allow" if remove else "never": _one(text)})


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def _one(text: str | None) -> list[str]:
    return [] if text is None else [text]


def _wish(user: str, shown: str, json: bool, **changes: Sequence[str]) -> None:
    from idiolect.control import wish

    with opened_store() as store:
        need_user(store, user)
        wishes: Wishes = wish(store, user, **changes)
    if json:
        emit({"user": user, "muted": list(wishes.muted), "never": list(wishes.never)})
        return
    phrases = wishes.muted if shown == "muted" else wishes.never
    note({"muted": "Not brought up:", "never": "Never kept:"}[shown] if phrases else "Nothing.")
    for phrase in phrases:
        typer.echo(safe(phrase))


def _pin(user: str, record_id: str, pinned: bool, json: bool) -> None:
    from idiolect.control import pin as put

    with opened_store() as store:
        kept = put(store, user, _find(store, user, record_id).record.id, pinned)
    _tell("pinned" if pinned else "unpinned", kept, json)


# -- showing -----------------------------------------------------------------------------------------------------------


def _find(store: Store, user: str, ending: str) -> Kept:
    from idiolect.control import memories as read

    need_user(store, user)
    known = read(store, user, time.time(), everything=True) if ending else []
    found = [kept for kept in known if kept.record.id.endswith(ending)]
    if not found:
        raise NotFound(f"user {user!r} has no memory {ending!r}; see: idiolect memories {user} --all")
    if len(found) > 1:
        raise InputError(f"{len(found)} memories of {user!r} end in {ending!r}; give more digits")
    return found[0]


def _document(kept: Kept, now: float) -> dict[str, Any]:
    record = kept.record
    head = {"id": record.id, "time": record.time, "date": moment(record.time), "text": record.text}
    return {**head, "source": record.source, **kept.about(now), "meta": record.meta}


def _show(found: Sequence[Kept], now: float, json: bool) -> None:
    if json:
        for kept in found:
            emit(_document(kept, now), line=True)
        return
    if not found:
        note("No memories.")
        return
    over = any(kept.about(now)["closed"] is not None for kept in found)
    rows = table("id", "said", "memory", "by", "topic", "tier", "uses", *(["until", "closed by"] if over else []))
    for kept in found:
        record, about = kept.record, kept.about(now)
        tier = f"{about['tier']}, pinned" if about["pinned"] else about["tier"]
        row = [about["said_by"] or record.source, about["topic"] or "-", tier, str(about["uses"])]
        end = [] if about["closed"] is None else [day(about["closed"]), (about["closed_by"] or "")[-8:]]
        rows.add_row(record.id[-8:], day(record.time), safe(record.text), *map(safe, row), *end)
    console().print(rows)


def _exchange(record: Record) -> str:
    answer = record.meta.get("answer")
    return " ".join((f"{record.output} -> {answer}" if answer else record.output).split())


def _tell(done: str, kept: Kept, json: bool, written: Written | None = None) -> None:
    if json:
        more = {} if written is None else {
            "new": written.new, "closed": list(written.closed), "artifacts": list(written.artifacts),
        }  # fmt: skip
        emit({done: _document(kept, time.time()), **more})
        return
    typer.echo(
        f"{done if written is None or written.new else 'known already'} {kept.record.id[-8:]}: {safe(kept.record.text)}"
    )
    if written is not None and written.closed:
        typer.echo(f"no longer holds: {', '.join(rid[-8:] for rid in written.closed)}")
