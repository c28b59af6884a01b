"""``idiolect import`` and ``idiolect embed``: data in, counted, resumable."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from idiolect.cli.options import Json
from idiolect.cli.output import console, emit, note, progress, safe, size, table
from idiolect.cli.root import DATA, command
from idiolect.cli.session import need_user, opened_store
from idiolect.cli.users import all_users
from idiolect.errors import SourceError

if TYPE_CHECKING:
    from idiolect.sources import Skipped
    from idiolect.store.store import Store
    from idiolect.types import Record

SHOWN = 20
_BATCH = 2000
_DETAIL = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
"""What differs between two failures of the same kind."""


@dataclass
class Tally:
    """What an import did so far."""

    added: int = 0
    known: int = 0
    read: int = 0
    users: dict[str, int] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    kept: list[Skipped] = field(default_factory=list)
    notes: list[Skipped] = field(default_factory=list)
    embedded: int = 0
    seconds: float = 0.0

    def skip(self, item: Skipped, keep_all: bool) -> None:
        """Count what became no record."""
        if item.is_note:
            if keep_all or len(self.notes) < SHOWN:
                self.notes.append(item)
            return
        self.skipped += 1
        self.reasons[_DETAIL.sub("...", item.reason)] += 1
        if keep_all or len(self.kept) < SHOWN:
            self.kept.append(item)


@command(
    "import",
    "idiolect import conversations.json --user ana",
    "idiolect import table.csv --set output=review --set time=date --set user=customer",
    "idiolect import ana.zip  # an export of ours, back to the same state",
    panel=DATA,
)
def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file or folder; its format is found out.")],
    user: Annotated[str | None, typer.Option(metavar="USER", help="Whose data it is, where it does not say.")] = None,
    format: Annotated[str, typer.Option(metavar="NAME", help="The format, where it cannot be found out.")] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the format, several times.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count, write nothing.")] = False,
    no_embed: Annotated[bool, typer.Option("--no-embed", help="Leave the embedding for later.")] = False,
    skipped: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all that was skipped there, as JSON Lines.")
    ] = None,
    json: Json = False,
) -> None:
    """Bring data in: chats, mail, notes, tables, other memory stores, or our own export.

    Interrupted, it goes on when run again; what is there already is counted as known and changes nothing.
    """
    settings = _settings(set_ or [])
    if not path.exists():
        raise SourceError(f"there is no file or folder {path}")
    if not format and _is_export(path):
        _restore(path, user, dry_run, no_embed, json)
        return
    tally, start = Tally(), time.perf_counter()
    with ExitStack() as stack:
        log = stack.enter_context(skipped.open("wb")) if skipped is not None else None
        store = None if dry_run else stack.enter_context(opened_store(embed=not no_embed))
        try:
            read_into(store, path, user, format, settings, tally, log, keep_all=json)
            if store is not None and not no_embed:
                tally.embedded = embed_users(store, tally.users)
        except BaseException:
            if tally.read and not dry_run:
                note(f"Stopped after {tally.added:,} added, {tally.known:,} known. Run the same again to go on.")
            raise
    tally.seconds = time.perf_counter() - start
    _report(tally, path, dry_run, json)


def _settings(pairs: list[str]) -> dict[str, Any]:
    out = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{pair!r} is not of the form KEY=VALUE", param_hint="--set")
        out[key] = value
    return out


def _is_export(path: Path) -> bool:
    from idiolect.store.export import is_export

    return path.is_file() and is_export(path)


def read_into(
    store: Store | None,
    path: Path,
    user: str | None,
    format: str,
    settings: dict[str, Any],
    tally: Tally,
    log: IO[bytes] | None = None,
    *,
    keep_all: bool = False,
) -> None:
    """Read a source into the store in durable batches, under a progress bar of bytes and records a second.

    Without a store everything is read and counted, and nothing written. What was skipped also goes to ``log``.
    """
    from idiolect.sources import read
    from idiolect.types import Record

    start = time.perf_counter()
    with progress(bytes_=True) as bars:
        bar = bars.add_task(path.name, total=None, about="")

        def at(done: int, total: int) -> None:
            speed = tally.read / max(time.perf_counter() - start, 1e-9)
            bars.update(bar, completed=done, total=total, about=f"{tally.read:,} records, {speed:,.0f}/s")

        batch: list[Record] = []
        for item in read(path, user, format=format, settings=settings, progress=at):
            if isinstance(item, Record):
                batch.append(item)
                if len(batch) == _BATCH:
                    _flush(store, batch, tally)
                    batch = []
            else:
                tally.skip(item, keep_all)
                if log is not None:
                    log.write(_line(item))
        _flush(store, batch, tally)


def _flush(store: Store | None, batch: list[Record], tally: Tally) -> None:
    if store is not None:
        done = store.add(batch, embed=False)
        tally.added += done.added
        tally.known += done.known
    tally.read += len(batch)
    tally.kinds.update(record.kind for record in batch)
    for record in batch:
        tally.users[record.user_id] = tally.users.get(record.user_id, 0) + 1


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


def _restore(path: Path, user: str | None, dry_run: bool, no_embed: bool, json: bool) -> None:
    """Bring an export of ours back."""
    from idiolect.store.export import restore

    if dry_run:
        manifest = _manifest(path)
        counts = {name.removesuffix(".jsonl"): entry["lines"] for name, entry in manifest["files"].items()}
        done = {"format": "idiolect-export", "user": user or manifest["user"], "dry_run": True, **counts}
    else:
        with opened_store(embed=not no_embed) as store:
            with progress() as bars:
                bar = bars.add_task(path.name, total=None, about="records")
                found = restore(
                    store,
                    path,
                    user=user,
                    embed=False,
                    progress=lambda at, all_: bars.update(bar, completed=at, total=all_),
                )
            embedded = 0 if no_embed else embed_users(store, [found.user])
        done = {
            "format": "idiolect-export", "user": found.user, "dry_run": False, "added": found.records.added,
            "known": found.records.known, "artifacts": found.artifacts, "traces": found.traces, "embedded": embedded,
        }  # fmt: skip
    if json:
        emit(done)
    else:
        typer.echo("  ".join(f"{name} {safe(str(value))}" for name, value in done.items()))


def _manifest(path: Path) -> dict[str, Any]:
    import zipfile

    import orjson

    with zipfile.ZipFile(path) as archive:
        return dict(orjson.loads(archive.read("manifest.json")))


def _report(tally: Tally, path: Path, dry_run: bool, json: bool) -> None:
    if json:
        emit(_document(tally, path, dry_run))
        return
    speed = tally.read / max(tally.seconds, 1e-9)
    head = f"{tally.read:,} records read, nothing written (dry run)" if dry_run else (
        f"{tally.added:,} added, {tally.known:,} known already"
    )  # fmt: skip
    embedded = f", {tally.embedded:,} embedded" if tally.embedded else ""
    typer.echo(f"{head}{embedded}, {tally.skipped:,} skipped; {tally.seconds:.1f} s, {speed:,.0f} records a second")
    who = ", ".join(f"{user} ({count:,})" for user, count in list(tally.users.items())[:5])
    if tally.users:
        typer.echo(safe(f"{len(tally.users):,} users: {who}{' ...' if len(tally.users) > 5 else ''}"))
    for item in tally.notes[:SHOWN]:
        note(f"{_place(item)}: {item.reason}")
    if tally.skipped:
        _show_skipped(tally)


def _show_skipped(tally: Tally) -> None:
    rows = table("skipped", "why", right=("skipped",))
    for reason, count in tally.reasons.most_common(SHOWN):
        rows.add_row(f"{count:,}", safe(reason))
    console().print(rows)
    for item in tally.kept[:SHOWN]:
        typer.echo(safe(f"{_place(item)}: {item.reason}"))
    if tally.skipped > SHOWN:
        note(f"... and {tally.skipped - SHOWN:,} more; --skipped FILE writes them all")


def _place(item: Skipped) -> str:
    return item.file if item.line is None else f"{item.file}:{item.line}"


def _line(item: Skipped) -> bytes:
    import orjson

    return orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE)


def _document(tally: Tally, path: Path, dry_run: bool) -> dict[str, Any]:
    return {
        "path": str(path), "dry_run": dry_run, "read": tally.read, "added": tally.added, "known": tally.known,
        "embedded": tally.embedded, "users": tally.users, "kinds": dict(tally.kinds),
        "skipped": {"count": tally.skipped, "reasons": dict(tally.reasons), "items": tally.kept},
        "notes": tally.notes, "seconds": round(tally.seconds, 3),
    }  # fmt: skip


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
        done = embed_users(store, users or [info.id for info in all_users(store)])
        disk = store.rows.size()
    if json:
        emit({"embedded": done, "bytes": disk})
    else:
        typer.echo(f"{done:,} records embedded; the store has {size(disk)}")
