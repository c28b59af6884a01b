"""Unfinished work: sealed, replaced as a whole, and gone with the person."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import open_store, say
from idiolect.store import checkpoints
from idiolect.store.checkpoints import KEPT_SECONDS, PART, StoredCheckpoints, folder_of
from idiolect.store.erase import erase
from idiolect.store.sharing import share
from idiolect.trainable import Checkpoints
from idiolect.types import EVERYONE

WORK = b"optimizer-state-sentinel" * 100


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path)
    store.add([say("ana", "one", 1.0), say("bob", "two", 2.0)])
    return store


@pytest.fixture
def kept(store) -> Checkpoints:
    return StoredCheckpoints(store, lambda: "lora rank 8")


def files(store) -> list[Path]:
    folder = folder_of(store)
    return sorted(folder.iterdir()) if folder.is_dir() else []


def test_what_was_saved_last_comes_back(tmp_path, store, kept):
    assert kept.load("ana") is None
    kept.save("ana", b"first")
    kept.save("ana", WORK)
    kept.save(f"ana{PART}second job", b"another")
    kept.save("bob", b"his")
    again = StoredCheckpoints(open_store(tmp_path), lambda: "lora rank 8")
    assert [again.load(key) for key in ("ana", f"ana{PART}second job", "bob")] == [WORK, b"another", b"his"]
    assert StoredCheckpoints(store, lambda: "lora rank 4").load("ana") is None
    kept.drop("ana")
    kept.drop("ana")
    assert [kept.load(key) for key in ("ana", f"ana{PART}second job", "bob")] == [None, b"another", b"his"]
    assert len(files(store)) == 2


def test_files_name_nobody_and_are_sealed(store, kept):
    kept.save("ana", WORK)
    (path,) = files(store)
    assert b"sentinel" not in path.read_bytes()
    assert "ana" not in path.name
    assert path.stat().st_mode & 0o077 == 0
    assert path.name.split("-")[1] not in {p.name.split("-")[1] for p in saved_by(store, "bob")}


def saved_by(store, user):
    before = set(files(store))
    StoredCheckpoints(store, lambda: "lora rank 8").save(user, WORK)
    return set(files(store)) - before


def test_one_that_was_swapped_or_damaged_is_not_read(store, kept, caplog):
    kept.save("ana", WORK)
    (path,) = files(store)
    kept.save(f"ana{PART}second", b"second")
    path.write_bytes(next(p for p in files(store) if p != path).read_bytes())
    assert kept.load("ana") is None
    assert "begins anew" in caplog.text
    assert kept.load(f"ana{PART}second") == b"second"


def test_a_kill_before_the_rename_leaves_the_old_one(tmp_path, store, kept):
    kept.save("ana", WORK)
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
from pathlib import Path
from helpers import open_store
from idiolect.store.checkpoints import StoredCheckpoints
os.replace = lambda old, new: os._exit(9)
StoredCheckpoints(open_store(Path({str(tmp_path)!r})), lambda: "lora rank 8").save("ana", b"new")
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 9
    assert len(files(store)) == 2  # what was being written is there, under a name of its own
    assert kept.load("ana") == WORK
    kept.drop("ana")
    assert files(store) == []


def test_a_failed_write_leaves_nothing_behind(store, kept, monkeypatch):
    kept.save("ana", WORK)

    def full(handle):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="disk full"):
            kept.save("ana", b"new")
    assert kept.load("ana") == WORK
    assert len(files(store)) == 1


def test_an_erased_person_leaves_nothing_and_gets_nothing(tmp_path, store, kept):
    kept.save("ana", WORK)
    kept.save("bob", b"his")
    (copy,) = saved_by(store, "ana") or [path for path in files(store) if path.stat().st_size > 1000]
    data = copy.read_bytes()
    assert erase(store, "ana", 1e9).removed["checkpoints"] == 1
    assert kept.load("bob") == b"his"
    assert len(files(store)) == 1
    kept.save("ana", b"too late")
    assert (kept.load("ana"), len(files(store))) == (None, 1)
    store.add([say("ana", "here again", 4.0)])
    copy.write_bytes(data)
    assert kept.load("ana") is None
    assert "checkpoints" not in erase(store, "ana", 1e9).removed


def test_another_process_that_has_the_key_keeps_nothing_of_an_erased_person(tmp_path, store):
    other = StoredCheckpoints(open_store(tmp_path), lambda: "lora rank 8")
    other.save("ana", WORK)
    erase(store, "ana", 1e9)
    other.save("ana", WORK)
    assert files(store) == []


def test_a_deleted_record_and_a_withdrawal_take_unfinished_work_along(store, kept):
    for user in ("ana", "bob", EVERYONE):
        kept.save(user, WORK)
    store.delete("ana", [next(store.all_records("ana")).id])
    assert [kept.load(user) for user in ("ana", "bob", EVERYONE)] == [None, WORK, WORK]
    share(store, "ana", True)
    share(store, "ana", False)
    assert files(store) == []


def test_what_nobody_went_on_with_is_removed_when_the_next_is_saved(store, kept):
    kept.save("ana", WORK)
    kept.save("bob", WORK)
    old = time.time() - KEPT_SECONDS - 60
    (path, *_) = [p for p in files(store) if p.name.startswith(checkpoints._prefix(store.key("ana")))]
    os.utime(path, (old, old))
    kept.save("bob", b"a run looks once")
    assert kept.load("ana") == WORK
    StoredCheckpoints(store, lambda: "another").save("bob", b"new")
    assert (kept.load("ana"), kept.load("bob")) == (None, b"a run looks once")
