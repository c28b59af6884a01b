from __future__ import annotations

import threading

import pytest

from idiolect.journal import Journal


def test_entries_that_come_during_a_commit_share_the_next():
    batches, first, go = [], threading.Event(), threading.Event()

    def write(batch):
        batches.append(list(batch))
        if len(batches) == 1:
            first.set()
            go.wait(5)

    journal = Journal(write)
    told = [journal.put(0)]
    assert first.wait(5)
    told += [journal.put(n) for n in (1, 2, 3)]
    go.set()
    for one in told:
        one.result(5)
    journal.close()
    assert batches == [[0], [1, 2, 3]]


def test_what_kept_an_entry_from_being_written_is_raised_and_counted():
    def write(batch):
        if batch == ["bad"]:
            raise OSError("no room")

    journal = Journal(write)
    with pytest.raises(OSError, match="no room"):
        journal.put("bad").result(5)
    journal.put("good").result(5)
    journal.close()
    assert journal.worker.failures == {"OSError": 1}


def test_what_may_wait_goes_with_the_next_that_may_not(monkeypatch):
    monkeypatch.setattr("idiolect.journal.PAUSE", 60.0)
    batches = []
    journal = Journal(lambda batch: batches.append(list(batch)))
    journal.put_later("trace")
    journal.put("turn").result(5)
    assert [entry for batch in batches for entry in batch] == ["trace", "turn"]
    journal.put_later("another")
    journal.close()
    assert batches[-1] == ["another"]
