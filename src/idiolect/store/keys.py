"""Envelope encryption: a master key wraps one data key per user, kept in a keyring file apart from the data.

Erasing a user destroys the data key first; from then on every copy of the data, backups included, is noise for that
user. User names are looked up by a keyed hash, so neither file shows who is in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from idiolect.errors import ConfigError, StoreBusy, StoreCorrupt, WrongMasterKey
from idiolect.store.sqlite import connect, translated

_NONCE = 12
_CHECK = b"idiolect keyring 1"
_REMEMBERED = 1 << 16  # unwrapped keys held in memory
_ATTEMPTS = 5


class Box:
    """AES-256-GCM under one key; the place a cell lies in is authenticated with it, so cells cannot be swapped."""

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, data: bytes, place: bytes) -> bytes:
        """Return nonce, ciphertext and tag."""
        nonce = os.urandom(_NONCE)
        return nonce + self._aead.encrypt(nonce, data, place)

    def open(self, cell: bytes, place: bytes) -> bytes:
        """Return the plain bytes; :class:`StoreCorrupt` where the cell does not verify."""
        try:
            return self._aead.decrypt(cell[:_NONCE], cell[_NONCE:], place)
        except (InvalidTag, ValueError) as error:
            raise StoreCorrupt(
                f"a sealed cell of {len(cell)} bytes does not verify: the data file is damaged or was mixed with "
                "another one. Restore it from a backup; other users are not affected."
            ) from error


@dataclass(frozen=True, slots=True)
class MasterKey:
    """Where the 32-byte master key comes from: ``file:PATH``, ``env:NAME`` or ``prompt``."""

    source: str
    ask: Callable[[str], str] | None = None
    """Asks a person for the passphrase; needed for ``prompt``."""

    def read(self, salt: bytes, *, create: bool) -> bytes:
        """Return the key; ``create`` allows a new key file to be written (mode 600)."""
        scheme, _, rest = self.source.partition(":")
        if scheme == "file":
            return _file_key(Path(rest).expanduser(), create)
        if scheme == "env":
            return _env_key(rest)
        if scheme == "prompt":
            return self._prompt(salt)
        raise ConfigError(f"master_key {self.source!r} is not one of file:PATH, env:NAME, prompt")

    def _prompt(self, salt: bytes) -> bytes:
        from argon2.low_level import Type, hash_secret_raw

        if self.ask is None:
            raise ConfigError("master_key is 'prompt' but nobody can be asked here; use file:PATH or env:NAME")
        secret = self.ask("Passphrase of the idiolect store: ").encode()
        # RFC 9106, second recommended option: 64 MiB, 3 passes, 4 lanes.
        return hash_secret_raw(secret, salt, time_cost=3, memory_cost=65536, parallelism=4, hash_len=32, type=Type.ID)


def _file_key(path: Path, create: bool) -> bytes:
    if not path.exists():
        if not create:
            raise WrongMasterKey(
                f"the master key file {path} is missing but the keyring is not empty. Put the file back (from your "
                "backup of it), or set master_key to where the key is now."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # another process was first: its key counts
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
    return _decode_key(path.read_text("utf-8", "replace"), f"file {path}")


def _env_key(name: str) -> bytes:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(f"master_key is env:{name}, but the environment variable {name} is not set")
    return _decode_key(value, f"environment variable {name}")


def _decode_key(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ConfigError(f"the master key in {where} is not 64 hexadecimal digits (make one: openssl rand -hex 32)")
    return key


@dataclass(frozen=True, slots=True)
class DataKey:
    """One user's key and number."""

    uid: int
    box: Box
    macs: bytes
    """Key of the hashes by which this user's records are looked up."""

    def mac(self, text: str) -> bytes:
        """Return the 12-byte keyed hash of a record id."""
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self.macs, digest_size=12).digest()


class Keyring:
    """The file of wrapped data keys. Safe to use from several threads and processes."""

    def __init__(self, path: Path, master: MasterKey) -> None:
        self.path = path
        self._local = threading.local()
        self._known: dict[str, DataKey] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._write() as db:
            self._master = self._unlock(db, master)
        self._box = Box(self._derive(b"wrap"))
        self._names = self._derive(b"names")

    def _db(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            # A rollback journal that is truncated, and deleted bytes overwritten: no wrapped key outlives its row.
            db = connect(self.path, journal="TRUNCATE")
            db.execute("PRAGMA secure_delete=ON")
            db.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
            db.execute(
                "CREATE TABLE IF NOT EXISTS key "
                "(uid INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL UNIQUE, wrapped BLOB NOT NULL)"
            )
            self._local.db = db
        return db

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with translated(self.path):
            db = self._db()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.rollback()
                raise
            db.commit()

    def _unlock(self, db: sqlite3.Connection, master: MasterKey) -> bytes:
        meta = dict(db.execute("SELECT name, value FROM meta").fetchall())
        salt = meta.get("salt") or secrets.token_bytes(16)
        key = master.read(salt, create="check" not in meta)
        check = hmac.digest(key, _CHECK, "sha256")
        if "check" not in meta:
            db.executemany("INSERT INTO meta VALUES (?, ?)", [("salt", salt), ("check", check)])
        elif not hmac.compare_digest(meta["check"], check):
            raise WrongMasterKey(
                f"the master key from {master.source} does not open {self.path}. Nothing was changed. "
                "Give the key this keyring was made with (setting master_key)."
            )
        return key

    def _derive(self, purpose: bytes) -> bytes:
        return hmac.digest(self._master, b"idiolect " + purpose, "sha256")

    def _name(self, user_id: str) -> bytes:
        return hmac.digest(self._names, user_id.encode("utf-8", "surrogatepass"), "sha256")[:16]

    def _unwrap(self, uid: int, name: bytes, wrapped: bytes) -> DataKey:
        key = self._box.open(wrapped, b"%d|%s" % (uid, name))
        return DataKey(uid, Box(key), hmac.digest(key, b"record ids", "sha256"))

    def get(self, user_id: str) -> DataKey | None:
        """Return a user's key, or ``None`` for a user who is not known."""
        known = self._known.get(user_id)
        if known is not None:
            return known
        name = self._name(user_id)
        with translated(self.path):
            row = self._db().execute("SELECT uid, wrapped FROM key WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        key = self._unwrap(row[0], name, row[1])
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[user_id] = key
        return key

    def by_uid(self, uid: int) -> DataKey | None:
        """Return the key of a user by number."""
        with translated(self.path):
            row = self._db().execute("SELECT name, wrapped FROM key WHERE uid = ?", (uid,)).fetchone()
        return None if row is None else self._unwrap(uid, row[0], row[1])

    def ensure(self, user_ids: Iterable[str]) -> list[DataKey]:
        """Return the users' keys, making those that do not exist; durable when this returns."""
        wanted = list(user_ids)
        for _ in range(_ATTEMPTS):
            found = [self.get(user_id) for user_id in wanted]
            keys = [key for key in found if key is not None]
            if len(keys) == len(wanted):
                return keys
            with self._write() as db:
                for user_id, key in zip(wanted, found, strict=True):
                    if key is None:
                        self._create(db, user_id)
        raise StoreBusy(f"a user is erased as fast as records are added to {self.path}; nothing was written")

    def _create(self, db: sqlite3.Connection, user_id: str) -> None:
        name = self._name(user_id)
        # The row is made first: the number it gets is authenticated with the wrapped key.
        cursor = db.execute("INSERT OR IGNORE INTO key (name, wrapped) VALUES (?, x'')", (name,))
        if cursor.rowcount:
            uid = int(cursor.lastrowid or 0)
            wrapped = self._box.seal(secrets.token_bytes(32), b"%d|%s" % (uid, name))
            db.execute("UPDATE key SET wrapped = ? WHERE uid = ?", (wrapped, uid))

    def forget(self, user_id: str) -> None:
        """Drop a cached key; the next look-up reads the file."""
        self._known.pop(user_id, None)

    def destroy(self, user_id: str) -> bool:
        """Delete a user's key for good; false where there was none."""
        self.forget(user_id)
        with self._write() as db:
            return db.execute("DELETE FROM key WHERE name = ?", (self._name(user_id),)).rowcount > 0

    def uids(self, after: int = 0, limit: int = 1000) -> list[int]:
        """User numbers in rising order, for paging."""
        with translated(self.path):
            rows = self._db().execute("SELECT uid FROM key WHERE uid > ? ORDER BY uid LIMIT ?", (after, limit))
            return [row[0] for row in rows]

    def sign(self, data: bytes) -> str:
        """Return a hex HMAC under a key derived from the master key; receipts carry it."""
        return hmac.digest(self._derive(b"receipts"), data, "sha256").hex()

    def close(self) -> None:
        """Close this thread's connection and forget all keys."""
        self._known.clear()
        db = getattr(self._local, "db", None)
        if db is not None:
            db.close()
            self._local.db = None
