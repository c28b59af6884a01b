"""Profile-to-PEFT in a house of tea and milk drinkers, over the toy."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import HashEmbedder, RememberingToy, open_store, say
from idiolect.adaptation.profile_to_peft import ProfileToPeft
from idiolect.config import PeersPolicy, Settings
from idiolect.errors import ConfigError
from idiolect.pipeline import Idiolect
from idiolect.store.sharing import share
from idiolect.store.view import view
from idiolect.training import peft_format
from idiolect.training.generator import Generator
from idiolect.training.user_encoder import unpack
from idiolect.types import EVERYONE, Call, Record, Turn

NOW, DAY = 1_700_000_000.0, 86400.0
ASK = Call(({"role": "user", "content": "tea or milk"},), "tea or milk")
DRINKS = {"ana": "tea", "ben": "milk", "cyd": "tea", "dan": "milk", "eve": "tea", "fay": "milk"}
SPEC = {"name": "profile_to_peft", "steps": 40, "width": 16, "rank": 2, "bound": 1.0, "rate": 1e-2}


def history(user, drink, n=12):
    told = [say(user, f"a pot of {drink} please {drink} {i}", NOW - (60 - i) * DAY) for i in range(n)]
    return told + [Record.new(user, drink, time=NOW - (30 - i) * DAY, input=f"tea or milk, day {i}") for i in range(6)]


@pytest.fixture
def house(tmp_path):
    """Six people who share, three for tea and three for milk, and one, gus, who does not share."""
    store = open_store(tmp_path, HashEmbedder())
    for user, drink in DRINKS.items():
        store.add(history(user, drink))
        share(store, user, True)
    store.add(history("gus", "milk"))
    settings = Settings(peers=PeersPolicy(texts=True, least=2))
    return Idiolect(store, RememberingToy(), settings, clock=lambda: NOW, backend_name="toy")


def plan(house, user):
    return house.plan(ASK, user, methods=[SPEC]).call


def preference(house, call):
    tea, milk = house.backend.logprobs([call, call], ["tea", "milk"])
    return tea - milk


def test_planted_answers_are_told_apart_for_people_it_was_not_trained_on(house):
    house.fit(SPEC, [*DRINKS, "gus"])
    base = preference(house, ASK)
    assert preference(house, plan(house, "ana")) > base + 1
    assert preference(house, plan(house, "eve")) > base + 1  # the fifth: held out
    assert preference(house, plan(house, "gus")) < base - 1  # shares nothing
    scores = house.store.artifacts(EVERYONE)[0].scores
    assert scores["held"] < scores["plain"]


def test_the_adapter_is_made_when_it_is_served_and_a_small_vector_is_kept(house):
    house.fit(SPEC, list(DRINKS))
    embedded = house.store.embedder.calls
    call = plan(house, "ana")
    assert house.store.embedder.calls == embedded
    portrait, generator = house.store.artifacts("ana")[0], house.store.artifacts(EVERYONE)[0]
    assert {used.id for used in call.used} == {portrait.id, generator.id}
    assert portrait.body is None
    assert len(portrait.payload) < 1000
    vector = unpack(portrait.payload)[0]["vector"]
    wanted = Generator.load(generator.body.read()).adapter(vector)
    made = call.adapters[0].body.read()
    assert made == peft_format.dump(wanted)
    assert len(made) == call.adapters[0].body.size
    assert call.adapters[0].body.digest != plan(house, "ben").adapters[0].body.digest


def test_one_record_and_one_turn_are_enough_for_a_new_person(house):
    house.fit(SPEC, list(DRINKS))
    house.store.add([say("ida", "a pot of milk please milk", NOW - 5)])
    assert plan(house, "ida") == ASK
    house.observe(Turn(ASK.messages, "Milk it is.", NOW), "ida", house.methods([SPEC]))
    assert preference(house, plan(house, "ida")) < preference(house, ASK) - 1


def test_a_new_network_and_enough_records_make_what_was_kept_stale(house):
    settings = {key: value for key, value in SPEC.items() if key != "name"}
    method = ProfileToPeft(**settings, refresh=3)
    assert not method.stale(view(house.store, "gus"))
    house.fit(SPEC, list(DRINKS))
    assert method.stale(view(house.store, "gus"))
    house.consolidate([SPEC], ["gus"])
    assert not method.stale(view(house.store, "gus"))
    house.store.add([say("gus", f"tea {n}", NOW - n) for n in range(3)])
    assert method.stale(view(house.store, "gus"))
    house.consolidate([{**SPEC, "refresh": 3}], ["gus"])
    assert not method.stale(view(house.store, "gus"))
    house.store.add([Record.new("ana", "milk", time=NOW - 1, input="tea or milk, today")])
    house.fit(SPEC, list(DRINKS))
    assert method.stale(view(house.store, "gus"))


def test_a_withdrawal_takes_the_network_back_and_everybodys_adapters_with_it(house):
    house.fit(SPEC, [*DRINKS, "gus"])
    share(house.store, "ben", False)
    assert not house.store.artifacts(EVERYONE)
    assert plan(house, "ana") == plan(house, "gus") == ASK


def test_without_an_embedder_it_says_what_to_set(tmp_path):
    store = open_store(tmp_path)
    for user, drink in DRINKS.items():
        store.add(history(user, drink))
        share(store, user, True)
    settings = Settings(peers=PeersPolicy(texts=True, least=2))
    house = Idiolect(store, RememberingToy(), settings, clock=lambda: NOW, backend_name="toy")
    with pytest.raises(ConfigError, match="set embedder to"):
        house.fit(SPEC, list(DRINKS))


def test_nothing_is_learnt_from_one_person(house):
    house.store.add([say("zoe", "hello", NOW - 9)])
    share(house.store, "zoe", True)
    assert house.fit(SPEC, ["ana", "zoe"]) == 0
    assert np.array_equal(house.backend.logits(plan(house, "ana")), house.backend.logits(ASK))
