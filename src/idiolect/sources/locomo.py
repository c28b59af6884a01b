"""LoCoMo: very long conversations between two people, over many sessions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from idiolect.registry import source
from idiolect.sources.archive import items, members
from idiolect.sources.base import Meter, Progress, Sized, Skipped, has_keys, make, path_size, sniff
from idiolect.types import Record

_SESSION = re.compile(r"session_(\d+)")


@source("locomo", files="LoCoMo conversations (locomo10.json)")
@dataclass(frozen=True, slots=True)
class LoCoMo(Sized):
    """LoCoMo: one user for each conversation, one record for each turn of either speaker."""

    def detect(self, path: Path) -> bool:
        """Return whether the file begins with LoCoMo's questions or turns."""
        head = sniff(path)
        return has_keys(head, "dia_id") or has_keys(head, "qa", "question", "evidence", "category")

    def read(self, path: Path, user: str | None = None, progress: Progress | None = None) -> Iterator[Record | Skipped]:
        """Yield the turns, session by session; a session's turns are one second apart."""
        meter = Meter(progress, path_size(path))
        with members(path) as found:
            for member in found:
                for item in items(member, meter):
                    if isinstance(item, Skipped):
                        yield item
                    else:
                        yield from _conversation(member.label, *item, user)


def _conversation(file: str, index: int, data: Any, user: str | None) -> Iterator[Record | Skipped]:
    talk = data.get("conversation") if isinstance(data, dict) else None
    if not isinstance(talk, dict):
        yield Skipped(file, None, f"item {index}: no conversation in it")
        return
    sample = str(data.get("sample_id") or f"sample-{index}")
    numbers = sorted(int(match[1]) for name in talk if (match := _SESSION.fullmatch(name)))
    time = 0.0
    for number in numbers:
        session = f"session_{number}"
        turns, date = talk[session], talk.get(f"{session}_date_time")
        start = _start(date)
        if start is None:
            yield Skipped(file, None, f"note: {sample} {session}: no date in {date!r}; placed after the session before")
        time = time + 1 if start is None else start
        if not isinstance(turns, list):
            yield Skipped(file, None, f"{sample} {session}: not a list of turns")
            continue
        for turn in turns:
            yield _turn(file, f"{sample} {session}", turn, user or sample, time, f"{sample}/", session)
            time += 1


def _turn(file: str, where: str, turn: Any, user: str, time: float, prefix: str, session: str) -> Record | Skipped:
    if not isinstance(turn, dict) or not isinstance(turn.get("text"), str) or not turn["text"].strip():
        return Skipped(file, None, f"{where}: a turn without text")
    dia_id = str(turn.get("dia_id") or "")
    meta = {"speaker": str(turn.get("speaker") or ""), "session": session, "dia_id": dia_id}
    if isinstance(turn.get("blip_caption"), str):
        meta["caption"] = turn["blip_caption"]
    key = prefix + dia_id if dia_id else ""
    return make(file, None, user, turn["text"], time, kind="dialogue", source="locomo", meta=meta, key=key)


def _start(date: object) -> float | None:
    """Return seconds since the epoch of "1:56 pm on 8 May, 2023" (taken as UTC), or None."""
    try:
        return datetime.strptime(str(date).strip(), "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
