"""LaMP, the benchmark of personalized tasks: every shape its files come in. Only histories, never the questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idiolect.errors import SourceError
from idiolect.registry import source
from idiolect.sources.archive import Member, items, members
from idiolect.sources.base import (
    Meter,
    Progress,
    Sized,
    Skipped,
    has_keys,
    iso_seconds,
    lines,
    make,
    parse_json,
    path_size,
    sniff,
)
from idiolect.types import Record

_SHAPES: tuple[tuple[str, str, str, str], ...] = (
    ("text", "category", "interaction", "LaMP-2N"),
    ("description", "tag", "interaction", "LaMP-2M"),
    ("text", "score", "interaction", "LaMP-3"),
    ("text", "title", "content", "LaMP-4 and LaMP-6"),
    ("abstract", "title", "content", "LaMP-5"),
    ("", "text", "content", "LaMP-7"),
)
"""(input field, output field, kind, task); the first whose fields an item has is taken."""
_CITATION = "which reference is related"
_MAX_LINE = 64 * 2**20


@source("lamp", files="LaMP questions or authors with histories (.json, .jsonl, .jsonl.gz)")
@dataclass(frozen=True, slots=True)
class LaMP(Sized):
    """LaMP histories: official question files, and files with one author an item."""

    def detect(self, path: Path) -> bool:
        """Return whether the file begins with a history of items that have LaMP's fields."""
        head = sniff(path)
        listed = has_keys(head, "id", "profile") or has_keys(head, "author", "history")
        return listed and any(has_keys(head, *filter(None, shape[:2])) for shape in _SHAPES)

    def read(self, path: Path, user: str | None = None, progress: Progress | None = None) -> Iterator[Record | Skipped]:
        """Yield the histories' items; the user id is the author's or the question's."""
        meter = Meter(progress, path_size(path))
        questions = 0
        for line, item in _rows(path, meter):
            if isinstance(item, Skipped):
                yield item
            elif not isinstance(item, dict) or not isinstance(item.get("profile", item.get("history")), list):
                if isinstance(item, dict) and "golds" in item:
                    raise SourceError(f"{path} holds LaMP's answers. Import the questions file beside it.")
                yield Skipped(path.name, line, "no profile and no history")
            else:
                questions += len(item["queries"]) if isinstance(item.get("queries"), list) else "input" in item
                yield from _user(path.name, line, item, user)
        if questions:
            yield Skipped(path.name, None, f"note: {questions} questions are the test and were left out")


def _rows(path: Path, meter: Meter) -> Iterator[tuple[int | None, Any]]:
    """Yield (line or None, item) of a JSON list or of JSON Lines."""
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        with members(path) as found:
            yield from ((None, item if isinstance(item, Skipped) else item[1]) for item in _items(found, meter))
        return
    for number, offset, raw in lines(path, meter, _MAX_LINE):
        if raw is None:
            yield number, Skipped(path.name, number, f"the line is longer than {_MAX_LINE >> 20} MB")
        elif raw.strip():
            try:
                yield number, parse_json(raw, offset)
            except ValueError as error:
                yield number, Skipped(path.name, number, str(error))


def _items(found: list[Member], meter: Meter) -> Iterator[tuple[int, Any] | Skipped]:
    for member in found:
        yield from items(member, meter)


def _user(file: str, line: int | None, item: dict[str, Any], user: str | None) -> Iterator[Record | Skipped]:
    user_id = user or str(item.get("author", item.get("id", "")))
    if not user_id:
        yield Skipped(file, line, "neither author nor id")
        return
    history: list[Any] = item.get("profile") or item.get("history") or []
    citation = _CITATION in str(item.get("input", "")).lower()
    dated = [(_date(entry, index), index, entry) for index, entry in enumerate(history)]
    for time, index, entry in sorted(dated, key=lambda row: row[:2]):
        fields = _fields(entry, citation) if isinstance(entry, dict) else None
        if fields is None:
            yield Skipped(file, line, f"user {user_id}, item {index}: none of LaMP's fields in it")
            continue
        input, output, kind, meta = fields
        key = "\x1f".join((str(item.get("author", item.get("id"))), str(entry.get("id", "")), input, output))
        yield make(file, line, user_id, output, time, kind=kind, input=input, source="lamp", meta=meta, key=key)


def _date(entry: object, index: int) -> float:
    """Return the item's date, or its place in the history as seconds after the epoch."""
    value = entry.get("date") if isinstance(entry, Mapping) else None
    time = iso_seconds(value) if isinstance(value, str) else None
    return float(index) if time is None else time


def _fields(entry: dict[str, Any], citation: bool) -> tuple[str, str, str, dict[str, str]] | None:
    """Return (input, output, kind, meta) of a history item, or None where it has no known shape."""
    for before, after, kind, _ in _SHAPES:
        if isinstance(entry.get(after), str | int | float) and (not before or isinstance(entry.get(before), str)):
            if citation and before == "abstract":
                before, after = after, before
            others = {"title", "product"} - {before, after}
            meta = {name: str(entry[name]) for name in sorted(others & entry.keys())}
            return str(entry.get(before, "")), _text(entry[after]), kind, meta
    return None


def _text(value: str | int | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"
