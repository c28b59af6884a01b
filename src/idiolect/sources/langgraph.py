"""LangGraph's long-term memory (what LangMem writes to): its SqliteStore file, or its rows as JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idiolect.errors import SourceError
from idiolect.registry import source
from idiolect.sources.base import (
    MAX_RECORD,
    Meter,
    Progress,
    Sized,
    Skipped,
    columns,
    database,
    has_keys,
    lines,
    make,
    parse_json,
    path_size,
    seconds,
    sniff,
    table_columns,
    to_json,
)
from idiolect.types import Record

_NEEDED = {"prefix", "key", "value"}
_TEXT_KEYS = ("text", "memory", "data", "content")


@source("langgraph", files="LangGraph SqliteStore file, or its store table as JSON Lines")
@dataclass(frozen=True, slots=True)
class LangGraph(Sized):
    """LangGraph and LangMem memories.

    ``user_index`` says which element of the namespace is the user id (0 is the first, -1 the last); by default it is
    the last one that is not "memories".
    """

    user_index: int | None = None

    def detect(self, path: Path) -> bool:
        """Return whether there is a table ``store`` with LangGraph's columns."""
        head = sniff(path, 4096)
        return table_columns(path, "store") >= _NEEDED or (head.startswith(b"{") and has_keys(head, *_NEEDED))

    def read(self, path: Path, user: str | None = None, progress: Progress | None = None) -> Iterator[Record | Skipped]:
        """Yield each stored item as a ``profile`` record, at the time of its last change, oldest first."""
        meter = Meter(progress, path_size(path))
        rows = _table(path) if sniff(path, 15) == b"SQLite format 3" else _lines(path, meter)
        for place, row in rows:
            yield row if isinstance(row, Skipped) else self._item(path.name, place, row, user)
        meter.next_file(path_size(path))

    def _item(self, file: str, line: int | None, row: dict[str, Any], user: str | None) -> Record | Skipped:
        prefix, key, value = row.get("prefix"), row.get("key"), row.get("value")
        if not isinstance(prefix, str) or not isinstance(key, str):
            return Skipped(file, line, "no prefix or no key")
        where = f"{prefix}/{key}"
        try:
            value = parse_json(value) if isinstance(value, bytes) else value
            user_id = user or self._user(prefix)
        except ValueError as error:
            return Skipped(file, line, f"{where}: {error}")
        text = _text(value)
        time = seconds(row.get("updated_at")) or seconds(row.get("created_at"))
        if not text or time is None:
            return Skipped(file, line, f"{where}: no {'text' if time is not None else 'time'} in it")
        meta = {"namespace": prefix, "key": key}
        return make(file, line, user_id, text, time, kind="profile", source="langgraph", meta=meta, key=where)

    def _user(self, prefix: str) -> str:
        names = prefix.split(".")
        if self.user_index is None:
            names = [name for name in names if name != "memories"]
        index = -1 if self.user_index is None else self.user_index
        if not -len(names) <= index < len(names) or not names[index]:
            raise ValueError("no user id in the namespace; set user_index, or pass --user")
        return names[index]


def _table(path: Path) -> Iterator[tuple[None, dict[str, Any] | Skipped]]:
    with database(path) as connection:
        have = columns(connection, "store")
        if not have >= _NEEDED:
            raise SourceError(f"{path} has no LangGraph table `store` with {', '.join(sorted(_NEEDED))}")
        gone = "expires_at IS NOT NULL AND expires_at <= CURRENT_TIMESTAMP" if "expires_at" in have else "0"
        times = [name if name in have else "NULL" for name in ("created_at", "updated_at")]
        query = f"""SELECT prefix, key, CASE WHEN length(value) <= {MAX_RECORD} THEN CAST(value AS BLOB) END,
            {times[0]}, {times[1]}, {gone} FROM store ORDER BY {times[1]}, {times[0]}, prefix, key"""
        for prefix, key, value, created, updated, expired in connection.execute(query):
            where = f"{prefix}/{key}"
            if expired or value is None:
                reason = "its time to live is over" if expired else f"larger than {MAX_RECORD >> 20} MB"
                yield None, Skipped(path.name, None, f"{where}: {reason}")
                continue
            row = {"prefix": prefix, "key": key, "value": value, "created_at": created, "updated_at": updated}
            yield None, row


def _lines(path: Path, meter: Meter) -> Iterator[tuple[int, dict[str, Any] | Skipped]]:
    for number, offset, raw in lines(path, meter):
        if raw is None:
            yield number, Skipped(path.name, number, "the line is too long")
        elif raw.strip():
            try:
                row = parse_json(raw, offset)
            except ValueError as error:
                yield number, Skipped(path.name, number, str(error))
                continue
            yield number, row if isinstance(row, dict) else Skipped(path.name, number, "not a row of the store table")


def _text(value: Any) -> str:
    """Return the text of a stored value: its text field, LangMem's content, or the JSON of what else is there."""
    if isinstance(value, str):
        return value.strip()
    if not isinstance(value, dict) or not value:
        return ""
    for name in _TEXT_KEYS:
        inner = value.get(name)
        if isinstance(inner, str):
            return inner.strip()
        if isinstance(inner, dict):
            return _text(inner)
    return to_json(value)
