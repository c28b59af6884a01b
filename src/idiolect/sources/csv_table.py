"""Tables: CSV, TSV and their relatives, with a mapping from columns to the fields of a record."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from idiolect.errors import ConfigError, SourceError, UnknownName
from idiolect.registry import source
from idiolect.sources.base import (
    MAX_RECORD,
    Meter,
    Progress,
    Sized,
    Skipped,
    lines,
    make,
    need_user,
    path_size,
    seconds,
    sniff,
)
from idiolect.types import KINDS, Kind, Record

_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_DELIMITERS = ",;\t|"
_USUAL = {
    "user": ("user", "user_id"),
    "time": ("time", "timestamp", "created_at", "date"),
    "input": ("input",),
    "output": ("output", "text"),
    "kind": ("kind",),
    "session": ("session", "session_id"),
}


@source("csv", files="a table with a header line (.csv, .tsv), its columns mapped by settings", fallback=True)
@dataclass(frozen=True, slots=True)
class CsvTable(Sized):
    """One record for each row of a table.

    ``user``, ``time``, ``input``, ``output``, ``kind`` and ``session`` name columns; an empty one is looked for under
    its usual names (``user_id``, ``timestamp``, ``text`` ...). ``default_kind`` is for tables without a kind column.
    An empty ``delimiter`` is guessed among comma, semicolon, tab and bar.
    """

    user: str = ""
    time: str = ""
    input: str = ""
    output: str = ""
    kind: str = ""
    session: str = ""
    default_kind: Kind = "content"
    delimiter: str = ""

    def detect(self, path: Path) -> bool:
        """Return whether the name ends as a table's does."""
        return path.is_file() and path.name.lower().endswith(_SUFFIXES)

    def read(self, path: Path, user: str | None = None, progress: Progress | None = None) -> Iterator[Record | Skipped]:
        """Yield one record a row; ``line`` of a :class:`Skipped` is where its row begins.

        Raises :class:`UnknownName` for a column that does not exist, :class:`ConfigError` where none holds the text.
        """
        csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD))
        text = _Lines(path, Meter(progress, path_size(path)))
        reader = csv.reader(text, delimiter=self.delimiter or _delimiter(path))
        try:
            header = next(reader, None)
        except csv.Error as error:
            raise SourceError(f"{path} does not begin with a header line: {error}") from error
        if header is None or text.bad is not None:
            raise SourceError(f"{path} has no header line in UTF-8. Save the table as UTF-8 with column names on top.")
        places = self._places(path, [name.strip() for name in header])
        if "user" not in places:
            need_user(user, path.name)
        order = 0
        while True:
            text.begin_row()
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Skipped(path.name, text.first, str(error))
                continue
            if row:
                yield self._record(path.name, text, row, len(header), places, user, order)
                order += 1

    def _places(self, path: Path, header: list[str]) -> dict[str, int]:
        """Return the column number of each field that the table has."""
        places = {}
        for field, usual in _USUAL.items():
            wanted = getattr(self, field)
            if wanted and wanted not in header:
                raise UnknownName(f"column of {path.name} for {field!r}", wanted, header)
            name = wanted or next((name for name in usual if name in header), "")
            if name:
                places[field] = header.index(name)
        if "output" not in places:
            raise ConfigError(
                f"{path.name}: say which column holds the user's own text, output=...; columns: {', '.join(header)}"
            )
        return places

    def _record(
        self, file: str, text: _Lines, row: list[str], width: int, places: dict[str, int], user: str | None, order: int
    ) -> Record | Skipped:
        line = text.first
        if text.bad is not None:
            return Skipped(file, line, f"not UTF-8 at byte offset {text.bad}")
        if len(row) != width:
            return Skipped(file, line, f"{len(row)} cells where the header has {width}")
        cell = {field: row[place] for field, place in places.items()}
        owner, kind = user or cell.get("user", ""), cell.get("kind") or self.default_kind
        time = seconds(cell["time"]) if "time" in cell else float(order)
        if not owner:
            return Skipped(file, line, "no user id in the row")
        if time is None:
            return Skipped(file, line, f"time {cell['time']!r:.60} is neither ISO 8601 nor a number")
        if kind not in KINDS:
            return Skipped(file, line, f"unknown kind {kind!r:.60}; one of {', '.join(KINDS)}")
        if not cell["output"]:
            return Skipped(file, line, "the output cell is empty")
        meta = {"session": cell["session"]} if cell.get("session") else {}
        return make(
            file, line, owner, cell["output"], time, kind=kind, input=cell.get("input", ""), source="csv", meta=meta
        )


class _Lines:
    """The lines of a file as text, remembering where the present row began and its first byte that is not UTF-8."""

    def __init__(self, path: Path, meter: Meter) -> None:
        self._lines = lines(path, meter)
        self._number = 0
        self.first, self.bad = 1, None

    def begin_row(self) -> None:
        """Say that the next line is the first of a row."""
        self.first, self.bad = self._number + 1, None

    first: int
    bad: int | None

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        self._number, offset, raw = next(self._lines)
        if raw is None:
            raise csv.Error(f"a line is longer than {MAX_RECORD >> 20} MB")
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self.bad = offset + error.start if self.bad is None else self.bad
            return raw.decode("utf-8", "replace")


def _delimiter(path: Path) -> str:
    """Return the delimiter that the header line has most of."""
    header = sniff(path, 65536).split(b"\n", 1)[0].decode("utf-8", "replace")
    return max(_DELIMITERS, key=header.count)
