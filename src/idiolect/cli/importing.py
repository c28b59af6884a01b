"""``idiolect import``: data in, counted, resumable."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from idiolect.cli.embedding import embed_users
from idiolect.cli.options import Json
from idiolect.cli.output import emit, note, progress, safe
from idiolect.cli.root import DATA, command
from idiolect.cli.session import opened_store
from idiolect.cli.tally import Tally, document, report
from idiolect.errors import SourceError

if TYPE_CHECKING:
    from idiolect.sources import Skipped
    from idiolect.store.store import Store
    from idiolect.types import Record

_BATCH = 2000


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
    if json:
        emit(document(tally, path, dry_run))
    else:
        report(tally, dry_run)


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
    tally.count(batch, None if store is None else store.add(batch, embed=False))


def _restore(path: Path, user: str | None, dry_run: bool, no_embed: bool, json: bool) -> None:
    """Bring an export of ours back."""
    from idiolect.store.export import restore

    if dry_run:
        manifest = _manifest(path)
        counts = {
            name.removesuffix(".jsonl"): entry["lines"] for name, entry in manifest["files"].items() if "lines" in entry
        }
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
            "known": found.records.known, "artifacts": found.artifacts, "traces": found.traces, "states": found.states,
            "embedded": embedded,
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


def _line(item: Skipped) -> bytes:
    import orjson

    return orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE)
