"""What every import format shares: the protocol, what is yielded for an unusable item, and careful reading of bytes."""

from __future__ import annotations

import gzip
import json
import math
import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from idiolect.errors import InputError, SourceError
from idiolect.types import Record

MAX_RECORD = 16 * 2**20
"""Input and output of one record together [bytes]; a larger one is skipped."""
MAX_DOCUMENT = 256 * 2**20
"""A JSON document that has to be read whole [bytes]."""
MAX_RATIO = 500
"""Uncompressed over compressed size above which a large file is taken for a decompression bomb."""
SNIFF = 256 * 1024

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

_LONE_SURROGATE = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SQLITE_MAGIC = b"SQLite format 3\x00"


@dataclass(frozen=True, slots=True)
class Skipped:
    """One thing in an import file that became no record, and why.

    ``file`` names the place also inside an archive (``export.zip:conversations.json``), ``line`` counts from 1 where
    the format has lines. A ``reason`` that starts with ``note:`` reports something worth knowing, not a loss.
    """

    file: str
    line: int | None
    reason: str

    @property
    def is_note(self) -> bool:
        """Whether nothing was lost here."""
        return self.reason.startswith("note:")


class Source(Protocol):
    """An import format: a frozen dataclass whose fields are its settings, registered by :func:`registry.source`."""

    def detect(self, path: Path) -> bool:
        """Return whether ``path`` looks like this format; reads little, raises nothing but ``OSError``."""

    def size(self, path: Path) -> int:
        """Return the size [bytes] of what :meth:`read` will read."""

    def read(self, path: Path, user: str | None = None, progress: Progress | None = None) -> Iterator[Record | Skipped]:
        """Yield the records, oldest first within a session, and what was skipped.

        ``user`` overrides the file's own user ids; where the format has none it must be given. Raises, at the first
        item: :class:`InputError` where ``user`` is missing, :class:`SourceError` where the file as a whole is unusable.
        """


class Sized:
    """Gives a format its ``size``: of the file, or of all files below a folder."""

    def size(self, path: Path) -> int:
        """Return the size [bytes] on disk."""
        return path_size(Path(path))


class Meter:
    """Reports progress in steps of about half a percent, so that reading stays fast."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total = progress, total
        self._step = max(total // 200, 1 << 16)
        self._base = self._next = 0

    def at(self, done: int) -> None:
        """Say that ``done`` bytes of the present file are read."""
        if self._progress is not None and self._base + done >= self._next:
            self._next = self._base + done + self._step
            self._progress(min(self._base + done, self._total), self._total)

    def next_file(self, size: int) -> None:
        """Say that a file of ``size`` bytes is finished."""
        self._base += size
        self._next = 0
        self.at(0)


def path_size(path: Path) -> int:
    """Return the bytes of a file, or of all regular files below a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


def need_user(user: str | None, what: str) -> str:
    """Return ``user``; :class:`InputError` where the format does not say whose the data is."""
    if not user:
        raise InputError(f"{what} does not say whose data it is; pass --user with the id of that person")
    return user


# --- values -----------------------------------------------------------------------------------------------------------


def make(file: str, line: int | None, user: str, output: str, time: float, **fields: Any) -> Record | Skipped:
    """Return ``Record.new(...)``, or why it cannot be made; lone surrogates become U+FFFD."""
    output, fields["input"] = clean(output), clean(fields.get("input", ""))
    meta = fields.get("meta", {})
    fields["meta"] = {name: clean(value) if isinstance(value, str) else value for name, value in meta.items()}
    if too_large(fields["input"], output):
        return Skipped(file, line, f"the record is larger than {MAX_RECORD >> 20} MB")
    try:
        return Record.new(user, output, time=time, **fields)
    except ValueError as error:
        return Skipped(file, line, str(error))


def too_large(*texts: str) -> bool:
    """Return whether the texts together have more than ``MAX_RECORD`` bytes of UTF-8."""
    if sum(map(len, texts)) * 4 <= MAX_RECORD:
        return False
    return sum(len(text.encode("utf-8", "replace")) for text in texts) > MAX_RECORD


def clean(text: str) -> str:
    """Replace lone surrogates, which no UTF-8 file can hold, by U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def seconds(value: object) -> float | None:
    """Return seconds since the epoch, UTC, of a number (s, or ms from 1e11 on) or ISO 8601 text; None if it is neither.

    A time without a zone is taken as UTC.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        number = float(value)
        return (number / 1000 if abs(number) >= 1e11 else number) if math.isfinite(number) else None
    if not isinstance(value, str) or not value.strip():
        return None
    text = value.strip()
    try:
        return seconds(float(text))
    except ValueError:
        return iso_seconds(text)


def iso_seconds(text: str) -> float | None:
    """Return seconds since the epoch of ISO 8601 text (UTC where no zone is written), or None."""
    try:
        moment = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def counted(file: str, where: str, reasons: Counter[str]) -> Iterator[Skipped]:
    """Yield one :class:`Skipped` for each reason, with how often it occurred."""
    for reason, count in sorted(reasons.items()):
        yield Skipped(file, None, f"{where}: {count} x {reason}" if where else f"{count} x {reason}")


# --- JSON -------------------------------------------------------------------------------------------------------------


def parse_json(raw: bytes, offset: int = 0) -> Any:
    """Parse one JSON value; ``ValueError`` says what is wrong, at which byte of the file where it is not UTF-8.

    An escaped lone surrogate (half an emoji, cut by the exporter) becomes U+FFFD instead of costing the record.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        try:
            raw.decode()
        except UnicodeDecodeError as bad:
            raise ValueError(f"not UTF-8: byte 0x{raw[bad.start]:02x} at offset {offset + bad.start}") from bad
        mended = _LONE_SURROGATE.sub(lambda m: rb"\ufffd" if m.group(1) else m.group(), raw)
        if mended != raw:
            return parse_json(mended, offset)
        raise ValueError(f"not JSON: {error}") from error


def to_json(value: object) -> str:
    """Return compact JSON text of a parsed value."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def load_json(path: Path) -> Any:
    """Read one whole JSON document; :class:`SourceError` says what is wrong with it."""
    with opened(path) as (stream, _):
        raw = stream.read(MAX_DOCUMENT + 1)
    if len(raw) > MAX_DOCUMENT:
        raise SourceError(f"{path} is larger than {MAX_DOCUMENT >> 20} MB and has to be read whole. Split it.")
    try:
        return parse_json(raw.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        raise SourceError(f"{path} cannot be read: {error}. Export it again, or repair it.") from error


def has_keys(head: bytes, *keys: str) -> bool:
    """Return whether the start of a JSON file holds all these keys."""
    return all(re.search(rb'(?<!\\)"' + key.encode() + rb'"\s*:', head) for key in keys)


# --- files ------------------------------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], int]]]:
    """Open a file, or the inside of a ``.gz``; the second value tells the position [bytes] in the file on disk."""
    try:
        with open(path, "rb") as raw:
            if path.suffix != ".gz":
                yield raw, raw.tell
                return
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream, raw.tell  # type: ignore[misc]
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise SourceError(f"{path} is damaged: {error}. Copy or export it again.") from error
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error


def sniff(path: Path, limit: int = SNIFF) -> bytes:
    """Return the first bytes of a file, unzipped for ``.gz``; none for a folder or a file that cannot be read."""
    if not path.is_file():
        return b""
    try:
        with opened(path) as (stream, _):
            return stream.read(limit)
    except SourceError:
        return b""


def lines(path: Path, meter: Meter, limit: int = MAX_RECORD) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield (line number from 1, byte offset, line with its end) in constant memory.

    The line is None where it is longer than ``limit``. A byte order mark is taken away.
    """
    with opened(path) as (stream, position):
        offset, zipped = 0, path.suffix == ".gz"
        for number, raw in enumerate(iter(partial(stream.readline, limit + 1), b""), 1):
            start, offset = offset, offset + len(raw)
            if len(raw) > limit and not raw.endswith(b"\n"):
                offset += _rest_of_line(stream, limit)
                yield number, start, None
            elif number == 1 and raw.startswith(b"\xef\xbb\xbf"):
                yield 1, 3, raw[3:]
            else:
                yield number, start, raw
            if not number & 255:
                meter.at(position())
                if zipped:
                    check_ratio(path.name, offset, position())
        meter.at(position())


def _rest_of_line(stream: BinaryIO, limit: int) -> int:
    """Read on to the end of the line, and return how many bytes that was."""
    passed = 0
    while more := stream.readline(limit):
        passed += len(more)
        if more.endswith(b"\n"):
            break
    return passed


def check_ratio(file: str, inside: int, outside: int) -> None:
    """Refuse a file that grows out of all proportion when it is unpacked."""
    if inside > MAX_DOCUMENT and inside > MAX_RATIO * max(outside, 1):
        raise SourceError(
            f"{file} unpacks to more than {MAX_RATIO} times its size, which no export does. "
            "If you trust it, unpack it first."
        )


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open somebody else's SQLite file for reading only, trusting nothing in its schema."""
    base = path.resolve().as_uri()
    try:
        connection = _connect(f"{base}?mode=ro") or _connect(f"{base}?mode=ro&immutable=1")
        if connection is None:
            raise SourceError(f"cannot open {path} as an SQLite file. Is another program writing to it? Copy it first.")
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise SourceError(f"{path} cannot be read as an SQLite file: {error}. Copy it again.") from error


def _connect(uri: str) -> sqlite3.Connection | None:
    connection = sqlite3.connect(uri, uri=True)
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        return None
    return connection


def columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """Return the column names of a real table (a view has none: its definition could be anything)."""
    real = connection.execute("SELECT 1 FROM sqlite_master WHERE type='table' AND name=?", (table,)).fetchone()
    return {row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')} if real else set()


def table_columns(path: Path, table: str) -> set[str]:
    """Return the columns of a table in a file that may be an SQLite file; none where it is not."""
    if sniff(path, 16) != _SQLITE_MAGIC:
        return set()
    try:
        with database(path) as connection:
            return columns(connection, table)
    except SourceError:
        return set()
