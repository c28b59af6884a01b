"""Import formats: each turns one kind of export into a stream of records; one format a file.

``read(path, user)`` is all an importer needs: it finds the format, and yields :class:`~idiolect.types.Record` and
:class:`Skipped`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from idiolect.errors import SourceError
from idiolect.registry import build, sources
from idiolect.sources.base import MAX_RECORD, Progress, Skipped, Source
from idiolect.types import Record

__all__ = ["MAX_RECORD", "Progress", "Skipped", "Source", "detect", "make_source", "read"]


def make_source(name: str, settings: Mapping[str, Any] | None = None) -> Source:
    """Return a format by name with its settings; :class:`UnknownName` or :class:`ConfigError` for wrong ones."""
    return cast("Source", build(sources.get(name), settings or {}))


def detect(path: str | Path) -> str:
    """Return the name of the format of a file or folder.

    Raises :class:`SourceError` where there is nothing at ``path``, where no format recognizes it, or where several do.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f"there is no file or folder {path}")
    found = [entry for entry in sources if entry.make().detect(path)]
    found = [entry for entry in found if not entry.info["fallback"]] or found
    if len(found) == 1:
        return found[0].name
    known = "\n".join(f"  {entry.name:<12}{entry.info['files']}" for entry in sources)
    if found:
        names = " or ".join(entry.name for entry in found)
        raise SourceError(f"{path} could be {names}; say which with --format")
    raise SourceError(f"{path} is in no format that is known here; say which with --format:\n{known}")


def read(
    path: str | Path,
    user: str | None = None,
    *,
    format: str = "",
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Iterator[Record | Skipped]:
    """Read an export of any known format.

    ``format`` is found by :func:`detect` where it is empty; ``settings`` are the format's own (a CSV's columns).
    ``progress`` is called with (bytes done, bytes in all). Raises as :meth:`Source.read`; a wrong name, a wrong
    setting and an unknown format are raised here, before anything is read.
    """
    path = Path(path).absolute()
    if not path.exists():
        raise SourceError(f"there is no file or folder {path}")
    return make_source(format or detect(path), settings).read(path, user, progress)
