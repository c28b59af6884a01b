"""Our own record format, one JSON object a line: what ``idiolect export`` writes and other programs should write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from idiolect.registry import source
from idiolect.sources.base import (
    MAX_RECORD,
    Meter,
    Progress,
    Sized,
    Skipped,
    clean,
    iso_seconds,
    lines,
    parse_json,
    path_size,
    sniff,
    too_large,
)
from idiolect.types import KINDS, Kind, Record

_FIELDS = frozenset(("id", "user_id", "kind", "time", "input", "output", "source", "meta"))
_KINDS = frozenset(KINDS)
_SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_MAX_TIME = 2.0**40
_MAX_LINE = 2 * MAX_RECORD


@source("jsonl", files="records as JSON Lines (.jsonl, .jsonl.gz): what `idiolect export` writes")
@dataclass(frozen=True, slots=True)
class JsonLines(Sized):
    """Records as JSON Lines, the interchange format."""

    def detect(self, path: Path) -> bool:
        """Return whether one of the first lines is one of our records."""
        return path.name.endswith(_SUFFIXES) and any(_is_ours(line) for line in sniff(path).splitlines()[:10])

    def read(self, path: Path, user: str | None = None, progress: Progress | None = None) -> Iterator[Record | Skipped]:
        """Yield one record a line, in the order of the file."""
        file = path.name
        for number, offset, raw in lines(path, Meter(progress, path_size(path)), _MAX_LINE):
            if raw is None:
                yield Skipped(file, number, f"the line is longer than {_MAX_LINE >> 20} MB")
                continue
            try:
                yield parse_record(orjson.loads(raw), user, float(number - 1))
            except orjson.JSONDecodeError:
                if raw.strip():
                    yield _second_try(file, number, offset, raw, user)
            except ValueError as error:
                yield Skipped(file, number, str(error))


def to_line(record: Record) -> bytes:
    """Return a record as one line of the format, with its end.

    Lone surrogates become U+FFFD and numbers that JSON does not have (NaN, infinity) null; what JSON cannot say at all
    (bytes, objects in ``meta``) raises ``TypeError``.
    """
    fields = {name: getattr(record, name) for name in ("id", "user_id", "kind", "time", "input", "output", "source")}
    fields["meta"] = dict(record.meta)
    try:
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # orjson refuses lone surrogates and integers beyond 64 bit; the standard library does not.
        return clean(json.dumps(fields, ensure_ascii=False)).encode() + b"\n"


def parse_record(row: Any, user: str | None, order: float) -> Record:
    """Return the record of one parsed line; ``ValueError`` says what is wrong with it.

    ``user`` overrides the line's ``user_id``; ``order`` is the time where the line has none.
    """
    if type(row) is not dict:
        raise ValueError(f"a record is a JSON object, not {type(row).__name__}")
    get = row.get
    user_id, output, input, meta = user or get("user_id"), get("output"), get("input", ""), get("meta")
    kind, origin, key = get("kind", "content"), get("source", "jsonl"), get("id")
    if type(output) is not str or type(input) is not str or type(origin) is not str:
        raise ValueError(_not_text(row))
    if type(user_id) is not str or not user_id:
        raise ValueError("no user_id; write one in the line, or pass --user")
    if kind not in _KINDS:
        raise ValueError(f"unknown kind {kind!r}; one of {', '.join(KINDS)}")
    if meta is None:
        meta = {}
    elif type(meta) is not dict:
        raise ValueError("meta must be a JSON object")
    time = _time(get("time", order))
    if not row.keys() <= _FIELDS:
        meta = {name: row[name] for name in row.keys() - _FIELDS} | meta
    if too_large(input, output):
        raise ValueError(f"the record is larger than {MAX_RECORD >> 20} MB")
    if key is None:
        return Record.new(user_id, output, time=time, kind=kind, input=input, source=origin, meta=meta)
    return _with_id(key, user_id, kind, time, input, output, origin, meta)


def _with_id(
    key: object, user_id: str, kind: Kind, time: float, input: str, output: str, origin: str, meta: dict[str, Any]
) -> Record:
    if type(key) is not str or not key.isprintable() or not 0 < len(key) <= 128:
        raise ValueError(f"id must be text of 1 to 128 printable characters, got {key!r:.60}")
    return Record(key, user_id, kind, time, input, output, origin, meta)


def _time(value: object) -> float:
    if type(value) is str:
        time = iso_seconds(value)
        if time is None:
            raise ValueError(f"time {value!r:.60} is neither a number of seconds nor ISO 8601")
        return time
    if type(value) is not float and type(value) is not int:
        raise ValueError(f"time must be a number of seconds or ISO 8601 text, got {value!r:.60}")
    if not -_MAX_TIME < value < _MAX_TIME:
        raise ValueError(f"time {value!r} is not a number of seconds since the epoch; are these milliseconds?")
    return float(value)


def _not_text(row: dict[str, Any]) -> str:
    """Say which of the text fields is none."""
    if "output" not in row:
        return "no output"
    name = next(name for name in ("output", "input", "source") if not isinstance(row.get(name, ""), str))
    return f"{name} must be text, got {row[name]!r:.60}"


def _second_try(file: str, number: int, offset: int, raw: bytes, user: str | None) -> Record | Skipped:
    try:
        return parse_record(parse_json(raw, offset), user, float(number - 1))
    except ValueError as error:
        return Skipped(file, number, str(error))


def _is_ours(line: bytes) -> bool:
    try:
        row = parse_json(line.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return False
    return isinstance(row, dict) and isinstance(row.get("output"), str) and not {"profile", "history"} & row.keys()
