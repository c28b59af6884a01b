"""Consent: whose records may serve other people, and taking back what was made with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from idiolect.errors import InputError, NotFound
from idiolect.store import checkpoints
from idiolect.store.store import Store
from idiolect.types import EVERYONE, Artifact


def share(store: Store, user_id: str, on: bool) -> int:
    """Let a person's records serve others, or no longer; return how many artifacts went with the withdrawal.

    What was learnt with a withdrawn person's records is deleted wherever it lies: for everyone, and for other people.
    """
    if user_id == EVERYONE:
        raise InputError(f"{EVERYONE!r} stands for what was learnt from many people; it is no user")
    if store.key(user_id) is None:
        raise NotFound(f"no user {user_id!r}; see: idiolect users")
    store.set_about(user_id, shares=on)
    if on:
        return 0
    gone = take_back(store, user_id)
    store.rows.scrub()
    return gone


def shares(store: Store, user_id: str) -> bool:
    """Whether a person's records may serve others."""
    return bool(store.facts(user_id).get("shares", False))


def ever_shared(store: Store, user_id: str) -> bool:
    """Whether a person shares or once did; a withdrawal that was cut short may have left something behind."""
    return "shares" in store.facts(user_id)


def permitted(store: Store, artifacts: Iterable[Artifact]) -> Iterator[Artifact]:
    """Yield artifacts while all whose records shaped them still share.

    Learning takes time: who withdraws or is erased meanwhile must not come back with what is kept at its end.
    """
    for artifact in artifacts:
        if all(person == artifact.user_id or shares(store, person) for person in artifact.people):
            yield artifact


def held(store: Store, artifacts: Iterable[Artifact]) -> Iterator[Artifact]:
    """Yield artifacts whose owner is still there, with every record they rest on.

    Deleting takes what was learnt from a record; what is learnt at that very moment must not outlive it.
    """
    for artifact in artifacts:
        if artifact.user_id == EVERYONE or _has(store, artifact.user_id, set(artifact.record_ids)):
            yield artifact


def _has(store: Store, user_id: str, record_ids: set[str]) -> bool:
    key = store.key(user_id)
    if key is None:
        return False
    with store.rows.read() as tx:
        there = tx.user(key.uid) is not None
        return there and len(tx.find(key.uid, [key.mac(rid) for rid in record_ids])) == len(record_ids)


def sharing(store: Store) -> Iterator[str]:
    """Return the ids of all who share."""
    return (info.id for info in store.everybody() if info.shares)


def take_back(store: Store, user_id: str) -> int:
    """Delete every artifact of anybody else that a person's records shaped; return how many.

    Whose records shaped unfinished training is not known: all of it goes.
    """
    checkpoints.forget_all(store)
    owners = [info.id for info in store.everybody() if info.artifacts and info.id != user_id]
    return sum(_without(store, owner, user_id) for owner in (EVERYONE, *owners))


def _without(store: Store, owner: str, user_id: str) -> int:
    ids = [artifact.id for artifact in store.artifacts(owner) if user_id in artifact.people]
    return store.delete_artifacts(owner, ids) if ids else 0
