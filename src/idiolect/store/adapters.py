"""A person's adapters: what there is, which version serves, and going back to an earlier one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from idiolect.errors import InputError, NotFound
from idiolect.store.store import Store
from idiolect.store.versions import lineage
from idiolect.types import EVERYONE, Artifact, Body

KIND, LESSON = "adapter", "adapter_lesson"


@dataclass(frozen=True, slots=True)
class Kept:
    """An adapter; ``newest`` of its versions it serves. Another method, setting or model is another adapter."""

    artifact: Artifact
    newest: bool
    refused: int = 0
    """So many updates of it were tried and do not serve: they foresaw the newest records worse."""

    @property
    def body(self) -> Body:
        """Its weights."""
        assert self.artifact.body is not None, "an adapter has a body"
        return self.artifact.body

    @property
    def head(self) -> Mapping[str, Any]:
        """What the method wrote down beside the weights; nothing where that is no table."""
        return _table(self.artifact)

    def about(self) -> dict[str, Any]:
        """Return what is known of it without reading the weights, as a JSON value; others are counted, not named."""
        one = self.artifact
        return {
            "id": one.id, "user": one.user_id, "method": one.method, "settings": dict(one.settings), "time": one.time,
            "records": len(one.record_ids), "people": len(set(one.people) - {one.user_id}),
            "base_model": one.base_model, "rank": _rank(one), "bytes": self.body.size,
            "scores": dict(one.scores), "newest": self.newest, "refused": self.refused,
            **{name: self.head[name] for name in ("from", "new", "replayed", "moved") if name in self.head},
        }  # fmt: skip


def adapters(store: Store, user_id: str) -> list[Kept]:
    """Return a user's adapters, the newest first."""
    found, seen = list[Kept](), set[Any]()
    known = store.artifacts(user_id)
    refused = Counter(str(_table(a)["from"]) for a in known if a.kind == LESSON and not _table(a)["served"])
    for artifact in known:
        if artifact.kind == KIND and artifact.body is not None:
            found.append(Kept(artifact, _versions_of(artifact) not in seen, refused[artifact.id]))
            seen.add(_versions_of(artifact))
    return found


def everybodys(store: Store) -> list[Kept]:
    """Return the adapters of all users, then those that were learnt for everyone."""
    names = [*(info.id for info in store.everybody() if info.artifacts), EVERYONE]
    return [kept for name in names for kept in adapters(store, name)]


def one_of(known: Sequence[Kept], beginning: str) -> Kept:
    """Return the adapter whose id begins so; :class:`NotFound` or :class:`InputError` where it is not one."""
    found = [kept for kept in known if beginning and kept.artifact.id.startswith(beginning)]
    if not found:
        raise NotFound(f"no adapter {beginning!r}; see: idiolect adapters --all")
    if len(found) > 1:
        raise InputError(f"{len(found)} adapters begin with {beginning!r}; give more digits")
    return found[0]


def earlier(known: Sequence[Kept]) -> Kept:
    """Return the version before the newest, where one adapter alone has several versions."""
    found = [kept for kept in known if [one.newest for one in newer_than(known, kept)] == [True]]
    if not found:
        raise NotFound("there is no earlier version to go back to; see: idiolect adapters USER")
    if len(found) > 1:
        raise InputError(f"{len(found)} adapters have earlier versions; name the one to go back to with --to ID")
    return found[0]


def newer_than(known: Sequence[Kept], kept: Kept) -> list[Kept]:
    """Return the newer versions of the same adapter, the newest first."""
    alike = [one for one in known if _versions_of(one.artifact) == _versions_of(kept.artifact)]
    return alike[: alike.index(kept)]


def _versions_of(artifact: Artifact) -> tuple[Any, ...]:
    return *lineage(artifact), artifact.base_model


def _rank(artifact: Artifact) -> int | None:
    """Return the rank that the method wrote down, in what it learnt or in its settings."""
    said = _table(artifact).get("rank")
    rank = artifact.settings.get("rank") if said is None else said
    return rank if isinstance(rank, int) else None


def _table(artifact: Artifact) -> Mapping[str, Any]:
    try:
        payload = orjson.loads(artifact.payload)
    except orjson.JSONDecodeError:
        return {}
    return payload if isinstance(payload, dict) else {}
