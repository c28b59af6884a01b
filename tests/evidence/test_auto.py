"""The gate: measured on a person's own latest records, weighed against others', served, and measured again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from helpers import HashEmbedder, open_store, say
from idiolect import registry
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.errors import ConfigError, UnsupportedCall
from idiolect.evidence.account import account
from idiolect.evidence.auto import Auto
from idiolect.evidence.verdict import population_of, verdict_of
from idiolect.pipeline import Idiolect
from idiolect.store.sharing import share
from idiolect.store.view import view
from idiolect.types import EVERYONE, Block, Call, Item, Learnt, Template, Turn, Used, text_of

CANDIDATES = ("hat:colour=red", "hat:colour=blue")


@dataclass(frozen=True)
class Hat:
    """Say a colour."""

    colour: str = "red"

    def apply(self, call, user, ctx):
        if not user.history:
            return call
        used = Used("record", user.history[-1].id, "hat", "hat")
        return call.add(Block("hat", "Hat:", (Item(f"hat {self.colour}", used),)))


def likes(call: Call, text: str) -> float:
    """People whose texts speak of a colour are foreseen by the hat of that colour."""
    prompt = " ".join(text_of(message) for message in call.messages)
    return -10.0 * (f"hat {text.split()[0]}" not in prompt) - 1.0


@pytest.fixture
def house(tmp_path, monkeypatch):
    registry.methods.names()
    info = {"level": "input", "paper": "none", "needs": (), "fit_needs": (), "peers": False, "together": False}
    monkeypatch.setitem(registry.methods._entries, "hat", registry.Entry("hat", Hat, info))
    store = open_store(tmp_path, HashEmbedder())
    settings = Settings(peers=PeersPolicy(least=3))
    return Idiolect(store, ScriptedBackend(scores=likes), settings, clock=lambda: 1e9)


def add(house, user, words, shares=True, start=0):
    house.store.add([say(user, f"{word} number {n}", 1e8 + n, key=f"{n}") for n, word in enumerate(words, start)])
    if shares:
        share(house.store, user, True)


MODEL = ScriptedBackend.fingerprint
GATE = {"name": "auto", "candidates": list(CANDIDATES)}


def served(house, user):
    return Auto(CANDIDATES).verdict(view(house.store, user), MODEL)[0]


def prompt(house, user):
    call = house.plan(Call(({"role": "user", "content": "well?"},)), user, methods=[GATE]).call
    return " ".join(text_of(message) for message in call.messages)


def test_each_person_is_served_by_what_foresees_them_or_by_nothing(house):
    for user, colour in (("ana", "red"), ("bob", "blue"), ("cleo", "green")):
        add(house, user, [colour] * 30, shares=False)
    assert served(house, "ana") == CANDIDATES[0]  # nothing known yet: the first
    house.prove(GATE, ["ana", "bob", "cleo"])
    assert [served(house, user) for user in ("ana", "bob", "cleo")] == [*CANDIDATES, "none"]
    assert "hat red" in prompt(house, "ana")
    assert "hat blue" in prompt(house, "bob")
    assert prompt(house, "cleo") == "well?"


def test_only_own_latest_records_are_asked_and_only_earlier_ones_seen(house):
    add(house, "ana", ["red"] * 30)
    house.prove(GATE, ["ana"])
    artifact, verdict = verdict_of(house.store.artifacts("ana"), "ana", MODEL)
    held = sorted(house.store.all_records("ana"), key=lambda r: r.time)[-8:]
    assert set(artifact.record_ids) == {record.id for record in held}
    assert (verdict.records, len(verdict.base)) == (30, 8)
    assert verdict.gains[0] == pytest.approx([10 / 0.6931 / len(r.output) for r in held], rel=1e-3)


def test_a_person_with_few_records_is_served_as_people_in_general_are(house):
    for n in range(6):
        add(house, f"u{n}", ["blue"] * 30)
    add(house, "new", ["red"] * 2)
    house.prove(GATE, [*(f"u{n}" for n in range(6)), "new"])
    assert verdict_of(house.store.artifacts("new"), "new", MODEL) is None
    assert served(house, "new") == CANDIDATES[1]
    told = account(GATE, view(house.store, "new"), MODEL)
    assert told["rests_on"] == "people who share"
    _, population = population_of(house.store.artifacts(EVERYONE), MODEL)
    assert population.prior.people == 6


def test_people_with_few_records_add_up_to_what_is_known_of_all(house):
    for n in range(8):
        add(house, f"u{n}", ["blue"] * 6)  # two of six are asked again
    add(house, "alone", ["blue"] * 6, shares=False)
    everybody = [*(f"u{n}" for n in range(8)), "alone"]
    house.prove(GATE, everybody)
    assert served(house, "u0") == CANDIDATES[1]
    assert verdict_of(house.store.artifacts("u0"), "u0", MODEL)[1].others == 8
    assert (
        verdict_of(house.store.artifacts("alone"), "alone", MODEL) is None
    )  # too few to be judged by, and does not share
    assert served(house, "alone") == CANDIDATES[1]


def test_others_count_only_where_enough_share_and_go_when_one_withdraws(house):
    add(house, "ana", ["blue"] * 30)
    add(house, "bob", ["blue"] * 30)
    add(house, "cleo", ["blue"] * 30, shares=False)
    house.prove(GATE, ["ana", "bob", "cleo"])
    assert house.store.artifacts(EVERYONE) == []  # two share, three are demanded
    share(house.store, "cleo", True)
    house.prove(GATE, ["ana", "bob", "cleo"])
    assert house.store.artifacts(EVERYONE)
    share(house.store, "bob", False)
    assert house.store.artifacts(EVERYONE) == []


def test_what_was_measured_with_another_model_neither_serves_nor_counts(house):
    add(house, "ana", ["blue"] * 30, shares=False)
    house.prove(GATE, ["ana"])
    assert served(house, "ana") == CANDIDATES[1]
    seen, gate = view(house.store, "ana"), Auto(CANDIDATES)
    assert gate.verdict(seen, "another model") == (CANDIDATES[0], None, 0.0)
    assert gate.due(seen, "another model")
    assert not gate.due(seen, MODEL)


def test_who_was_measured_is_not_measured_again_until_records_come(house):
    add(house, "ana", ["red"] * 30, shares=False)
    house.prove(GATE, ["ana"])
    asked = len(house.backend.calls)
    house.prove(GATE, ["ana"])
    assert len(house.backend.calls) == asked
    add(house, "ana", ["blue"] * 60, shares=False, start=30)
    assert Auto(CANDIDATES).due(view(house.store, "ana"), MODEL)
    house.prove(GATE, ["ana"])
    assert len(house.backend.calls) > asked
    assert served(house, "ana") == CANDIDATES[1]


def test_the_server_measures_by_itself_what_a_command_does_not(house):
    add(house, "ana", ["blue"] * 30, shares=False)
    turn = Turn(({"role": "user", "content": "hello"},), "hi", house.clock())
    house.observe(turn, "ana", house.methods([GATE]))
    house.drain()
    assert verdict_of(house.store.artifacts("ana"), "ana", MODEL) is None
    house.proving = True
    house.observe(turn, "ana", house.methods([GATE]))
    house.prover.drain()
    assert verdict_of(house.store.artifacts("ana"), "ana", MODEL) is not None


def test_closing_ends_a_measurement_and_what_waits_for_none(house):
    add(house, "ana", ["blue"] * 30, shares=False)
    asked = []

    def score(call, text):
        asked.append(text)
        house.stopping.set()
        return -1.0

    house.backend._scores = score
    house.proving = True
    turn = Turn(({"role": "user", "content": "hello"},), "hi", house.clock())
    house.observe(turn, "ana", house.methods([GATE]))
    house.prover.drain()
    assert len(asked) == 4  # one step of the first of three rows
    assert verdict_of(house.store.artifacts("ana"), "ana", MODEL) is None
    assert house.prover.failures == {}
    house.close()


def test_malformed_answers_of_several_candidates_add_up(house, monkeypatch):
    monkeypatch.setattr(Hat, "observe", lambda self, turn, user, ctx: Learnt(failures={"malformed": 2}), raising=False)
    turn = Turn(({"role": "user", "content": "hello"},), "hi", house.clock())
    learnt = Auto(CANDIDATES).observe(turn, view(house.store, "ana"), house.context())
    assert learnt.failures == {"malformed": 4}


def test_a_candidate_that_the_backend_cannot_serve_is_left_out_and_named(house):
    add(house, "ana", ["red"] * 30, shares=False)
    house.backend.supports = frozenset({"logprobs"})
    spec = {"name": "auto", "candidates": ["context_steering", *CANDIDATES]}
    house.prove(spec, ["ana"])
    told = account(spec, view(house.store, "ana"), MODEL)
    assert "mix" in told["skipped"]["context_steering"]
    assert [row["candidate"] for row in told["candidates"]] == list(CANDIDATES)


def test_without_log_probabilities_measuring_is_refused(house):
    house.backend.supports = frozenset()
    with pytest.raises(UnsupportedCall, match="logprobs"):
        house.prove(GATE, ["ana"])
    with pytest.raises(ConfigError, match="measures nothing"):
        house.prove("retrieval", ["ana"])


def test_the_account_says_what_each_gained_and_cost(house):
    add(house, "ana", ["red"] * 30, shares=False)
    house.prove(GATE, ["ana"])
    told = account(GATE, view(house.store, "ana"), MODEL)
    red, blue = told["candidates"]
    assert (told["serves"], told["rests_on"]) == (CANDIDATES[0], "own records")
    assert red["gain"] > 0 >= blue["gain"]
    assert (red["helped"], red["harmed"], blue["helped"]) == (8, 0, 0)
    assert red["tokens"] > 0
    assert red["seconds"] >= 0


def test_choices_are_judged_by_what_would_be_answered(house):
    records = [say("ana", ("yes", "no")[n % 2], 1e8 + n, input=f"question {n}", key=f"{n}") for n in range(30)]
    house.store.add(records)
    template = Template(Call(({"role": "user", "content": "Yes or no? x"},), "x"), ("yes", "no"))
    house.backend._scores = lambda call, text: -1.0 if text == "yes" else -2.0
    context = replace(house.context(), template=template)
    artifact = next(iter(Auto(CANDIDATES).prove([view(house.store, "ana")], context)))
    _, verdict = verdict_of([artifact], "ana", MODEL)
    p = 1 / (1 + 2.718281828**-1)
    assert sorted(set(verdict.base)) == pytest.approx([(1 - p) / 2, (1 + p) / 2])
    assert verdict.chosen == "none"
    assert verdict.gains == ((0.0,) * 8, (0.0,) * 8)
