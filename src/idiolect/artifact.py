"""What a method learnt, as it is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_EMPTY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Body:
    """Large content of an artifact (weights): ``read`` fetches it, so that whoever does not need it does not load it.

    Bodies with the same ``digest`` are equal; ``size`` is in bytes.
    """

    digest: str
    size: int = field(compare=False)
    read: Callable[[], bytes] = field(compare=False, repr=False)

    @staticmethod
    def of(data: bytes) -> Body:
        """Return a body that is in memory already."""
        return Body(hashlib.blake2b(data, digest_size=16).hexdigest(), len(data), lambda: data)


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a method learnt about one user; immutable, its ``id`` is the hash of its content.

    ``record_ids`` says what it came from: an artifact is stale once one of them is gone. ``people`` are the ids of the
    others whose records shaped it: it goes when one of them is erased or no longer shares. ``scores`` holds what the
    gate measured. What is small stands in ``payload``, which every request of the person may read; weights are the
    ``body``.
    """

    id: str
    user_id: str
    kind: str
    method: str
    settings: Mapping[str, Any]
    payload: bytes
    record_ids: tuple[str, ...]
    time: float
    base_model: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    people: tuple[str, ...] = ()
    body: Body | None = None

    @staticmethod
    def new(
        user_id: str,
        kind: str,
        *,
        method: str,
        payload: bytes,
        record_ids: Iterable[str],
        time: float,
        settings: Mapping[str, Any] = _EMPTY,
        base_model: str = "",
        scores: Mapping[str, float] = _EMPTY,
        people: Iterable[str] = (),
        body: Body | None = None,
    ) -> Artifact:
        """Build an artifact with its content-derived id."""
        ids, others = tuple(record_ids), tuple(sorted(set(people)))
        digest = hashlib.blake2b(digest_size=16)
        for part in (user_id, kind, method, repr(sorted(settings.items())), base_model, repr(time), *ids, *others):
            digest.update(part.encode("utf-8", "surrogatepass") + b"\x1f")
        digest.update(payload)
        if body is not None:
            digest.update(b"\x1f" + body.digest.encode())
        return Artifact(
            digest.hexdigest(), user_id, kind, method, dict(settings), payload, ids, time, base_model, dict(scores),
            others, body,
        )  # fmt: skip
