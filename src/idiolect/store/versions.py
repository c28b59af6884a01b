"""How many versions of what a method learnt are kept: the newest, so that one can go back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from idiolect.store import bodies
from idiolect.store.keys import DataKey
from idiolect.store.rows import UserRow, Writer
from idiolect.store.sealed import SealedWriter
from idiolect.types import EVERYONE, Artifact

if TYPE_CHECKING:
    from idiolect.store.store import Store

VERSIONS_KEPT = 20
"""Artifacts of one method with the same settings; the oldest beyond that go."""
VERSIONS_OF_LARGE, LARGE = 2, 32 << 10
"""The same for artifacts of more than so many bytes, or learnt from many people: every request reads them."""
VERSIONS_OF_WEIGHTS = 3
"""The same for artifacts with a body."""


def put(store: Store, tx: Writer, key: DataKey, row: UserRow, artifact: Artifact) -> list[str] | None:
    """Write an artifact; return the ids of old versions with weights that went, ``None`` where it was there already."""
    own = SealedWriter(tx, key)
    there = bodies.load(store, own, artifact.user_id)
    if any(old.id == artifact.id for _, old in there):
        return None
    alike = [(n, old) for n, old in there if lineage(old) == lineage(artifact)]
    gone = dict(alike[: max(0, len(alike) + 1 - _most(artifact))])
    bodies.drop(own, gone)
    bodies.put(own, row.artifacts, artifact)
    tx.put_user(replace(row, version=row.version + 1, artifacts=row.artifacts + 1))
    return bodies.weights_among(gone.values())


def lineage(artifact: Artifact) -> tuple[str, str, str, bytes]:
    """Return what the versions of one thing have in common; settings that were read back hold lists for tuples."""
    return artifact.user_id, artifact.kind, artifact.method, _plain(artifact.settings)


def _plain(settings: Mapping[str, Any]) -> bytes:
    return orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)


def _most(artifact: Artifact) -> int:
    if artifact.body is not None:
        return VERSIONS_OF_WEIGHTS
    large = artifact.user_id == EVERYONE or len(artifact.payload) > LARGE
    return VERSIONS_OF_LARGE if large else VERSIONS_KEPT
