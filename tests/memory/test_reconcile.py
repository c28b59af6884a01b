from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from helpers import HashEmbedder, open_store
from idiolect.backends.toy import ToyBackend
from idiolect.config import Settings
from idiolect.memory import reconcile
from idiolect.memory.candidate import Candidate, Proposal
from idiolect.pipeline import Idiolect
from idiolect.store.view import view
from idiolect.types import Context, Turn

DAY = 86400.0
START = datetime(2024, 1, 1, 12, tzinfo=UTC).timestamp()


class Person:
    """Somebody who tells the assistant things, one a month."""

    def __init__(self, app):
        self.app, self.months = app, 0

    def says(self, *texts):
        for text in texts:
            self.months += 1
            moment = START + 30 * DAY * self.months
            self.app.clock = lambda now=moment: now
            self.app.ask(text, "ana", session=f"s{self.months}")
            self.app.drain()
        return self

    def holding(self, month=None):
        moment = START + 30 * DAY * (self.months if month is None else month)
        seen = view(self.app.store, "ana", moment + 1)
        records = [record for record in seen.history if record.kind == "profile"]
        states = seen.states([record.id for record in records])
        return [r.output for r in records if r.id not in states or states[r.id].holds(moment + 1)]

    def kept(self):
        return [record for record in self.app.store.all_records("ana") if record.kind == "profile"]


@pytest.fixture(params=["none", "hash"])
def ana(tmp_path, request):
    embedder = HashEmbedder() if request.param == "hash" else None
    settings = Settings(methods=("memory",), embedder="none")
    return Person(Idiolect(open_store(tmp_path, embedder), ToyBackend(), settings))


def test_a_new_home_closes_the_old_one_which_is_still_read_as_of_then(ana):
    ana.says("I live in Porto", "I moved to Lyon")
    assert ana.holding() == ["I moved to Lyon"]
    assert ana.holding(1) == ["I live in Porto"]
    assert len(ana.kept()) == 2


def test_a_chain_of_changes(ana):
    ana.says("I'm vegetarian", "I eat fish again these days", "I'm vegetarian again")
    assert ana.holding() == ["I'm vegetarian again"]
    assert ana.holding(2) == ["I eat fish again these days"]
    assert ana.holding(1) == ["I'm vegetarian"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("I love coffee", "I gave up coffee"),
        ("I smoke a pack a day", "I quit smoking"),
        ("My husband Oskar is a baker", "Oskar and I split up"),
        ("I play tennis", "I quit tennis"),
        ("I drive a Volvo", "Sold the Volvo"),
        ("My rehearsal is at 6:15", "Correction: my rehearsal is at 6:40, not 6:15"),
        ("My French is A2", "My French is B1 now"),
        ("I'm 34 years old", "I turned 35"),
        ("My favourite film is Alien", "My favourite film is Heat now"),
        ("I have a hernia in my back", "My back is healed"),
        ("I work as a nurse", "I got a new job as a teacher"),
        ("Our dog Bruno is old", "Bruno died"),
    ],
)
def test_what_no_longer_holds_is_closed(ana, before, after):
    ana.says(before, after)
    assert ana.holding(1) == [before]
    assert before not in ana.holding()
    assert len(ana.holding()) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("I live in Porto", "I'm flying to Rome in May"),
        ("I have a dog called Rufus", "I have two cats"),
        ("I like jazz", "I love opera"),
        ("My daughter Mia is 4", "My son Leo is 7"),
        ("I play chess", "I play tennis"),
        ("I have asthma", "I have a nut allergy"),
        ("I'm a nurse", "I speak Polish at home"),
        ("I love coffee", "I gave up coke"),
        ("My sister lives in Bergen", "I live in Hull"),
    ],
)
def test_what_can_hold_side_by_side_does(ana, before, after):
    ana.says(before, after)
    assert ana.holding()[0] == before
    assert len(ana.holding()) == 2


@pytest.mark.parametrize(
    "again", ["I live in Porto.", "As you know, I live in Porto", "Since I live in Porto, any pool?"]
)
def test_what_is_said_again_adds_its_source(ana, again):
    ana.says("I live in Porto", again)
    (record,) = ana.kept()
    assert len(view(ana.app.store, "ana").states([record.id])[record.id].sources) == 1


def test_what_is_given_and_not_known_is_kept(ana):
    ana.says("As you know, I live in Porto")
    assert len(ana.kept()) == 1


def test_a_guess_never_closes_what_the_person_said(tmp_path):
    app = Idiolect(open_store(tmp_path), ToyBackend(), Settings(methods=("memory",), embedder="none"))
    Person(app).says("I live in Porto")
    turn = Turn(({"role": "user", "content": "hm"},), "", START + 90 * DAY)
    guess = Candidate("Lives in Rome", said_by="inferred", topic="home", slot="home", value="rome")
    seen = view(app.store, "ana", turn.time)
    ctx = Context(ToyBackend(), lambda: turn.time, np.random.default_rng(0))
    learnt = reconcile.reconcile(Proposal((guess,)), "x", turn, seen, ctx)
    assert learnt.records == ()
    assert learnt.counts["memory.outranked"] == 1
