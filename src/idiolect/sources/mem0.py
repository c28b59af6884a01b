"""mem0: its local Qdrant folder, its history.db, or a JSON dump of ``get_all``."""

from __future__ import annotations

import io
import pickle
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from idiolect.errors import SourceError
from idiolect.registry import source
from idiolect.sources.base import (
    MAX_RECORD,
    Meter,
    Progress,
    Sized,
    Skipped,
    columns,
    counted,
    database,
    has_keys,
    load_json,
    make,
    need_user,
    seconds,
    sniff,
    table_columns,
)
from idiolect.types import Record

_POINTS = {"id", "point"}
_HISTORY = {"memory_id", "old_memory", "new_memory", "event"}
_OWN = {
    "id", "user_id", "run_id", "actor_id", "role", "data", "memory", "hash", "created_at", "updated_at",
    "text_lemmatized", "metadata",
}  # fmt: skip
"""Fields of mem0's own; what else stands in a payload is the application's metadata."""
_PICKLED = {
    ("qdrant_client.http.models.models", "PointStruct"),
    ("qdrant_client.http.models.models", "SparseVector"),
}
_BROKEN = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError,
)  # fmt: skip


@source("mem0", files="mem0's Qdrant folder or storage.sqlite, its history.db, or get_all() as JSON")
@dataclass(frozen=True, slots=True)
class Mem0(Sized):
    """What mem0 remembers, each memory a ``profile`` record with mem0's own user id."""

    def detect(self, path: Path) -> bool:
        """Return whether there is a Qdrant collection, a mem0 history or a memory dump."""
        if path.is_dir():
            return any(True for _ in path.glob("collection/*/storage.sqlite")) or any(
                True for _ in path.glob("*/collection/*/storage.sqlite")
            )
        if table_columns(path, "points") == _POINTS or table_columns(path, "history") >= _HISTORY:
            return True
        head = sniff(path)
        return has_keys(head, "memory", "user_id") or has_keys(head, "memory", "hash")

    def read(self, path: Path, user: str | None = None, progress: Progress | None = None) -> Iterator[Record | Skipped]:
        """Yield the memories, oldest first in each store; a history.db alone needs ``user``."""
        files = _stores(path)
        stores = [file for file in files if table_columns(file, "points") == _POINTS]
        meter = Meter(progress, sum(file.stat().st_size for file in files))
        for file in files:
            label = file.relative_to(path).as_posix() if path.is_dir() else file.name
            if file in stores:
                made = _points(file, label, user)
            elif table_columns(file, "history") >= _HISTORY:
                made = _history(file, label, user, memories=not stores)
            else:
                made = _dump(file, label, user)
            yield from oldest_first(made)
            meter.next_file(file.stat().st_size)


def oldest_first(made: Iterator[Record | Skipped]) -> Iterator[Record | Skipped]:
    """Yield the skipped things, then the records by time."""
    both = list(made)
    yield from (item for item in both if isinstance(item, Skipped))
    yield from sorted((item for item in both if isinstance(item, Record)), key=lambda record: (record.time, record.id))


def _stores(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    names = ("storage.sqlite", "history.db")
    files = sorted(file for name in names for file in path.rglob(name) if not file.is_symlink())
    if not files:
        raise SourceError(f"{path} holds neither a Qdrant collection (collection/*/storage.sqlite) nor a history.db")
    return files


# --- Qdrant's local files ---------------------------------------------------------------------------------------------


class _Inert:
    """Stands in for Qdrant's classes: takes whatever a pickle gives it, and does nothing."""

    state: object = None

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Reads Qdrant's points without importing or calling anything that a file names."""

    def find_class(self, module: str, name: str) -> type[_Inert]:
        if (module, name) in _PICKLED:
            return _Inert
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a Qdrant point does not need")


def _payload(blob: bytes) -> tuple[str, dict[str, Any]]:
    """Return (point id, payload) of a pickled point; ``ValueError`` where it is not one."""
    try:
        point = _Unpickler(io.BytesIO(blob)).load()
    except _BROKEN as error:
        raise ValueError(f"not a Qdrant point: {error}") from error
    state = point.state if isinstance(point, _Inert) else None
    fields = state.get("__dict__") if isinstance(state, dict) else None
    payload = fields.get("payload") if isinstance(fields, dict) else None
    if not isinstance(fields, dict) or not isinstance(payload, dict):
        raise ValueError("not a Qdrant point: no payload in it")
    identity = fields.get("id")
    return str(identity) if isinstance(identity, str | int) else "", payload


def _points(file: Path, label: str, user: str | None) -> Iterator[Record | Skipped]:
    reasons: Counter[str] = Counter()
    seen: set[str] = set()
    blob_or_null = f"CASE WHEN length(point) <= {MAX_RECORD} THEN CAST(point AS BLOB) END"
    query = f"SELECT rowid, {blob_or_null} FROM points ORDER BY rowid DESC"
    with database(file) as connection:
        for row, blob in connection.execute(query):
            try:
                if blob is None:
                    raise ValueError(f"larger than {MAX_RECORD >> 20} MB")
                identity, payload = _payload(blob)
            except ValueError as error:
                yield Skipped(label, None, f"row {row}: {error}")
                continue
            if identity in seen:
                reasons["older copy of a point"] += 1
            elif "linked_memory_ids" in payload or "entity_type" in payload:
                reasons["entry of mem0's entity index, which holds no memory"] += 1
            else:
                yield _memory(label, f"row {row}", identity, payload, user)
            seen.add(identity)
    yield from counted(label, "", reasons)


# --- what a memory becomes --------------------------------------------------------------------------------------------


def _memory(file: str, where: str, identity: str, payload: dict[str, Any], user: str | None) -> Record | Skipped:
    text, owner = payload.get("data", payload.get("memory")), user or payload.get("user_id")
    time = seconds(payload.get("updated_at"))
    time = seconds(payload.get("created_at")) if time is None else time
    if not isinstance(text, str) or not text.strip():
        return Skipped(file, None, f"{where}: no text")
    if not isinstance(owner, str) or not owner:
        return Skipped(file, None, f"{where}: no user_id (a memory of an agent or a run); pass --user to take it")
    meta = _meta(payload)
    return make(file, None, owner, text, time or 0.0, kind="profile", source="mem0", meta=meta, key=identity)


def _meta(payload: dict[str, Any]) -> dict[str, Any]:
    """Return mem0's own fields and the application's metadata, as far as they are plain values."""
    inner = payload.get("metadata")
    both = {**(inner if isinstance(inner, dict) else {}), **payload}
    meta = {
        name: value
        for name, value in both.items()
        if isinstance(name, str) and name not in _OWN and isinstance(value, str | int | float)
    }
    if isinstance(payload.get("run_id"), str):
        meta["session"] = payload["run_id"]
    speaker = payload.get("actor_id") or payload.get("role")
    if isinstance(speaker, str) and speaker != "user":
        meta["speaker"] = speaker
    return meta


def _dump(file: Path, label: str, user: str | None) -> Iterator[Record | Skipped]:
    data = load_json(file)
    rows = data.get("results", data.get("memories")) if isinstance(data, dict) else data
    if not isinstance(rows, list):
        raise SourceError(f'{file} is no dump of mem0: expected a list of memories, or {{"results": [...]}}')
    for index, row in enumerate(rows):
        if isinstance(row, dict):
            yield _memory(label, f"item {index}", str(row.get("id") or ""), row, user)
        else:
            yield Skipped(label, None, f"item {index}: not an object")


# --- history.db -------------------------------------------------------------------------------------------------------


def _history(file: Path, label: str, user: str | None, memories: bool) -> Iterator[Record | Skipped]:
    """Yield the recent messages, and, where no Qdrant store stands beside it, what each memory became."""
    with database(file) as connection:
        if memories:
            yield from _events(connection, label, need_user(user, "mem0's history.db"))
        if columns(connection, "messages"):
            yield from _messages(connection, label, user)


def _events(connection: sqlite3.Connection, file: str, user: str) -> Iterator[Record | Skipped]:
    query = """SELECT memory_id, CAST(new_memory AS BLOB), event, created_at, updated_at, is_deleted
        FROM history ORDER BY coalesce(updated_at, created_at), rowid"""
    last: dict[str, tuple[bytes | None, str, Any]] = {}
    for identity, text, event, created, updated, deleted in connection.execute(query):
        last[str(identity)] = (text, "DELETE" if deleted else str(event), updated or created)
    gone = sum(event == "DELETE" for _, event, _ in last.values())
    for identity, (text, event, changed) in last.items():
        if event != "DELETE":
            payload = {"data": (text or b"").decode("utf-8", "replace"), "updated_at": changed}
            yield _memory(file, f"memory {identity}", identity, payload, user)
    if gone:
        yield Skipped(file, None, f"note: {gone} memories had been deleted in mem0 and stay deleted")


def _messages(connection: sqlite3.Connection, file: str, user: str | None) -> Iterator[Record | Skipped]:
    before: dict[str, str] = {}
    query = "SELECT id, session_scope, role, CAST(content AS BLOB), created_at FROM messages ORDER BY created_at, rowid"
    for identity, scope, role, content, created in connection.execute(query):
        text = (content or b"").decode("utf-8", "replace")
        names = dict(part.partition("=")[::2] for part in str(scope).split("&"))
        owner, time = user or unquote(names.get("user_id", "")), seconds(created)
        if role != "user":
            before[scope] = text
        elif not owner or time is None or not text.strip():
            missing = "user_id" if not owner else "time" if time is None else "text"
            yield Skipped(file, None, f"message {identity}: no {missing}")
        else:
            fields = {"kind": "dialogue", "source": "mem0", "meta": {"session": str(scope)}, "key": str(identity)}
            yield make(file, None, owner, text, time, input=before.pop(scope, ""), **fields)
