"""A folder of one's own writing: Markdown and plain text files."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from idiolect.registry import source
from idiolect.sources.base import (
    MAX_RECORD,
    Meter,
    Progress,
    Sized,
    Skipped,
    clean,
    counted,
    iso_seconds,
    make,
    need_user,
    path_size,
)
from idiolect.types import Record

_SUFFIXES = (".md", ".markdown", ".txt", ".text")
_FRONT = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"^(date|created|title)\s*:\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t#]*$")
_CODE_FENCE = re.compile(r"^\s{0,3}(```|~~~)")


@source("folder", files="a folder of Markdown or text files, or one such file", fallback=True)
@dataclass(frozen=True, slots=True)
class Folder(Sized):
    """Texts a person wrote: a short file is one record, a long one is cut at its headings.

    ``long`` is the length [characters] from which a file with headings becomes one record for each section.
    """

    long: int = 4000

    def detect(self, path: Path) -> bool:
        """Return whether there is at least one Markdown or text file."""
        if path.is_file():
            return path.suffix.lower() in _SUFFIXES
        return any(kept and name is not None for name, kept, _ in _walk(path))

    def read(self, path: Path, user: str | None = None, progress: Progress | None = None) -> Iterator[Record | Skipped]:
        """Yield the files' records by name of file; their time is the front matter's date, else the file's own."""
        user = need_user(user, "a folder of texts")
        meter = Meter(progress, path_size(path))
        if path.is_file():
            yield from self._file(path, path.name, user)
            return
        reasons: Counter[str] = Counter()
        for name, kept, reason in _walk(path):
            if kept and name is not None:
                file = path / name
                yield from self._file(file, name, user)
                meter.next_file(file.stat().st_size)
            else:
                reasons[reason] += 1
        yield from counted(path.name, "", reasons)

    def _file(self, path: Path, name: str, user: str) -> Iterator[Record | Skipped]:
        name = clean(name)
        try:
            text = _decode(path)
            modified = path.stat().st_mtime
        except (OSError, ValueError) as error:
            yield Skipped(name, None, str(error))
            return
        front, body = _front_matter(text)
        dated = iso_seconds(front.get("date") or front.get("created") or "")
        time = modified if dated is None else dated
        title = front.get("title") or Path(name).stem
        sections = list(_sections(body)) if len(body) > self.long else [("", 1, body)]
        if not any(section.strip() for _, _, section in sections):
            yield Skipped(name, None, "no text in it")
            return
        line = text.count("\n") - body.count("\n")
        for heading, first, section in sections:
            if section.strip():
                meta = {"session": name, "title": title}
                input = f"{title}: {heading}" if heading else title
                key = f"{name}\x1f{heading}\x1f{section.strip()}"
                yield make(
                    name, line + first, user, section.strip(), time, kind="content", input=input, source="folder",
                    meta=meta, key=key,
                )  # fmt: skip


def _walk(root: Path) -> Iterator[tuple[str | None, bool, str]]:
    """Yield (path below the root, whether it is read, why not) by name; hidden folders and links are not entered."""
    for here, folders, files in os.walk(root):
        hidden = [name for name in folders if name.startswith(".")]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from ((None, False, "hidden folder") for _ in hidden)
        for name in sorted(files):
            path = Path(here, name)
            if path.is_symlink():
                yield None, False, "symbolic link"
            elif path.suffix.lower() not in _SUFFIXES:
                yield None, False, f"file of type {path.suffix.lower() or '(none)'}"
            else:
                yield path.relative_to(root).as_posix(), True, ""


def _decode(path: Path) -> str:
    """Return the text of a UTF-8 file, or of a UTF-16 one with a byte order mark; ``ValueError`` says what is wrong."""
    if path.stat().st_size > MAX_RECORD:
        raise ValueError(f"larger than {MAX_RECORD >> 20} MB")
    raw = path.read_bytes()
    wide = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not {'UTF-16' if wide else 'UTF-8'} at byte offset {error.start}") from error
    return text.replace("\r\n", "\n")


def _front_matter(text: str) -> tuple[dict[str, str], str]:
    """Return the date and title of a YAML front matter, and the text after it."""
    match = _FRONT.match(text)
    if match is None:
        return {}, text
    fields = {name.lower(): value.strip("\"'") for name, value in _FIELD.findall(match.group(1))}
    return fields, text[match.end() :]


def _sections(text: str) -> Iterator[tuple[str, int, str]]:
    """Cut at Markdown headings outside code blocks: (heading, line of its text, text)."""
    heading, first, held, in_code = "", 1, [], False
    for number, line in enumerate(text.split("\n"), 1):
        in_code ^= _CODE_FENCE.match(line) is not None
        match = None if in_code else _HEADING.match(line)
        if match is None:
            held.append(line)
            continue
        yield heading, first, "\n".join(held)
        heading, first, held = match.group(2), number + 1, []
    yield heading, first, "\n".join(held)
