from __future__ import annotations

import numpy as np
import pytest

from helpers import open_store, say
from idiolect.backends.toy import ScriptedBackend
from idiolect.prompting.shared.feedback import Row, table
from idiolect.prompting.shared.known import Known
from idiolect.store.view import StoredUser
from idiolect.types import EVERYONE, Artifact, Context, Record, text_of


def reviews(user, n=9):
    return [
        Record.new(user, "good" if i % 2 else "bad", time=1e9 + i, input=f"film {i} by the sea", kind="interaction")
        for i in range(n)
    ]


class Reader(ScriptedBackend):
    """Likes the right answer better by 1 nat where film 1 stands in the prompt; counts its batches."""

    def __init__(self):
        super().__init__(scores=lambda call, text: float(text == "good" and "film 1 " in text_of(call.messages[-1])))
        self.batches = []

    def logprobs(self, calls, continuations):
        self.batches.append(len(calls))
        return super().logprobs(calls, continuations)


def context(model, **more):
    return Context(model, lambda: 2e9, np.random.default_rng(0), **more)


def test_gains_are_what_a_record_alone_adds_to_the_bare_call(tmp_path):
    store = open_store(tmp_path)
    store.add(reviews("ana"))
    told, model = [], Reader()
    ((earlier, rows),) = table([StoredUser(store, "ana")], context(model, progress=lambda *at: told.append(at)))
    assert len(rows) == 3  # a third of nine
    assert len(earlier.history) == 6
    for row in rows:
        assert all(record.time < row.replay.record.time for record in row.candidates)
        assert row.replay.options == ("bad", "good")
        assert row.base == pytest.approx(-np.log(2))
        right = np.log(np.e / (1 + np.e)) + np.log(2)
        wrong = np.log(1 / (1 + np.e)) + np.log(2)
        helped = right if row.replay.gold == "good" else wrong
        wanted = [helped if "film 1 " in record.input else 0 for record in row.candidates]
        np.testing.assert_allclose(row.gains, wanted, atol=1e-6)
        assert not row.flat
    assert model.batches == [sum(2 * (1 + len(row.hits)) for row in rows)]
    assert told == [(1, 1)]


def test_the_record_is_written_as_retrieval_writes_it(tmp_path):
    store = open_store(tmp_path)
    store.add(reviews("ana"))
    model = Reader()
    table([StoredUser(store, "ana")], context(model), replays=1, candidates=1)
    shown = text_of(model.calls[-1].messages[-1])
    assert "From this person's own records:\n[9 September 2001]\nfilm " in shown
    assert " by the sea → " in shown


def test_who_has_nothing_to_replay_has_no_rows(tmp_path):
    store = open_store(tmp_path)
    store.add([say("bob", "hello", 1e9), say("bob", "again", 1e9 + 1)])
    model = Reader()
    assert [rows for _, rows in table([StoredUser(store, "bob")], context(model))] == [[]]
    assert model.batches == []


def test_equal_gains_are_flagged():
    assert Row(None, (), np.full(3, 0.5, np.float32), 0.0).flat
    assert not Row(None, (), np.array([0.5, 0.6], np.float32), 0.0).flat


def made(owner, text, time):
    return Artifact.new(owner, "k", method="m", payload=text.encode(), record_ids=(), time=time)


def test_known_shows_what_was_learnt_first_and_nothing_from_later(tmp_path):
    store = open_store(tmp_path)
    store.add(reviews("ana"))
    old, shared = made("ana", "old", 1e9 + 1), made(EVERYONE, "shared", 1e9 + 1)
    store.put_artifacts([old, shared])
    new, late, common = made("ana", "new", 1e9 + 2), made("ana", "late", 1e9 + 7), made(EVERYONE, "common", 1e9 + 2)
    user = Known(StoredUser(store, "ana"), (common, new, late, old))
    assert [a.payload for a in user.artifacts] == [b"new", b"late", b"old", b"common", b"shared"]
    then = user.before(1e9 + 5)
    assert [a.payload for a in then.artifacts] == [b"new", b"old", b"common", b"shared"]
    assert then.count == len(then.history) == 5
    assert [hit.record.time for hit in then.search("film 4", 1)] == [1e9 + 4]
