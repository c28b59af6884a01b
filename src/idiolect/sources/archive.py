"""Exports that are a zip, the folder it unpacks to, or one of its JSON files; nothing is ever unpacked to disk."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from idiolect.errors import SourceError
from idiolect.sources.base import SNIFF, Meter, Skipped, check_ratio, parse_json

MAX_ITEM = 64 * 2**20
"""One element of a top-level JSON list (one whole conversation) [bytes]."""
_CHUNK = 1 << 20
_TOKEN = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+(["\[\]{}])', re.DOTALL)
"""Up to the next bracket, whole strings passed over; a quote instead of a bracket begins a string that is cut off."""
_STRING_END = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an export; ``label`` is its name for people, ``name`` its path inside."""

    label: str
    name: str
    size: int
    open: Callable[[], IO[bytes]]

    @property
    def base(self) -> str:
        """Its name without folders."""
        return self.name.rsplit("/", 1)[-1]


@contextmanager
def members(path: Path) -> Iterator[list[Member]]:
    """Open an export and list its files, sorted by name; :class:`SourceError` where it is damaged or locked."""
    try:
        if path.is_dir():
            yield _folder(path)
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield _zip(path, archive)
        else:
            yield [Member(path.name, path.name, path.stat().st_size, partial(_open, path))]
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SourceError(f"{path} is damaged: {error}. Download the export again.") from error
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _folder(path: Path) -> list[Member]:
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    found = []
    for file in files:
        name = file.relative_to(path).as_posix()
        found.append(Member(f"{path.name}/{name}", name, file.stat().st_size, partial(_open, file)))
    return found


def _zip(path: Path, archive: zipfile.ZipFile) -> list[Member]:
    found = []
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        if info.is_dir():
            continue
        label = f"{path.name}:{info.filename}"
        found.append(Member(label, info.filename, info.file_size, partial(_inside, label, archive, info)))
    return found


def _inside(label: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """Open one file of the zip; its stated size, which bounds what is read, must be believable."""
    if info.flag_bits & 1:
        raise SourceError(f"{label} is protected by a password. Unpack it first.")
    check_ratio(label, info.file_size, info.compress_size)
    try:
        return archive.open(info)
    except NotImplementedError as error:
        raise SourceError(f"{label}: {error}. Unpack it first.") from error


def sniff_member(path: Path, pattern: re.Pattern[str]) -> bytes:
    """Return the first bytes of the first file whose name matches; none where there is no such file."""
    if path.is_file() and not zipfile.is_zipfile(path) and not pattern.search(path.name):
        return b""
    try:
        with members(path) as found:
            for member in found:
                if pattern.search(member.name):
                    with member.open() as stream:
                        return stream.read(SNIFF)
    except SourceError:
        return b""
    return b""


def items(member: Member, meter: Meter) -> Iterator[tuple[int, Any] | Skipped]:
    """Yield (index, parsed value) for each element of a member's top-level list, holding one in memory at a time.

    A document that is one object yields just that. Elements that are not JSON, not UTF-8 or larger than
    :data:`MAX_ITEM` come out as :class:`Skipped` with their index.
    """
    with member.open() as stream:
        done = 0

        def read(size: int) -> bytes:
            nonlocal done
            chunk = stream.read(size)
            done += len(chunk)
            meter.at(done)
            return chunk

        for index, (offset, raw) in enumerate(split(read)):
            if raw is None:
                yield Skipped(member.label, None, f"item {index}: larger than {MAX_ITEM >> 20} MB")
                continue
            if not raw:
                yield Skipped(member.label, None, "the file ends before its list is closed; it may have been cut short")
                continue
            try:
                yield index, parse_json(raw, offset)
            except ValueError as error:
                yield Skipped(member.label, None, f"item {index}: {error}")
    meter.next_file(member.size)


def split(read: Callable[[int], bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Cut a JSON list, or a run of JSON objects, into (byte offset, bytes of one element).

    None stands for an element larger than :data:`MAX_ITEM`, empty bytes for a list that is never closed.
    """
    cutter = _Cutter()
    while chunk := read(max(_CHUNK, cutter.held)):
        yield from cutter.feed(chunk)
    yield from cutter.end()


class _Cutter:
    """Follows brackets and strings through chunks; keeps only the element that is being read."""

    def __init__(self) -> None:
        self._buffer, self._base = b"", 0
        self._at = self._from = 0
        self._depth, self._top = 0, -1
        self._too_large = self._in_string = False

    @property
    def held(self) -> int:
        """How many bytes are waiting; reading as many again keeps the whole linear."""
        return len(self._buffer)

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
        """Take more of the file, and yield the elements that are now complete."""
        self._buffer += chunk
        if self._top < 0 and (len(self._buffer) < 4 or not self._start()):
            return
        if self._in_string and not self._leave_string():
            return
        yield from self._scan()
        self._drop()

    def end(self) -> Iterator[tuple[int, bytes | None]]:
        """Yield what is left when the file is over."""
        if self._top < 0 and self._start():
            yield from self._scan()
        if self._depth > max(self._top, 0):
            yield self._base + self._from, None if self._too_large else self._buffer[self._from :]
        elif self._top >= 0:
            yield from self._between(len(self._buffer))
            if self._top == 1 and self._depth == 1:
                yield self._base + len(self._buffer), b""

    def _start(self) -> bool:
        """Find out whether the document is a list (elements at depth 1) or objects (depth 0)."""
        body = self._buffer.removeprefix(_BOM).lstrip()
        if not body:
            return False
        self._top = int(body.startswith(b"["))
        self._at = self._from = len(self._buffer) - len(body) + self._top
        self._depth = self._top
        return True

    def _scan(self) -> Iterator[tuple[int, bytes | None]]:
        position = self._at
        while token := _TOKEN.match(self._buffer, position):
            start, position = token.start(1), token.end()
            first = self._buffer[start]
            if first == 0x22:
                self._at = start
                return
            if first in b"[{":
                if self._depth == self._top:
                    yield from self._between(start)
                    self._from = start
                self._depth += 1
                continue
            self._depth -= 1
            if self._depth == self._top:
                yield self._base + self._from, None if self._too_large else self._buffer[self._from : position]
                self._from, self._too_large = position, False
            elif self._depth < self._top:
                yield from self._between(start)
                self._from = position
        self._at = len(self._buffer)

    def _between(self, stop: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield the numbers, strings and debris that stand between two elements."""
        for piece in self._buffer[self._from : stop].split(b","):
            if piece.strip():
                yield self._base + self._from, piece.strip()

    def _drop(self) -> None:
        """Let go of what is finished; of an element that is too large, everything."""
        keep = self._from
        if self._depth > self._top and len(self._buffer) - self._from > MAX_ITEM:
            self._too_large = True
            self._in_string = self._at < len(self._buffer)
            keep = len(self._buffer) - self._trailing_backslashes() if self._in_string else self._at
        self._base += keep
        self._buffer = self._buffer[keep:]
        self._at = max(self._at - keep, 0)
        self._from = max(self._from - keep, 0)

    def _trailing_backslashes(self) -> int:
        return (len(self._buffer) - len(self._buffer.rstrip(b"\\"))) % 2

    def _leave_string(self) -> bool:
        """Look for the end of a string whose beginning is gone."""
        end = _STRING_END.match(self._buffer)
        if end is None:
            keep = len(self._buffer) - self._trailing_backslashes()
            self._base, self._buffer = self._base + keep, self._buffer[keep:]
            return False
        self._at, self._in_string = end.end(), False
        return True
