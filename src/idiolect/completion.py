"""What a backend answers, whole or piece by piece."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. ``raw`` is the backend's own OpenAI-shaped response where it made one."""

    text: str
    finish_reason: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    message: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed answer; the last one carries ``finish_reason`` and the token counts.

    ``raw`` is the backend's own OpenAI-shaped chunk where it made one.
    """

    text: str
    finish_reason: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    raw: Mapping[str, Any] | None = None
