"""A tiny model whose person changes their mind, and one that learns a new person from few records."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaptation.people import WORDS, Person, accuracy, context, gave, losses, tiny
from idiolect import registry
from idiolect.adaptation.shared.attach import plain

pytest.importorskip("torch")

TASTE = [(f"{word} is", ("red", "blue")[n % 2]) for n, word in enumerate(WORDS)]
CHANGED = [(asked, "blue" if answer == "red" else "red") for asked, answer in TASTE]
OTHERS = [(f"is {word}", ("café", "sings")[n % 3 > 0]) for n, word in enumerate(WORDS)]
SETTINGS = {"context": "none", "epochs": 6, "rate": 1e-2, "rank": 4, "batch": 8}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("tiny"))


def lora(**more):
    return registry.build(registry.methods.get("lora"), {**SETTINGS, **more})


def given(user, times, day=0.0):
    """Records of several rounds of questions, one a day in turn."""
    asked = [pair for pairs, rounds in times for _ in range(rounds) for pair in pairs]
    return [gave(user, *pair, day + n) for n, pair in enumerate(asked)]


@pytest.fixture(scope="module")
def past(model):
    """Somebody who had a taste, and knew what others ask, and the adapter of that time."""
    ana = Person("ana", given("ana", [(TASTE + OTHERS, 3)]))
    made = list(lora(epochs=12).fit([ana], context(model)))
    assert accuracy(model, TASTE + OTHERS, made[0]) > 0.9
    return ana.history, made


def updated(model, past, **more):
    """The adapter after the taste has changed, trained on with these settings from the same one."""
    history, made = past
    method = lora(**more)
    ana = Person("ana", [*history, *given("ana", [(CHANGED, 4)], 300.0)])
    ana.keep([replace(one, settings=plain(method, without=("weight", "refresh"))) for one in made])
    list(map(ana.keep, [[one] for one in method.fit([ana], context(model))]))
    return method.current(ana, model.fingerprint)


def test_a_changed_taste_is_learnt_in_one_update_and_nothing_else_is_lost(model, past):
    held = updated(model, past)
    assert accuracy(model, CHANGED, held) > 0.9
    assert accuracy(model, OTHERS, held) > 0.9
    free = updated(model, past, proximal=0.0, replay=0.0)
    assert accuracy(model, CHANGED, free) > 0.9
    assert accuracy(model, OTHERS, free) < 0.9


def test_from_the_meta_adapter_few_records_of_a_new_person_suffice(model):
    def of(user, colour, days):
        return Person(user, [gave(user, f"{WORDS[day % 8]} is", colour, day) for day in days])

    few = {"context": "none", "rank": 4, "rate": 1e-2, "epochs": 2}
    everybody = [of(f"u{n}", ("red", "blue")[n % 2], range(8)) for n in range(6)]
    learning = registry.build(registry.methods.get("meta_lora"), {**few, "rounds": 8, "people": 4, "seed": 1})
    (artifact,) = learning.fit(everybody, context(model))
    held_out = [(f"{word} is", "blue") for word in WORDS[4:]]
    found = {}
    spec = "meta_lora:context=none:rank=4:rate=0.01:epochs=2:rounds=8:people=4:seed=1"
    for start in ("", spec):
        ana = of("ana", "blue", range(4))
        ana.keep([artifact])
        adapter = next(iter(lora(**few, start=start, hold_out=0.0).fit([ana], context(model))))
        found[start] = losses(model, held_out, adapter).mean()
    assert found[spec] < 0.5 * found[""]
