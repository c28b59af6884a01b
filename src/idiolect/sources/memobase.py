"""Memobase: profiles, events and blobs as its API answers them, saved as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idiolect.registry import source
from idiolect.sources.base import (
    Meter,
    Progress,
    Sized,
    Skipped,
    has_keys,
    lines,
    load_json,
    make,
    need_user,
    parse_json,
    path_size,
    seconds,
    sniff,
    to_json,
)
from idiolect.types import Record

_LISTS = ("profiles", "events", "gists", "blobs", "users")


@source("memobase", files="Memobase API answers saved as JSON (profiles, events, blobs)")
@dataclass(frozen=True, slots=True)
class Memobase(Sized):
    """Memobase profiles and events as ``profile`` records, chat blobs as ``dialogue``."""

    def detect(self, path: Path) -> bool:
        """Return whether the file begins with Memobase's fields."""
        head = sniff(path)
        marks = ("sub_topic", "event_data", "gist_data", "blob_type")
        return any(has_keys(head, mark) for mark in marks) and not has_keys(head, "prefix", "key", "value")

    def read(self, path: Path, user: str | None = None, progress: Progress | None = None) -> Iterator[Record | Skipped]:
        """Yield each answer's records, oldest first; ``user`` is needed where no ``user_id`` stands by them."""
        meter = Meter(progress, path_size(path))
        for line, document in _documents(path, meter):
            if isinstance(document, Skipped):
                yield document
                continue
            made = list(_walk(path.name, line, document, user))
            yield from (item for item in made if isinstance(item, Skipped))
            yield from sorted((item for item in made if isinstance(item, Record)), key=lambda record: record.time)


def _documents(path: Path, meter: Meter) -> Iterator[tuple[int | None, Any]]:
    if ".jsonl" not in path.name:
        yield None, load_json(path)
        meter.next_file(path_size(path))
        return
    for number, offset, raw in lines(path, meter):
        if raw is None:
            yield number, Skipped(path.name, number, "the line is too long")
        elif raw.strip():
            try:
                yield number, parse_json(raw, offset)
            except ValueError as error:
                yield number, Skipped(path.name, number, str(error))


def _walk(file: str, line: int | None, data: Any, user: str | None, owner: str = "") -> Iterator[Record | Skipped]:
    """Go down the answer's envelopes to the single things."""
    if isinstance(data, list):
        for item in data:
            yield from _walk(file, line, item, user, owner)
    elif not isinstance(data, dict):
        yield Skipped(file, line, f"neither profile, event nor blob: {to_json(data)[:60]}")
    elif isinstance(data.get("data"), dict | list) and "id" not in data:
        yield from _walk(file, line, data["data"], user, str(data.get("user_id") or owner))
    elif any(isinstance(data.get(name), list) for name in _LISTS):
        for name in _LISTS:
            yield from _walk(file, line, data.get(name) or [], user, str(data.get("user_id") or owner))
    else:
        yield from _thing(file, line, data, user or str(data.get("user_id") or owner))


def _thing(file: str, line: int | None, data: dict[str, Any], user: str) -> Iterator[Record | Skipped]:
    time = seconds(data.get("updated_at"))
    if time is None:
        time = seconds(data.get("created_at")) or 0.0
    if isinstance(data.get("event_data"), dict):
        yield _event(file, line, data, user, time)
    elif isinstance(data.get("gist_data"), dict):
        yield _profile(file, line, data, user, time, data["gist_data"].get("content"), {"topic": "event"})
    elif "blob_type" in data:
        yield from _blob(file, line, data, user, time)
    elif isinstance(data.get("content"), str):
        attributes: dict[str, Any] = data["attributes"] if isinstance(data.get("attributes"), dict) else data
        meta: dict[str, str] = {name: str(attributes[name]) for name in ("topic", "sub_topic") if name in attributes}
        yield _profile(file, line, data, user, time, data["content"], meta)
    elif data and all(isinstance(value, dict) for value in data.values()):
        yield from _by_topic(file, line, data, user)
    else:
        yield Skipped(file, line, f"neither profile, event nor blob: {to_json(data)[:60]}")


def _by_topic(file: str, line: int | None, data: dict[str, Any], user: str) -> Iterator[Record | Skipped]:
    """Read the client's ``profile(need_json=True)``: topic -> sub-topic -> entry."""
    for topic, entries in data.items():
        for sub_topic, entry in entries.items():
            named = {"topic": topic, "sub_topic": sub_topic}
            if isinstance(entry, dict) and isinstance(entry.get("content"), str):
                yield from _thing(file, line, {**entry, "attributes": named}, user)
            else:
                yield Skipped(file, line, f"{topic}/{sub_topic}: no content")


def _profile(
    file: str, line: int | None, data: dict[str, Any], user: str, time: float, text: Any, meta: dict[str, str]
) -> Record | Skipped:
    if not isinstance(text, str) or not text.strip():
        return Skipped(file, line, f"{data.get('id')}: no text")
    user = need_user(user, file)
    return make(
        file, line, user, text, time, kind="profile", source="memobase", meta=meta, key=str(data.get("id") or "")
    )


def _event(file: str, line: int | None, data: dict[str, Any], user: str, time: float) -> Record | Skipped:
    event = data["event_data"]
    deltas = [part for part in event.get("profile_delta") or [] if isinstance(part, dict)]
    text = event.get("event_tip") or "\n".join(str(part.get("content") or "") for part in deltas)
    tags = [part for part in event.get("event_tags") or [] if isinstance(part, dict)]
    meta = {"topic": "event"} | {f"tag:{part.get('tag')}": str(part.get("value")) for part in tags}
    return _profile(file, line, data, user, time, text, meta)


def _blob(file: str, line: int | None, data: dict[str, Any], user: str, time: float) -> Iterator[Record | Skipped]:
    kind, body = data["blob_type"], data.get("blob_data")
    text = body.get("content") or body.get("summary") if isinstance(body, dict) else None
    if isinstance(body, dict) and kind == "chat" and isinstance(body.get("messages"), list):
        yield from _chat(file, line, data, body["messages"], need_user(user, file), time)
    elif kind in ("doc", "summary", "code") and isinstance(text, str) and text.strip():
        fields = {"kind": "content", "source": "memobase", "meta": {"blob": kind}, "key": str(data.get("id") or "")}
        yield make(file, line, need_user(user, file), text, time, **fields)
    else:
        yield Skipped(file, line, f"blob {data.get('id')} of type {kind!r}: no text in it")


def _chat(
    file: str, line: int | None, data: dict[str, Any], messages: list[Any], user: str, time: float
) -> Iterator[Record | Skipped]:
    before = ""
    blob = str(data.get("id") or "")
    for index, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, str):
            yield Skipped(file, line, f"blob {blob}: message {index} has no text")
        elif message.get("role") != "user":
            before = f"{before}\n\n{content}".strip()
        else:
            moment = max(seconds(message.get("created_at")) or 0.0, time + index)
            meta, key = {"session": blob} if blob else {}, f"{blob}/{index}" if blob else ""
            yield make(
                file, line, user, content, moment, kind="dialogue", input=before, source="memobase", meta=meta, key=key
            )
            before = ""
