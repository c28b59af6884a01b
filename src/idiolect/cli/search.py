"""``idiolect search``: a user's records for a query, with the parts of each score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from idiolect.cli.options import Json, Now, UserId
from idiolect.cli.output import console, day, emit, moment, note, safe
from idiolect.cli.root import CONTROL, command
from idiolect.cli.session import need_user, opened_store
from idiolect.errors import InputError

if TYPE_CHECKING:
    from idiolect.store.store import Store
    from idiolect.types import Hit, Record

Mode = Literal["hybrid", "lexical", "dense"]


@command("search", 'idiolect search ana "birthday dinner" -k 5 -C 1', panel=CONTROL)
def search(
    user: UserId,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    now: Now = None,
    mode: Annotated[Mode, typer.Option(help="By words and meaning, by words, or by meaning.")] = "hybrid",
    context: Annotated[int, typer.Option("-C", min=0, help="Also show so many turns before and after each.")] = 0,
    json: Json = False,
) -> None:
    """Find a user's records, the best first, with the parts of each score."""
    with opened_store(embed=mode != "lexical") as store:
        need_user(store, user)
        hits = _search(store, user, query, k, now, mode)
        around = [_around(store, user, hit, now, context) for hit in hits]
    if json:
        emit({"user": user, "query": query, "mode": mode, "hits": list(map(_document, hits, around))})
        return
    if not hits:
        note("Nothing found.")
    for number, (hit, near) in enumerate(zip(hits, around, strict=True), 1):
        _show(number, hit, near)


def _search(store: Store, user: str, query: str, k: int, now: float | None, mode: Mode) -> list[Hit]:
    from idiolect.store.search import DENSE, LEXICAL
    from idiolect.store.view import view

    if mode == "dense" and store.embedder is None:
        raise InputError("the embedder is 'none', so there is no search by meaning. Set embedder, then: idiolect embed")
    ranker = {"hybrid": None, "lexical": LEXICAL, "dense": DENSE}[mode]
    return view(store, user, now).search(query, k, ranker=ranker)


def _around(store: Store, user: str, hit: Hit, now: float | None, count: int) -> list[Record]:
    from idiolect.store.view import view

    return view(store, user, now).neighbours(hit.record.id, count, count) if count else []


def _document(hit: Hit, near: list[Record]) -> dict[str, Any]:
    return {
        **record_document(hit.record),
        "score": round(hit.score, 4),
        "parts": hit.parts,
        "neighbours": [record_document(record) for record in near if record.id != hit.record.id],
    }


def record_document(record: Record) -> dict[str, Any]:
    """Return a record as JSON shows it."""
    names = ("id", "kind", "time", "input", "output", "source", "meta")
    return {**{name: getattr(record, name) for name in names}, "date": moment(record.time)}


def _show(number: int, hit: Hit, near: list[Record]) -> None:
    from rich.text import Text

    out = console()
    parts = "  ".join(f"{name} {value:.2f}" for name, value in hit.parts.items())
    out.print(
        Text(f"{number:>2}. {hit.score:.2f}", "bold"), Text(f" {day(hit.record.time)}  {hit.record.kind}", "cyan")
    )
    for record in near or [hit.record]:
        out.print(Text("    " + one_line(record), "" if record.id == hit.record.id else "dim"))
    out.print(Text(f"    {parts}  id {hit.record.id}", "dim"))


def one_line(record: Record) -> str:
    """Return a record as one line of text."""
    speaker = record.meta.get("speaker")
    said = f"{speaker}: {record.output}" if speaker else record.output
    return safe(" ".join((f"{record.input} -> {said}" if record.input else said).split()))
