"""What an import did: counted while it runs, told when it ends."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from idiolect.cli.output import console, note, safe, table

if TYPE_CHECKING:
    from idiolect.sources import Skipped
    from idiolect.store.store import Added
    from idiolect.types import Record

SHOWN = 20
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

    def count(self, batch: list[Record], done: Added | None) -> None:
        """Count records that were read, and what the store made of them."""
        if done is not None:
            self.added += done.added
            self.known += done.known
        self.read += len(batch)
        self.kinds.update(record.kind for record in batch)
        for record in batch:
            self.users[record.user_id] = self.users.get(record.user_id, 0) + 1

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


def report(tally: Tally, dry_run: bool) -> None:
    """Tell a person what was done, and what was skipped and why."""
    speed = tally.read / max(tally.seconds, 1e-9)
    head = f"{tally.added:,} added, {tally.known:,} known already"
    if dry_run:
        head = f"{tally.read:,} records read, nothing written (dry run)"
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


def document(tally: Tally, path: Path, dry_run: bool) -> dict[str, Any]:
    """Return the same as JSON."""
    return {
        "path": str(path), "dry_run": dry_run, "read": tally.read, "added": tally.added, "known": tally.known,
        "embedded": tally.embedded, "users": tally.users, "kinds": dict(tally.kinds),
        "skipped": {"count": tally.skipped, "reasons": dict(tally.reasons), "items": tally.kept},
        "notes": tally.notes, "seconds": round(tally.seconds, 3),
    }  # fmt: skip
