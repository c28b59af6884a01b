"""Per-Pcs in a house of tea and milk drinkers; the toy chooses by the bytes of texts."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from helpers import HashEmbedder, RememberingToy, open_store, say
from idiolect.adaptation.per_pcs import PerPcs
from idiolect.config import PeersPolicy, Settings
from idiolect.pipeline import Idiolect
from idiolect.store.sharing import share
from idiolect.store.view import view
from idiolect.training import peft_format
from idiolect.training.pieces import Pieces
from idiolect.types import EVERYONE, Call, Record, Turn

NOW, DAY = 1_700_000_000.0, 86400.0
ASK = Call(({"role": "user", "content": "what shall I drink"},))
DRINKS = {"ana": "green tea", "ben": "cold milk", "cyd": "plum juice", "dan": "black coffee"}


def history(user, drink, n=8):
    return [
        Record.new(user, f"{drink} {user * 2}", time=NOW - (30 - i) * DAY, input=f"a drink, day {i}") for i in range(n)
    ]


@pytest.fixture
def house(tmp_path):
    """Four people who share, and one, gus, who does not and drinks milk."""
    store = open_store(tmp_path, HashEmbedder())
    for user, drink in DRINKS.items():
        store.add(history(user, drink))
        share(store, user, True)
    store.add(history("gus", "cold milk ben"))
    settings = Settings(peers=PeersPolicy(texts=True, least=2))
    return Idiolect(store, RememberingToy(), settings, clock=lambda: NOW, backend_name="toy")


def plan(house, user, **settings):
    return house.plan(ASK, user, methods=[{"name": "per_pcs", **settings}]).call


def pieces_of(house):
    return {a.people[0]: a for a in house.store.artifacts(EVERYONE) if a.kind == "pieces"}


def delta(pieces):
    return Pieces.load(pieces.body.read()).adapter.delta("out")


def test_everybody_is_served_the_pieces_that_fit_them_exactly(house):
    house.fit("per_pcs", [*DRINKS, "gus"])
    there = pieces_of(house)
    assert set(there) == set(DRINKS)
    for user, giver in {**{user: user for user in DRINKS}, "gus": "ben"}.items():
        call = plan(house, user)
        assert [used.id for used in call.used][1:] == [there[giver].id]
        assert call.used[1].owner == ("" if giver == user else giver)
        made = peft_format.load(call.adapters[0].body.read())
        np.testing.assert_array_equal(made.delta("out"), delta(there[giver]))
        assert call.adapters[0].body.size == len(call.adapters[0].body.read())


def test_several_pieces_add_up_with_their_weights_and_take_few_bytes(house):
    house.fit({"name": "per_pcs", "k": 2, "temperature": 50.0}, [*DRINKS, "gus"])
    call = plan(house, "gus", k=2, temperature=50.0)
    choice = next(a for a in house.store.artifacts("gus") if a.kind == "choice")
    head = orjson.loads(choice.payload)
    ((one, first), (two, second)) = head["chosen"][0]
    assert first > second > 0.1
    assert first + second == pytest.approx(1, abs=1e-5)
    there = {a.id: a for a in pieces_of(house).values()}
    wanted = first * delta(there[head["pieces"][one]]) + second * delta(there[head["pieces"][two]])
    np.testing.assert_allclose(peft_format.load(call.adapters[0].body.read()).delta("out"), wanted, atol=1e-5)
    assert choice.people == tuple(sorted(there[name].people[0] for name in head["pieces"]))
    assert len(choice.payload) < 200
    assert choice.body is None
    assert [used.score for used in call.used[1:]] == pytest.approx([first, second] if one < two else [second, first])


def test_a_withdrawal_takes_a_choice_back_and_the_next_turn_makes_another(house):
    house.fit("per_pcs", [*DRINKS, "gus"])
    share(house.store, "ben", False)
    assert "ben" not in pieces_of(house)
    assert plan(house, "gus") == ASK
    assert plan(house, "ana") != ASK
    turn = Turn(ASK.messages, "Milk.", NOW)
    house.observe(turn, "gus", house.methods(["per_pcs"]))
    call = plan(house, "gus")
    assert call.adapters
    assert not {used.owner for used in call.used} & {"", "ben"} - {""}


def test_the_same_pieces_are_not_made_twice(house, monkeypatch):
    house.fit("per_pcs", [*DRINKS])
    before, asked = pieces_of(house), []
    train, gates = RememberingToy.train, RememberingToy.train_gates
    monkeypatch.setattr(RememberingToy, "train", lambda self, jobs, *a, **k: train(self, _seen(jobs, asked), *a, **k))
    monkeypatch.setattr(
        RememberingToy, "train_gates", lambda self, jobs, *a, **k: gates(self, _seen(jobs, asked), *a, **k)
    )
    house.fit("per_pcs", [*DRINKS])
    assert asked == []
    assert pieces_of(house) == before
    house.store.add([Record.new("ana", "green tea again", time=NOW - DAY, input="a drink")])
    house.fit("per_pcs", [*DRINKS])
    assert asked == ["ana", "ana"]


def _seen(jobs, asked):
    for job in jobs:
        asked.append(job.key)
        yield job


def test_adapters_that_lora_trained_are_taken_apart(house, monkeypatch):
    house.fit({"name": "lora", "context": ["none"], "hold_out": 0.0}, ["ana", "ben"])
    trained = []
    train = RememberingToy.train
    monkeypatch.setattr(RememberingToy, "train", lambda self, jobs, *a, **k: train(self, _seen(jobs, trained), *a, **k))
    house.fit("per_pcs", [*DRINKS])
    assert trained == ["cyd", "dan"]
    own = next(a for a in house.store.artifacts("ana") if a.kind == "adapter")
    np.testing.assert_allclose(
        delta(pieces_of(house)["ana"]), peft_format.load(own.body.read()).delta("out"), atol=1e-3
    )


def test_where_many_share_each_group_alike_gives_one_persons_pieces(house):
    for n in range(3):
        house.store.add(history(f"tea{n}", "green tea ana", 5))
        share(house.store, f"tea{n}", True)
    house.fit({"name": "per_pcs", "sharers": 4}, [*DRINKS, *(f"tea{n}" for n in range(3))])
    assert len(pieces_of(house)) == 4


def test_it_is_chosen_anew_after_enough_records(house):
    method = PerPcs(refresh=3)
    assert not method.stale(view(house.store, "gus"))  # there are no pieces
    house.fit({"name": "per_pcs", "refresh": 3}, [*DRINKS])
    assert method.stale(view(house.store, "gus"))
    assert not method.stale(view(house.store, "nobody"))
    house.consolidate([{"name": "per_pcs", "refresh": 3}], ["gus"])
    assert not method.stale(view(house.store, "gus"))
    house.store.add([say("gus", f"plum juice {n}", NOW - n) for n in range(3)])
    assert method.stale(view(house.store, "gus"))


def test_pieces_of_another_model_change_nothing(house):
    house.fit("per_pcs", [*DRINKS, "gus"])
    house.backend.strength = 2.0
    assert plan(house, "gus") == ASK
    house.consolidate(["per_pcs"], ["gus"])
    assert plan(house, "gus") == ASK


def test_a_backend_that_only_serves_chooses_nothing(house):
    house.fit("per_pcs", [*DRINKS])
    house.backend.supports = house.backend.supports - {"training"}
    assert house.consolidate(["per_pcs"], ["gus"]) == 0
    assert plan(house, "ana").adapters
