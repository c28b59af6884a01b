"""The SQLite driver: one file in write-ahead-log mode, one connection a thread, numbered migrations."""

from __future__ import annotations

import contextlib
import logging
import random
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

from idiolect.errors import StoreBusy, StoreCorrupt, StoreError, StoreFull
from idiolect.store.rows import MAX_NUMBER, Job, Plane, UserRow

BUSY_SECONDS = 30.0

log = logging.getLogger("idiolect")

_AT_ONCE = 256  # parameters of one statement
_COLUMNS = tuple(field.name for field in fields(UserRow))
_values = attrgetter(*_COLUMNS)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (  # 1
        "CREATE TABLE user (uid INTEGER PRIMARY KEY, version INTEGER, epoch INTEGER, items INTEGER, tail INTEGER,"
        " live INTEGER, artifacts INTEGER, traces INTEGER, about BLOB)",
        "CREATE TABLE cell (address INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE ident (uid INTEGER, mac BLOB, number INTEGER, PRIMARY KEY (uid, mac)) WITHOUT ROWID",
        "CREATE TABLE trace (id BLOB PRIMARY KEY, uid INTEGER, number INTEGER) WITHOUT ROWID",
        "CREATE INDEX trace_of_user ON trace (uid, number)",
    ),
    (  # 2
        "CREATE TABLE job (id INTEGER PRIMARY KEY AUTOINCREMENT, uid INTEGER, due REAL, tries INTEGER, held REAL)",
        "CREATE INDEX job_of_user ON job (uid)",
    ),
)
"""Statements of each schema version in order; never edited once released, only added to."""


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, with what to do next."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _translate(error, path) from error


def _translate(error: sqlite3.DatabaseError, path: Path) -> StoreError:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL") or "disk is full" in str(error):
        return StoreFull(f"no room left on the disk of {path}; nothing was written. Free some space and try again.")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreBusy(f"{path} was locked by another process for over {BUSY_SECONDS:.0f} s. Try again.")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreCorrupt(
            f"{path} is damaged ({error}). Stop all processes, keep a copy of the file, and restore a backup or run: "
            f"sqlite3 {path.name} .recover"
        )
    if name.startswith("SQLITE_IOERR"):
        return StoreFull(f"{path} could not be written or read ({error}); nothing was changed. Check disk and quota.")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StoreError(f"{path} cannot be opened for writing ({error}). Check the folder and its permissions.")
    return StoreError(f"{path}: {error}")


def connect(path: Path, *, journal: str) -> sqlite3.Connection:
    """Open a file so that a commit survives a power cut."""
    with translated(path):
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA page_size=8192")
        db.execute(f"PRAGMA journal_mode={journal}")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA cache_size=-16000")
        db.execute("PRAGMA secure_delete=ON")
    return db


def _begin_writing(db: sqlite3.Connection) -> None:
    """Wait for the write lock at short, uneven intervals.

    SQLite's own waiting backs off to 100 ms, and a process that writes without pause then keeps all others out.
    """
    until = time.monotonic() + BUSY_SECONDS
    db.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                    raise
            time.sleep(random.uniform(0.0002, 0.001))
    finally:
        db.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")


def _address(uid: int, plane: Plane, number: int) -> int:
    return (uid << 32) + (plane << 28) + number  # sums: the end of a range may be one past the last number


class _Transaction:
    """Reader and writer over one connection inside a transaction."""

    __slots__ = ("_db",)

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def user(self, uid: int) -> UserRow | None:
        row = self._db.execute(f"SELECT {', '.join(_COLUMNS)} FROM user WHERE uid = ?", (uid,)).fetchone()
        return None if row is None else UserRow(*row)

    def cells(self, uid: int, plane: Plane, start: int = 0, stop: int = MAX_NUMBER) -> list[tuple[int, bytes]]:
        rows = self._db.execute(
            "SELECT address, data FROM cell WHERE address >= ? AND address < ? ORDER BY address",
            (_address(uid, plane, start), _address(uid, plane, stop)),
        ).fetchall()
        return [(address & (MAX_NUMBER - 1), data) for address, data in rows]

    def cell(self, uid: int, plane: Plane, number: int) -> bytes | None:
        row = self._db.execute("SELECT data FROM cell WHERE address = ?", (_address(uid, plane, number),)).fetchone()
        return None if row is None else row[0]

    def pick(self, uid: int, plane: Plane, numbers: Sequence[int]) -> dict[int, bytes]:
        found: list[tuple[int, bytes]] = []
        for start in range(0, len(numbers), _AT_ONCE):
            addresses = [_address(uid, plane, n) for n in numbers[start : start + _AT_ONCE]]
            marks = ",".join("?" * len(addresses))
            found += self._db.execute(f"SELECT address, data FROM cell WHERE address IN ({marks})", addresses)
        return {address & (MAX_NUMBER - 1): data for address, data in found}

    def find(self, uid: int, macs: Sequence[bytes]) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        query = "SELECT number FROM ident WHERE uid = ? AND mac = ?"
        for mac in macs:
            row = self._db.execute(query, (uid, mac)).fetchone()
            if row is not None:
                found[mac] = row[0]
        return found

    def trace(self, trace_id: bytes) -> tuple[int, int] | None:
        row = self._db.execute("SELECT uid, number FROM trace WHERE id = ?", (trace_id,)).fetchone()
        return None if row is None else (row[0], row[1])

    def put_user(self, row: UserRow) -> None:
        self._db.execute("INSERT OR REPLACE INTO user VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", _values(row))

    def put(self, uid: int, plane: Plane, cells: Iterable[tuple[int, bytes]]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO cell VALUES (?, ?)", ((_address(uid, plane, n), data) for n, data in cells)
        )

    def delete(self, uid: int, plane: Plane, numbers: Iterable[int]) -> None:
        self._db.executemany("DELETE FROM cell WHERE address = ?", ((_address(uid, plane, n),) for n in numbers))

    def link(self, uid: int, pairs: Iterable[tuple[bytes, int]]) -> None:
        self._db.executemany("INSERT INTO ident VALUES (?, ?, ?)", ((uid, mac, n) for mac, n in pairs))

    def unlink(self, uid: int, macs: Iterable[bytes]) -> None:
        self._db.executemany("DELETE FROM ident WHERE uid = ? AND mac = ?", ((uid, mac) for mac in macs))

    def link_trace(self, trace_id: bytes, uid: int, number: int) -> None:
        self._db.execute("INSERT INTO trace VALUES (?, ?, ?)", (trace_id, uid, number))

    def unlink_traces(self, uid: int, below: int) -> None:
        self._db.execute("DELETE FROM trace WHERE uid = ? AND number < ?", (uid, below))

    def jobs(self, uid: int | None = None) -> list[Job]:
        query = "SELECT id, uid, due, tries FROM job" + ("" if uid is None else " WHERE uid = ?") + " ORDER BY id"
        return [Job(*row) for row in self._db.execute(query, () if uid is None else (uid,))]

    def enqueue(self, uid: int, due: float) -> Job:
        done = self._db.execute("INSERT INTO job (uid, due, tries, held) VALUES (?, ?, 0, 0)", (uid, due))
        return Job(int(done.lastrowid or 0), uid, due, 0)

    def claim(self, now: float, until: float) -> list[Job]:
        query = (
            "SELECT uid FROM job AS j WHERE due <= ? AND NOT EXISTS (SELECT 1 FROM job WHERE uid = j.uid AND held > ?)"
            " ORDER BY id LIMIT 1"
        )
        row = self._db.execute(query, (now, now)).fetchone()
        if row is None:
            return []
        taken = [job for job in self.jobs(row[0]) if job.due <= now]
        self._db.executemany("UPDATE job SET held = ? WHERE id = ?", [(until, job.id) for job in taken])
        return taken

    def postpone(self, job: Job, due: float, tries: int) -> None:
        self._db.execute("UPDATE job SET due = ?, tries = ?, held = 0 WHERE id = ?", (due, tries, job.id))

    def dequeue(self, job_id: int) -> bool:
        return self._db.execute("DELETE FROM job WHERE id = ?", (job_id,)).rowcount > 0

    def unlink_some(self, uid: int, numbers: Iterable[int]) -> None:
        self._db.executemany("DELETE FROM trace WHERE uid = ? AND number = ?", ((uid, n) for n in numbers))

    def drop(self, uid: int) -> dict[str, int]:
        span = (_address(uid, Plane.ITEM, 0), (uid + 1) << 32)
        counts = {
            "records": self._db.execute(
                "SELECT count(*) FROM cell WHERE address >= ? AND address < ?", (span[0], _address(uid, Plane.TAIL, 0))
            ).fetchone()[0],
            "artifacts": self.count(uid, Plane.ARTIFACT),
            "traces": self.count(uid, Plane.TRACE),
            "bodies": self.count(uid, Plane.BODY),
        }
        cells = self._db.execute("DELETE FROM cell WHERE address >= ? AND address < ?", span).rowcount
        counts["index cells"] = cells - sum(counts.values())
        self._db.execute("DELETE FROM ident WHERE uid = ?", (uid,))
        self._db.execute("DELETE FROM trace WHERE uid = ?", (uid,))
        self._db.execute("DELETE FROM job WHERE uid = ?", (uid,))
        self._db.execute("DELETE FROM user WHERE uid = ?", (uid,))
        return counts

    def count(self, uid: int, plane: Plane) -> int:
        span = (_address(uid, plane, 0), _address(uid, plane, MAX_NUMBER))
        row = self._db.execute("SELECT count(*) FROM cell WHERE address >= ? AND address < ?", span).fetchone()
        return int(row[0])


class SqliteRows:
    """All users' cells in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._migrate()

    def _db(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = connect(self.path, journal="WAL")
            self._local.db = db
            self._open.append(db)
        return db

    def _migrate(self) -> None:
        with translated(self.path):
            db = self._db()
            newest = len(MIGRATIONS)
            if db.execute("PRAGMA user_version").fetchone()[0] == newest:
                return
            db.execute("BEGIN IMMEDIATE")
            try:
                have = db.execute("PRAGMA user_version").fetchone()[0]
                if have > newest:
                    raise StoreError(
                        f"{self.path} was written by a newer idiolect (schema {have}, this one knows {newest}). "
                        "Upgrade: pip install -U idiolect"
                    )
                for number in range(have, newest):
                    for statement in MIGRATIONS[number]:
                        db.execute(statement)
                db.execute(f"PRAGMA user_version={newest}")
            except BaseException:
                db.rollback()
                raise
            db.commit()

    @contextlib.contextmanager
    def read(self) -> Iterator[_Transaction]:
        """Open a snapshot."""
        with translated(self.path):
            db = self._db()
            db.execute("BEGIN")
            try:
                yield _Transaction(db)
            finally:
                db.rollback()

    @contextlib.contextmanager
    def write(self) -> Iterator[_Transaction]:
        """Open a write transaction; other processes wait for it."""
        with translated(self.path):
            db = self._db()
            _begin_writing(db)
            try:
                yield _Transaction(db)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.rollback()
                raise

    def uids(self, after: int = 0, limit: int = 1000) -> list[int]:
        """User numbers in rising order, for paging."""
        with translated(self.path):
            rows = self._db().execute("SELECT uid FROM user WHERE uid > ? ORDER BY uid LIMIT ?", (after, limit))
            return [row[0] for row in rows]

    def check(self) -> None:
        """Read every page and raise :class:`StoreCorrupt` where one is damaged."""
        with translated(self.path):
            answer = self._db().execute("PRAGMA quick_check(1)").fetchone()[0]
        if answer != "ok":
            raise StoreCorrupt(f"{self.path} is damaged: {answer}. Restore a backup; keep a copy of the damaged file.")

    def scrub(self) -> None:
        """Empty the log into the file, whose freed space is overwritten as it comes free."""
        with translated(self.path):
            busy = self._db().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            name = self.path.name
            log.warning("%s: others are reading; what was deleted leaves its log with the next checkpoint", name)

    def size(self) -> int:
        """Bytes on disk, the log included."""
        return sum(p.stat().st_size for p in self.path.parent.glob(self.path.name + "*"))

    def close(self) -> None:
        """Close all connections; no other thread may be using one."""
        while self._open:
            self._open.pop().close()
        self._local = threading.local()
