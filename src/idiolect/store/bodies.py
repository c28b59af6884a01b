"""Large content of artifacts (weights), kept apart from what every request reads of them.

A body is one cell with its artifact's number. Cutting it into several gains nothing: 10 MB are written in 0.1 s and
read in 0.03 s either way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from idiolect.errors import InputError, NotFound, RecordTooLarge, StoreCorrupt
from idiolect.store import cells
from idiolect.store.rows import Plane
from idiolect.store.sealed import SealedReader, SealedWriter
from idiolect.types import Artifact, Body

if TYPE_CHECKING:
    from idiolect.store.store import Store

LARGEST = 512 << 20
"""Bytes of a body; one cell holds twice as many at most."""


def fetched(artifact: Artifact) -> Artifact:
    """Return an artifact whose body is in memory; before a transaction, as the body may come from this very store."""
    if artifact.body is None:
        return artifact
    if artifact.body.size > LARGEST:
        raise RecordTooLarge(f"artifact {artifact.id} has {artifact.body.size:,} bytes; the limit is {LARGEST:,}")
    body = Body.of(artifact.body.read())
    if body != artifact.body:
        raise InputError(f"the body of artifact {artifact.id} is not what its digest says; it was not kept")
    return replace(artifact, body=body)


def put(own: SealedWriter, number: int, artifact: Artifact) -> None:
    """Write an artifact of :func:`fetched` under a number."""
    own.put(Plane.ARTIFACT, [(number, cells.dump_artifact(artifact))])
    if artifact.body is not None:
        own.put(Plane.BODY, [(number, artifact.body.read())])


def drop(own: SealedWriter, numbers: Iterable[int]) -> None:
    """Delete artifacts with their bodies."""
    gone = list(numbers)
    own.delete(Plane.ARTIFACT, gone)
    own.delete(Plane.BODY, gone)


def load(store: Store, cells_of: SealedReader, user_id: str) -> list[tuple[int, Artifact]]:
    """Return a user's artifacts with their numbers, the oldest first; what their bodies hold is read when asked for."""
    uid = cells_of.key.uid
    return [
        (number, _with_body(store, uid, number, cells.load_artifact(data, user_id)))
        for number, data in cells_of.all(Plane.ARTIFACT)
    ]


def weights_among(artifacts: Iterable[Artifact]) -> list[str]:
    """Return the ids of those that have a body."""
    return [artifact.id for artifact in artifacts if artifact.body is not None]


def _with_body(store: Store, uid: int, number: int, artifact: Artifact) -> Artifact:
    if artifact.body is None:
        return artifact
    user_id, name, digest, size = artifact.user_id, artifact.id, artifact.body.digest, artifact.body.size
    return replace(artifact, body=Body(digest, size, lambda: _read(store, user_id, uid, number, name, digest)))


def _read(store: Store, user_id: str, uid: int, number: int, name: str, digest: str) -> bytes:
    key, data = store.key(user_id), None
    if key is not None and key.uid == uid:
        with store.rows.read() as tx:
            data = SealedReader(tx, key).get(Plane.BODY, number)
    if data is None:
        raise NotFound(f"the weights of artifact {name} are gone: it was deleted since it was listed")
    if Body.of(data).digest != digest:
        raise StoreCorrupt(f"the weights of artifact {name} are not those that were kept. Delete it and learn it anew.")
    return data
