"""Import of an uploaded file in any format that the command line reads."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from idiolect import sources
from idiolect.errors import InputError, RecordTooLarge
from idiolect.serve.bodies import reply
from idiolect.serve.state import State, state_of
from idiolect.serve.users_api import user_in
from idiolect.sources import Skipped
from idiolect.store.export import is_export, restore
from idiolect.types import Record

MAX_TOLD = 1000
"""So many skipped things are named one by one; all are counted."""
_LEFT_BEHIND = 86400.0
_FOLDER = "upload-"
_NAME = re.compile(r"[\w.\- ]{1,120}")


async def take_import(request: Request) -> Response:
    """POST /v1/users/{user}/import?filename=&format=&dry_run=&settings=: the body is the file."""
    state, user = state_of(request), user_in(request)
    query = request.query_params
    name = query.get("filename", "upload.jsonl")
    if not _NAME.fullmatch(name) or name.startswith("."):
        raise InputError("filename must be a plain file name: letters, digits, dots, dashes, underscores, spaces")
    settings = _settings(query.get("settings"))
    dry = query.get("dry_run", "").lower() in ("1", "true", "yes")
    folder = await state.engine.run(_make_folder, Path(state.idiolect.settings.paths.data))
    try:
        await _save(request, state, folder / name)
        counts = await state.engine.run(_take, state, folder / name, user, query.get("format", ""), settings, dry)
    finally:
        await state.engine.run(shutil.rmtree, folder, ignore_errors=True)
    return reply(counts)


def _settings(text: str | None) -> dict[str, Any]:
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise InputError(f"settings must be a JSON object: {error}") from None
    if not isinstance(value, dict):
        raise InputError("settings must be a JSON object")
    return value


def _make_folder(data: Path) -> Path:
    """Make a folder that nobody else can read, and remove what killed processes left."""
    data.mkdir(parents=True, exist_ok=True)
    for old in data.glob(_FOLDER + "*"):
        if time.time() - old.stat().st_mtime > _LEFT_BEHIND:
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=_FOLDER, dir=data))


async def _save(request: Request, state: State, path: Path) -> None:
    limit, size = state.idiolect.settings.serve.max_upload_mb << 20, 0
    with path.open("wb") as file:
        async for piece in request.stream():
            size += len(piece)
            if size > limit:
                raise RecordTooLarge(f"the file has more than {limit >> 20} MB; raise serve.max_upload_mb")
            await state.engine.run(file.write, piece)


def _take(state: State, path: Path, user: str, format: str, settings: dict[str, Any], dry: bool) -> dict[str, Any]:
    store = state.idiolect.store
    if not format and is_export(path):
        if dry:
            raise InputError("dry_run is not offered for our own exports; they change nothing that is there already")
        back = restore(store, path, user=user)
        return {"format": "export", "added": back.records.added, "known": back.records.known, "skipped": 0,
                "notes": 0, "told": [], "artifacts": back.artifacts, "traces": back.traces,
                "states": back.states}  # fmt: skip
    format = format or sources.detect(path)
    told: list[Skipped] = []
    read = sources.read(path, user, format=format, settings=settings)
    counts: dict[str, Any] = {"format": format, "dry_run": dry}
    if dry:
        counts["records"] = sum(1 for _ in _records(read, told))
    else:
        added = store.add(_records(read, told))
        counts |= {"added": added.added, "known": added.known}
    notes = sum(item.is_note for item in told)
    lines = [{"file": item.file, "line": item.line, "reason": item.reason} for item in told[:MAX_TOLD]]
    return {**counts, "skipped": len(told) - notes, "notes": notes, "told": lines}


def _records(read: Iterator[Record | Skipped], told: list[Skipped]) -> Iterator[Record]:
    for item in read:
        if isinstance(item, Record):
            yield item
        else:
            told.append(item)
