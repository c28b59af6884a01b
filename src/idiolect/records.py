"""Records: what a user left behind, what happened to it since, and what a search found."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Kind = Literal["profile", "relation", "dialogue", "content", "interaction", "preference"]
"""The six kinds of personal data (survey arXiv 2502.11528, section 2)."""
KINDS: tuple[str, ...] = get_args(Kind)

_EMPTY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Record:
    """One thing a user left behind.

    ``time`` is in seconds since the epoch, UTC. ``input`` is what stood before the user (the other speaker's turn, the
    article, the question), ``output`` what the user said, wrote, chose or gave. ``id`` is sortable by time and derived
    from the content, so that the same record imported twice is one record.

    ``meta`` keys with a meaning to the store: ``session`` (a conversation or thread; neighbours are looked up in it)
    and ``speaker`` (who said ``output``, where that is not simply the user).
    """

    id: str
    user_id: str
    kind: Kind
    time: float
    input: str
    output: str
    source: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def new(
        user_id: str,
        output: str,
        *,
        time: float,
        kind: Kind = "content",
        input: str = "",
        source: str = "api",
        meta: Mapping[str, Any] = _EMPTY,
        key: str = "",
    ) -> Record:
        """Build a record with its content-derived id.

        ``key`` is the record's identity in its source (a message id, a file name and offset). Without one the
        identity is the content itself. Raises ``ValueError`` for an unknown ``kind`` or a time that is not finite.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown record kind {kind!r}; one of {', '.join(KINDS)}")
        if not -(2.0**40) < time < 2.0**40:
            raise ValueError(f"record time {time!r} is not a usable number of seconds since the epoch")
        rid = record_id(time, source, key, kind, input, output)
        return Record(rid, user_id, kind, time, input, output, source, dict(meta))

    @property
    def text(self) -> str:
        """What retrieval reads: input and output, the empty ones left out."""
        return "\n".join(part for part in (self.input, self.output) if part)


def record_id(time: float, source: str, key: str, kind: str, input: str, output: str) -> str:
    """Return 12 hex digits of time [ms, offset so that it is positive] and 20 of a content hash."""
    identity = (source, key) if key else (source, kind, input, output)
    digest = hashlib.blake2b("\x1f".join(identity).encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()
    return f"{round(time * 1000) + (1 << 46):012x}{digest}"


@dataclass(frozen=True, slots=True)
class State:
    """What has happened to a record since it was written; the record itself never changes.

    ``uses`` counts the answers that it entered, ``used`` is the time of the last one. ``sources`` are further records
    that say the same. From ``closed`` on it no longer holds, because of the record ``closed_by``. ``pinned`` ones are
    always in mind.
    """

    uses: int = 0
    used: float = 0.0
    sources: tuple[str, ...] = ()
    closed: float = math.inf
    closed_by: str = ""
    pinned: bool = False

    def holds(self, moment: float) -> bool:
        """Whether the record holds at a moment; an infinite moment is after every closing."""
        return self.closed > moment or math.isinf(self.closed)

    def merged(self, news: State) -> State:
        """Return the state after more has happened; the order does not matter, and the earliest closing stands."""
        first = self if self.closed <= news.closed else news
        return State(
            self.uses + news.uses, max(self.used, news.used), tuple(dict.fromkeys((*self.sources, *news.sources))),
            first.closed, first.closed_by, self.pinned or news.pinned,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person wants of their memory: topics that are not brought up, and words that are never to be kept."""

    muted: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """One record found for a query: the fused ``score`` and the ``parts`` it was made of."""

    record: Record
    score: float
    parts: Mapping[str, float] = field(default_factory=dict)


def holding(records: Iterable[Record], states: Mapping[str, State], moment: float) -> list[Record]:
    """Return the records that hold at a moment; one without a state has never been closed."""
    return [record for record in records if record.id not in states or states[record.id].holds(moment)]
