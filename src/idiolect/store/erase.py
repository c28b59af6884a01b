"""Removing a person: the key first, then every row, then a receipt that says what was there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from idiolect.errors import NotFound
from idiolect.store import bodies, checkpoints
from idiolect.store.sharing import ever_shared, take_back
from idiolect.store.store import Store


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of an erasure; it names no one and holds nothing of what was erased."""

    subject: str
    """Keyed hash of the user id: whoever knows the id and holds the master key can check it."""
    time: str
    removed: Mapping[str, int]
    key_destroyed: bool
    signature: str

    def as_json(self) -> dict[str, Any]:
        """Return a plain mapping."""
        return asdict(self)


def erase(store: Store, user_id: str, now: float) -> Receipt:
    """Take back what was made with their records for others, destroy the user's data key, then delete every row.

    The order matters: from the moment the key is gone, all that is left anywhere, backups included, is noise. A
    process killed in between leaves rows that nobody can read; running erase again, or :func:`sweep`, removes them.
    """
    key = store.key(user_id)
    if key is None:
        raise NotFound(f"no user {user_id!r}; nothing to erase. See: idiolect users")
    derived = take_back(store, user_id) if ever_shared(store, user_id) else 0
    weights = bodies.weights_among(store.artifacts(user_id))
    store.drop_cached(user_id)
    destroyed = store.keyring.destroy(user_id)
    store.dropped(weights)
    unfinished = checkpoints.forget(store, key)
    with store.rows.write() as tx:
        removed = tx.drop(key.uid)
    store.rows.scrub()
    if unfinished:
        removed["checkpoints"] = unfinished
    if derived:
        removed["learnt_with_others"] = derived
    body = {
        "subject": store.keyring.sign(b"subject " + user_id.encode("utf-8", "surrogatepass")),
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        "removed": removed,
        "key_destroyed": destroyed,
    }
    signature = store.keyring.sign(orjson.dumps(body, option=orjson.OPT_SORT_KEYS))
    return Receipt(**body, signature=signature)  # type: ignore[arg-type]


def verify(store: Store, receipt: Mapping[str, Any]) -> bool:
    """Whether a receipt was made by the holder of this store's master key and is unchanged."""
    body = {name: receipt[name] for name in ("subject", "time", "removed", "key_destroyed")}
    return bool(store.keyring.sign(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)) == receipt["signature"])


def sweep(store: Store) -> int:
    """Delete the rows of users whose key is gone (an erase that was killed half-way); return how many users."""
    swept, after = 0, 0
    while uids := store.rows.uids(after):
        for uid in uids:
            if store.keyring.by_uid(uid) is None:
                with store.rows.write() as tx:
                    tx.drop(uid)
                swept += 1
        after = uids[-1]
    return swept
