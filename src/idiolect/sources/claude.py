"""Claude's data export: the zip, the folder it unpacks to, or its conversations.json."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idiolect.registry import source
from idiolect.sources.archive import Member, items, members, sniff_member
from idiolect.sources.base import Meter, Progress, Sized, Skipped, counted, has_keys, make, need_user, seconds
from idiolect.sources.chatgpt import not_read
from idiolect.types import Record

_FILES = re.compile(r"(^|/)(conversations|memories|projects)([-_/][^/]*)?\.json$", re.IGNORECASE)
_KEYS = ("chat_messages", "conversations_memory", "prompt_template")


@source("claude", files="Claude data export: the zip, its folder or conversations.json")
@dataclass(frozen=True, slots=True)
class Claude(Sized):
    """What a person typed to Claude, what Claude keeps in memory of them, and their project instructions."""

    def detect(self, path: Path) -> bool:
        """Return whether one of its files looks like Claude's."""
        head = sniff_member(path, re.compile(r"(^|/)conversations[^/]*\.json$")) or sniff_member(path, _FILES)
        return any(has_keys(head, key) for key in _KEYS)

    def read(self, path: Path, user: str | None = None, progress: Progress | None = None) -> Iterator[Record | Skipped]:
        """Yield a ``dialogue`` record for each turn of the user, memories and project instructions as ``profile``."""
        user = need_user(user, "a Claude export")
        with members(path) as found:
            chosen = [member for member in found if len(found) == 1 or _FILES.search(member.name)]
            meter = Meter(progress, sum(member.size for member in chosen))
            for member in chosen:
                yield from _member(member, meter, user)
            yield from not_read(path.name, found, chosen)


def _member(member: Member, meter: Meter, user: str) -> Iterator[Record | Skipped]:
    for item in items(member, meter):
        if isinstance(item, Skipped):
            yield item
            continue
        index, data = item
        if not isinstance(data, dict):
            yield Skipped(member.label, None, f"item {index}: neither conversation, memory nor project")
        elif isinstance(data.get("chat_messages"), list):
            yield from _conversation(member.label, index, data, user)
        elif "conversations_memory" in data or "project_memories" in data:
            yield from _memories(member.label, index, data, user)
        elif "prompt_template" in data or "docs" in data:
            yield from _project(member.label, index, data, user)
        else:
            yield Skipped(member.label, None, f"item {index}: neither conversation, memory nor project")


def _conversation(file: str, index: int, data: dict[str, Any], user: str) -> Iterator[Record | Skipped]:
    session = str(data.get("uuid") or f"conversation-{index}")
    meta = {"session": session, "title": str(data.get("name") or "")}
    reasons: Counter[str] = Counter()
    time = seconds(data.get("created_at")) or float(index)
    before: list[str] = []
    for message in _branch(data, reasons):
        time = max(time, seconds(message.get("created_at")) or time)
        if message.get("sender") == "assistant":
            before.append(_text(message, Counter()))
        elif message.get("sender") == "human":
            text = _text(message, reasons)
            if text:
                input = "\n\n".join(part for part in before if part)
                key = str(message.get("uuid") or "")
                yield make(
                    file, None, user, text, time, kind="dialogue", input=input, source="claude", meta=meta, key=key
                )
            else:
                reasons["turn of the user without text"] += 1
            before = []
        else:
            reasons[f"message of sender {message.get('sender')!r:.40}"] += 1
    yield from counted(file, f"conversation {session}", reasons)


def _branch(data: dict[str, Any], reasons: Counter[str]) -> list[dict[str, Any]]:
    """Return the messages in order; where some were edited, those of the branch that was last shown."""
    messages = [message for message in data["chat_messages"] if isinstance(message, dict)]
    unreadable = len(data["chat_messages"]) - len(messages)
    if unreadable:
        reasons["message that cannot be read"] += unreadable
    by_id = {message["uuid"]: message for message in messages if isinstance(message.get("uuid"), str)}
    parents = [message.get("parent_message_uuid") for message in messages]
    parents = [parent for parent in parents if isinstance(parent, str)]
    if len(set(parents)) == len(parents) or not messages:
        return messages
    leaf = by_id.get(str(data.get("current_leaf_message_uuid")), messages[-1])
    path: list[dict[str, Any]] = []
    on_path: set[int] = set()
    step: dict[str, Any] | None = leaf
    while step is not None and id(step) not in on_path:
        path.append(step)
        on_path.add(id(step))
        step = by_id.get(str(step.get("parent_message_uuid")))
    left = sum(message.get("sender") == "human" and id(message) not in on_path for message in messages)
    if left:
        reasons["turn of the user on a branch that was left (edited or asked again)"] += left
    return path[::-1]


def _text(message: dict[str, Any], reasons: Counter[str]) -> str:
    """Return the text blocks of a message; attachments, files and other blocks are counted in ``reasons``."""
    for name in ("attachments", "files"):
        if message.get(name):
            reasons[f"entry of {name}"] += len(message[name])
    content = message.get("content")
    if not isinstance(content, list) or not content:
        return str(message.get("text") or "").strip()
    texts = []
    for block in content:
        if isinstance(block, dict) and isinstance(block.get("text"), str):
            texts.append(block["text"])
        else:
            reasons[f"block of type {block.get('type') if isinstance(block, dict) else type(block).__name__}"] += 1
    return "\n\n".join(text for text in texts if text).strip()


def _memories(file: str, index: int, data: dict[str, Any], user: str) -> Iterator[Record | Skipped]:
    """Claude's own notes about the person; they have no date, so they stand at the epoch, before everything."""
    texts = {"": data.get("conversations_memory")}
    projects = data.get("project_memories")
    texts |= projects if isinstance(projects, dict) else {}
    for project, text in texts.items():
        if isinstance(text, str) and text.strip():
            meta = {"topic": "memory", "project": project} if project else {"topic": "memory"}
            yield make(file, None, user, text.strip(), float(index), kind="profile", source="claude", meta=meta)
        elif text:
            yield Skipped(file, None, f"item {index}: a memory that is not text")


def _project(file: str, index: int, data: dict[str, Any], user: str) -> Iterator[Record | Skipped]:
    text = data.get("prompt_template")
    if isinstance(text, str) and text.strip():
        time = seconds(data.get("updated_at")) or seconds(data.get("created_at")) or float(index)
        meta = {
            "topic": "project instructions",
            "project": str(data.get("uuid") or ""),
            "title": str(data.get("name") or ""),
        }
        yield make(file, None, user, text.strip(), time, kind="profile", source="claude", meta=meta)
    if data.get("docs"):
        reason = f"project {data.get('name')!r:.60}: {len(data['docs'])} documents (uploads, not own words)"
        yield Skipped(file, None, reason)
