"""Killing the process at any moment loses no acknowledged write and leaves no half record."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import HashEmbedder, open_store
from idiolect.store.view import StoredUser

VICTIM = Path(__file__).with_name("victim.py")
KILLS = int(os.environ.get("IDIOLECT_KILLS", "12"))
pytestmark = pytest.mark.process


def kill_soon(folder: Path, first: int, mode: str, rng: random.Random) -> tuple[int, set[int]]:
    """Start a victim, kill it at a random moment; return what it had acknowledged."""
    process = subprocess.Popen([sys.executable, str(VICTIM), str(folder), str(first), mode], stdout=subprocess.PIPE)
    assert process.stdout is not None
    head = process.stdout.readline()  # it is running
    time.sleep(rng.random() ** 2 * 0.25)
    process.send_signal(signal.SIGKILL)
    lines = (head + process.stdout.read()).decode().split("\n")[:-1]
    process.wait()
    done = [int(line) for line in lines if not line.startswith("-")]
    return max([first, *done]), {int(line[1:]) for line in lines if line.startswith("-")}


@pytest.mark.parametrize("mode", ["single", "batch", "embed", "forget"])
def test_no_acknowledged_write_is_lost(tmp_path, mode):
    rng = random.Random(mode)
    acknowledged, forgotten = 0, set()
    for _ in range(KILLS):
        acknowledged, gone = kill_soon(tmp_path, acknowledged, mode, rng)
        forgotten |= gone
        store = open_store(tmp_path, HashEmbedder() if mode == "embed" else None)
        store.rows.check()
        numbers = set()
        for user in ("user0", "user1", "user2"):
            records = list(store.all_records(user))
            for record in records:
                assert re.fullmatch(r"record number \d+ about w\d+", record.output)
            own = {int(r.output.split()[2]) for r in records}
            assert len(own) == len(records)
            found = StoredUser(store, user).search("record w3", len(records) + 10)
            assert {h.record.id for h in found} == {r.id for r in records}  # the index knows exactly the records
            numbers |= own
        # Whatever was under way when the kill came may be done or not, a last deletion too; nothing else is missing.
        missing = set(range(acknowledged)) - forgotten - numbers
        assert missing <= ({acknowledged - 90} if mode == "forget" else set())
        forgotten |= missing
        assert not forgotten & numbers
        extra = [n for n in numbers if n >= acknowledged]
        assert len(extra) in (0, 1 if mode in ("single", "embed") else 90)
        acknowledged = max([acknowledged, *(n + 1 for n in numbers)])
        store.close()
    assert acknowledged > KILLS


def test_two_processes_write_the_same_person_at_once(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, str(VICTIM), str(tmp_path), str(first), "single"], stdout=subprocess.PIPE)
        for first in (0, 1_000_000)
    ]
    time.sleep(2.5)
    ends = []
    for process in processes:
        process.kill()
        assert process.stdout is not None
        ends.append([int(n) for n in process.stdout.read().decode().split("\n")[:-1]][-1])
        process.wait()
    store = open_store(tmp_path)
    numbers = {int(r.output.split()[2]) for u in range(3) for r in store.all_records(f"user{u}")}
    assert set(range(ends[0])) | set(range(1_000_000, ends[1])) <= numbers
    assert min(ends[0], ends[1] - 1_000_000) > 5  # neither keeps the other out


def test_an_erase_that_is_killed_half_way_is_finished_by_a_sweep(tmp_path):
    from helpers import say
    from idiolect.store.erase import sweep

    store = open_store(tmp_path)
    store.add([say("ana", "secret", 1.0), say("bob", "other", 1.0)])
    store.keyring.destroy("ana")  # killed here: the key is gone, the rows are not
    again = open_store(tmp_path)
    assert [u.id for u in again.users()] == ["bob"]
    assert list(again.all_records("ana")) == []
    assert sweep(again) == 1
    assert sweep(again) == 0
    again.add([say("ana", "new start", 2.0)])
    assert [r.output for r in again.all_records("ana")] == ["new start"]
