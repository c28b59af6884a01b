"""ChatGPT's data export: the zip, the folder it unpacks to, or its conversations.json."""

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
from idiolect.types import Record

_CONVERSATIONS = re.compile(r"(^|/)[^/]*conversations?[^/]*\.json$", re.IGNORECASE)
_SHARED = re.compile(r"shared_conversations\.json$")
_FENCE = re.compile(r"```(.*)```", re.DOTALL)
_ABOUT = {
    "user_profile": "about",
    "about_user_message": "about",
    "user_instructions": "style",
    "about_model_message": "style",
}
"""Field of the custom instructions -> what it is about."""


@source("chatgpt", files="ChatGPT data export: the zip, its folder or conversations.json")
@dataclass(frozen=True, slots=True)
class ChatGPT(Sized):
    """What a person typed to ChatGPT, each turn with the answer that stood before it."""

    def detect(self, path: Path) -> bool:
        """Return whether there is a conversations.json with message trees."""
        return has_keys(sniff_member(path, _CONVERSATIONS), "mapping")

    def read(self, path: Path, user: str | None = None, progress: Progress | None = None) -> Iterator[Record | Skipped]:
        """Yield a ``dialogue`` record for each turn of the user, and the custom instructions as ``profile``."""
        user = need_user(user, "a ChatGPT export")
        with members(path) as found:
            chosen = [member for member in found if _is_conversations(member, len(found))]
            meter = Meter(progress, sum(member.size for member in chosen))
            instructions: dict[tuple[str, str], float] = {}
            for member in chosen:
                for item in items(member, meter):
                    if isinstance(item, Skipped):
                        yield item
                    else:
                        yield from _conversation(member.label, *item, user, instructions)
            yield from _profile(path.name, user, instructions)
            yield from not_read(path.name, found, chosen)


def _is_conversations(member: Member, count: int) -> bool:
    named = _CONVERSATIONS.search(member.name) is not None and _SHARED.search(member.name) is None
    return named or count == 1


def not_read(file: str, found: list[Member], chosen: list[Member]) -> Iterator[Skipped]:
    """Say which files of an export hold nothing for us, in one line."""
    others = [member.name for member in found if member not in chosen]
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        yield Skipped(file, None, f"note: files without conversations were not read: {', '.join(others[:5])}{more}")


def _conversation(
    file: str, index: int, data: Any, user: str, instructions: dict[tuple[str, str], float]
) -> Iterator[Record | Skipped]:
    mapping = data.get("mapping") if isinstance(data, dict) else None
    if not isinstance(mapping, dict):
        yield Skipped(file, None, f"item {index}: not a conversation (no message tree)")
        return
    session = str(data.get("conversation_id") or data.get("id") or f"conversation-{index}")
    reasons: Counter[str] = Counter()
    branch = _branch(mapping, data.get("current_node"))
    _count_other_branches(mapping, branch, reasons)
    time = seconds(data.get("create_time")) or float(index)
    meta = {"session": session, "title": str(data.get("title") or "")}
    before: list[str] = []
    for node in branch:
        message = mapping[node]["message"]
        time = max(time, seconds(message.get("create_time")) or time)
        role, content = _role(message), message["content"]
        if content.get("content_type") == "user_editable_context" or "user_context_message_data" in _meta(message):
            _note_instructions(message, time, instructions)
        elif role == "assistant" and message.get("recipient", "all") == "all":
            before.append(_text(content, Counter()))
        elif role == "user" and not _meta(message).get("is_visually_hidden_from_conversation"):
            text = _text(content, reasons)
            if text:
                input = "\n\n".join(part for part in before if part)
                key = str(message.get("id") or node)
                yield make(
                    file, None, user, text, time, kind="dialogue", input=input, source="chatgpt", meta=meta, key=key
                )
            else:
                reasons["turn of the user without text"] += 1
            before = []
    yield from counted(file, f"conversation {session}", reasons)


def _branch(mapping: dict[str, Any], leaf: Any) -> list[str]:
    """Return the ids of the nodes with a message on the branch that was last shown, root first."""
    if leaf not in mapping:
        parents = {node.get("parent") for node in mapping.values() if isinstance(node, dict)}
        leaves = [name for name in mapping if name not in parents]
        leaf = max(leaves, key=lambda name: _node_time(mapping[name]), default=None)
    path: list[str] = []
    seen: set[str] = set()
    while leaf in mapping and leaf not in seen and isinstance(mapping[leaf], dict):
        seen.add(leaf)
        if _is_message(mapping[leaf].get("message")):
            path.append(leaf)
        leaf = mapping[leaf].get("parent")
    return path[::-1]


def _node_time(node: Any) -> float:
    message = node.get("message") if isinstance(node, dict) else None
    return (seconds(message.get("create_time")) or 0.0) if isinstance(message, dict) else -1.0


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and isinstance(message.get("content"), dict)


def _role(message: dict[str, Any]) -> str:
    author = message.get("author")
    return str(author.get("role")) if isinstance(author, dict) else ""


def _meta(message: dict[str, Any]) -> dict[str, Any]:
    meta = message.get("metadata")
    return meta if isinstance(meta, dict) else {}


def _count_other_branches(mapping: dict[str, Any], branch: list[str], reasons: Counter[str]) -> None:
    on_branch = set(branch)
    for name, node in mapping.items():
        message = node.get("message") if isinstance(node, dict) else None
        if name in on_branch or message is None:
            continue
        if not _is_message(message):
            reasons["message that cannot be read"] += 1
        elif _role(message) == "user":
            reasons["turn of the user on a branch that was left (edited or asked again)"] += 1


def _text(content: dict[str, Any], reasons: Counter[str]) -> str:
    """Return the text parts of a message joined by line ends; others are counted in ``reasons``."""
    if content.get("content_type") not in ("text", "multimodal_text", None):
        reasons[f"content of type {content.get('content_type')}"] += 1
        return ""
    parts = content.get("parts")
    texts = []
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("content_type") == "audio_transcription":
            texts.append(str(part.get("text") or ""))
        else:
            reasons[f"part of type {part.get('content_type') if isinstance(part, dict) else type(part).__name__}"] += 1
    return "\n".join(text for text in texts if text).strip()


def _note_instructions(message: dict[str, Any], time: float, found: dict[tuple[str, str], float]) -> None:
    """Remember the custom instructions, each text with the earliest time at which it was in force."""
    fields = {**message["content"], **(_meta(message).get("user_context_message_data") or {})}
    for name, topic in _ABOUT.items():
        value = fields.get(name)
        if isinstance(value, str) and value.strip():
            fenced = _FENCE.search(value)
            key = (topic, (fenced.group(1) if fenced else value).strip())
            if key[1]:
                found[key] = min(time, found.get(key, time))


def _profile(file: str, user: str, found: dict[tuple[str, str], float]) -> Iterator[Record | Skipped]:
    for (topic, text), time in sorted(found.items(), key=lambda item: item[1]):
        yield make(file, None, user, text, time, kind="profile", source="chatgpt", meta={"topic": topic})
