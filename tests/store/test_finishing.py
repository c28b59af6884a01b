"""The queue of finished turns: in order, one process a person, tried again, and learnt from exactly once."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from helpers import open_store, say
from idiolect.backends.toy import ToyBackend
from idiolect.config import Settings
from idiolect.errors import NotFound
from idiolect.memory.memory import Memory
from idiolect.pipeline import Idiolect
from idiolect.store.erase import erase
from idiolect.store.finishing import (
    LEASE,
    TRACES_KEPT,
    TRIES,
    Finished,
    Queue,
    claim,
    keep_finished,
    put_back,
    queue,
    retry,
    waiting,
)
from idiolect.turns import dump
from idiolect.types import Learnt

ANSWERER = Path(__file__).with_name("answerer.py")
KILLS = int(os.environ.get("IDIOLECT_KILLS", "12"))


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path)


def wait(store, user, *texts, now=100.0):
    keep_finished(store, [Finished(user, turn=dump({"text": text})) for text in texts], now)


def texts(found):
    return [(one.user_id, one.turn["text"]) for one in found]


def done(store, found):
    for one in found:
        assert store.learn(one.user_id, Learnt(), one.job.id) is not None


def test_a_persons_turns_are_taken_in_order_and_people_in_the_order_of_waiting(store):
    wait(store, "ana", "a1")
    wait(store, "ben", "b1", "b2")
    wait(store, "ana", "a2")
    first = claim(store, 100.0)
    assert texts(first) == [("ana", "a1"), ("ana", "a2")]
    second = claim(store, 100.0)
    assert texts(second) == [("ben", "b1"), ("ben", "b2")]
    assert claim(store, 100.0) == []
    done(store, [*first, *second])
    assert waiting(store) == []


def test_nobody_takes_turns_of_a_person_whose_turns_are_held(store):
    wait(store, "ana", "a1")
    held = claim(store, 100.0)
    wait(store, "ana", "a2")
    assert claim(store, 100.0 + LEASE / 2) == []
    assert texts(claim(store, 100.0 + LEASE)) == [("ana", "a1"), ("ana", "a2")]  # whoever held them is gone
    done(store, held)
    assert [job.tries for job in waiting(store, "ana")] == [0]


def test_a_turn_is_not_due_before_its_time(store):
    wait(store, "ana", "later", now=200.0)
    assert claim(store, 199.0) == []
    assert texts(claim(store, 200.0)) == [("ana", "later")]


def test_a_failed_turn_waits_longer_each_time_and_is_given_up(store):
    wait(store, "ana", "bad")
    now, pauses = 100.0, []
    for _ in range(TRIES):
        (one,) = claim(store, now)
        due = put_back(store, one.job, now)
        pauses.append(due - now)
        assert claim(store, min(due - 1e-3, 1e12)) == []
        now = due
    assert pauses == [2.0, 8.0, 32.0, 128.0, 512.0, math.inf]
    assert claim(store, 1e12) == []
    assert queue(store) == Queue(0, 0, 1, None)
    assert retry(store, 1e6) == 1
    assert queue(store) == Queue(1, 0, 0, None)
    assert texts(claim(store, 1e6)) == [("ana", "bad")]


def test_the_queue_is_counted(store):
    wait(store, "ana", "a")
    wait(store, "ben", "b")
    (one,) = claim(store, 100.0)
    put_back(store, one.job, 100.0)
    assert queue(store) == Queue(1, 1, 0, 102.0)
    assert len(waiting(store, "ana")) == len(waiting(store, "ben")) == 1
    with pytest.raises(NotFound):
        waiting(store, "nobody")


def test_a_turn_is_learnt_from_once_however_often_it_is_taken(store):
    wait(store, "ana", "a1")
    first, second = claim(store, 100.0), claim(store, 100.0 + LEASE)
    assert first[0].job.id == second[0].job.id
    learnt = [store.learn("ana", Learnt((say("ana", f"by {n}", 1.0),)), first[0].job.id) for n in range(2)]
    assert [added is None for added in learnt] == [False, True]
    assert [record.output for record in store.all_records("ana")] == ["by 0"]
    put_back(store, second[0].job, 100.0)  # too late: it is gone, and does not come back
    assert waiting(store) == []


def test_two_claimers_at_once_learn_from_each_turn_exactly_once(tmp_path):
    stores = [open_store(tmp_path) for _ in range(2)]
    for n in range(60):
        wait(stores[0], f"u{n % 7}", f"turn {n}")
    lock, seen = threading.Lock(), Counter()

    def work(store):
        while found := claim(store, 1000.0):
            for one in found:
                text = one.turn["text"]
                if store.learn(one.user_id, Learnt((say(one.user_id, text, 1.0),)), one.job.id) is not None:
                    with lock:
                        seen[text] += 1

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {f"turn {n}": 1 for n in range(60)}
    kept = Counter(r.output for n in range(7) for r in stores[0].all_records(f"u{n}"))
    assert kept == seen


def test_turns_of_an_erased_person_are_gone_and_one_under_way_teaches_nothing(store):
    wait(store, "ana", "a1", "a2")
    number = store.number("ana")
    found = claim(store, 100.0)
    erase(store, "ana", 1e9)
    assert waiting(store) == []
    assert store.learn("ana", Learnt((say("ana", "secret", 1.0),)), found[0].job.id) is None
    assert list(store.all_records("ana")) == []
    store.add([say("ana", "came anew", 2.0)])
    keep_finished(store, [Finished("ana", number, "ab" * 16, dump({"id": "x"}), dump({"text": "planned before"}))], 1.0)
    assert waiting(store) == []
    with pytest.raises(NotFound):
        store.trace("ab" * 16)


def test_turns_whose_key_is_gone_are_taken_from_the_queue(store):
    wait(store, "ana", "a1")
    wait(store, "ben", "b1")
    store.keyring.destroy("ana")  # an erasure that was killed half-way
    other = open_store(store.rows.path.parents[1])
    assert [texts(claim(other, 100.0)) for _ in range(2)] == [[], [("ben", "b1")]]
    assert len(waiting(other)) == 1


def test_old_traces_make_room(store):
    many = [Finished("ana", 0, f"{n:032x}", dump({"n": n})) for n in range(TRACES_KEPT + 5)]
    keep_finished(store, many[:10], 0.0)
    keep_finished(store, many[10:], 0.0)
    assert len(store.traces("ana")) == TRACES_KEPT
    assert store.trace(f"{TRACES_KEPT + 4:032x}") == {"n": TRACES_KEPT + 4}
    with pytest.raises(NotFound):
        store.trace(f"{4:032x}")


def test_a_user_whose_key_was_made_by_a_process_that_died_before_the_first_record_is_no_erased_one(tmp_path):
    store = open_store(tmp_path)
    store.keyring.ensure(["ana"])  # and the process dies
    app = Idiolect(store, ToyBackend(), Settings(methods=("memory",)))
    app.ask("I love jazz.", "ana")
    app.drain()
    assert [r.output for r in store.all_records("ana") if r.kind == "dialogue"] == ["I love jazz."]


def test_a_turn_that_fails_holds_up_nobody_and_is_tried_again(tmp_path, monkeypatch):
    clock = [1_700_000_000.0]
    settings = Settings(methods=("memory",))
    app = Idiolect(open_store(tmp_path), ToyBackend(), settings, clock=lambda: clock[0])
    real = Memory.observe

    def fails(self, turn, user, ctx):
        if user.id == "ana":
            raise ZeroDivisionError
        return real(self, turn, user, ctx)

    monkeypatch.setattr(Memory, "observe", fails)
    app.ask("I love jazz.", "ana")
    app.ask("I love tea.", "ben")
    app.drain()
    assert app.counters["learning.ZeroDivisionError"] == 1
    assert [r.output for r in app.store.all_records("ben") if r.kind == "dialogue"] == ["I love tea."]
    assert queue(app.store) == Queue(0, 1, 0, clock[0] + 2)
    monkeypatch.setattr(Memory, "observe", real)
    assert app.learn_waiting() == 0
    clock[0] += 2
    told = []
    assert app.learn_waiting(lambda: told.append(1)) == len(told) == 1
    assert [r.output for r in app.store.all_records("ana") if r.kind == "dialogue"] == ["I love jazz."]


# -- killed ------------------------------------------------------------------------------------------------------------


def answer_until_killed(folder: Path, first: int, rng: random.Random) -> list[int]:
    """Start a process that answers, kill it at a random moment; return which answers it had acknowledged."""
    process = subprocess.Popen([sys.executable, str(ANSWERER), str(folder), str(first)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    head = process.stdout.readline()  # it is running
    time.sleep(rng.random() ** 2 * 0.3)
    process.send_signal(signal.SIGKILL)
    lines = (head + process.stdout.read()).decode().split("\n")[:-1]
    process.wait()
    return [int(line) for line in lines]


@pytest.mark.process
def test_every_acknowledged_answer_is_learnt_exactly_once_whenever_the_process_is_killed(tmp_path):
    rng = random.Random(5)
    first, acknowledged = 0, set[int]()
    for _ in range(KILLS):
        acknowledged |= set(answer_until_killed(tmp_path, first, rng))
        first = max(acknowledged) + 2  # one more may have been under way
    assert len(acknowledged) > KILLS
    app = Idiolect(open_store(tmp_path), ToyBackend(), Settings(methods=("memory",)))
    later = time.time() + 10 * LEASE  # what the killed ones held is free again
    app.clock = lambda: later
    app.learn_waiting()
    assert queue(app.store) == Queue(0, 0, 0, None)
    app.store.rows.check()
    people = [f"user{n}" for n in range(3)]
    said = Counter(
        int(r.output.split()[-1]) for p in people for r in app.store.all_records(p) if r.kind == "dialogue"
    )  # fmt: skip
    assert set(said.values()) == {1}
    assert acknowledged <= set(said)
    traced = Counter(int(t["base"][0]["content"].split()[-1]) for p in people for t in app.store.traces(p))
    assert traced == said  # the trace and the turn are one commit
    assert len(set(said) - acknowledged) <= KILLS  # at most the answer that was under way each time
