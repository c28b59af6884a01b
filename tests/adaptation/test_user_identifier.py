"""The strings that stand for people, and the flip test: opposite answers to the same questions by the string alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from idiolect.adaptation.user_identifier import UserIdentifier, identifier
from idiolect.registry import settings_of
from idiolect.types import EVERYONE
from merged import logprobs
from tiny import ask

pytest.importorskip("torch")
LABELS = ["red", "blue"]
KEY = bytes(range(32))
METHOD = UserIdentifier(length=6, drop=0.0, rate=2e-2, epochs=30, batch=8, hold_out=0.0)


@pytest.fixture(autouse=True)
def fixed_key(monkeypatch):
    monkeypatch.setattr("idiolect.adaptation.user_identifier.secrets.token_bytes", lambda n: KEY[:n])


def spec(method):
    return {"name": "user_identifier", **settings_of(method)}


def test_a_string_is_the_same_every_time_and_another_for_another_person_or_key():
    ana = identifier(KEY, "ana", 10, 49152)
    assert ana == identifier(KEY, "ana", 10, 49152)
    assert ana[:4] == identifier(KEY, "ana", 4, 49152)
    for other in (identifier(KEY, "bob", 10, 49152), identifier(KEY[::-1], "ana", 10, 49152)):
        assert not set(ana) & set(other)


def test_ids_are_uniform_over_the_vocabulary():
    found = np.bincount([i for n in range(2000) for i in identifier(KEY, f"u{n}", 10, 20)], minlength=20)
    # chi-square with 19 degrees of freedom: above 43.8 once in a thousand
    assert ((found - 1000) ** 2 / 1000).sum() < 43.8


def test_opposite_people_are_told_apart_by_their_strings_and_swapping_these_swaps_the_answers(opposites):
    opposites.house.fit(spec(METHOD), ["ana", "bob", "cyd"])
    right = {name: opposites.right(METHOD, name) for name in ("ana", "bob")}
    assert min(right.values()) > 0.95
    assert opposites.right(METHOD, "ana", marked_as="bob") < 0.05
    assert opposites.right(METHOD, "bob", marked_as="ana") < 0.05
    artifact = opposites.user("ana").artifacts[0]
    assert artifact.user_id == EVERYONE
    assert artifact.people == ("ana", "bob")
    assert not opposites.house.store.artifacts("ana")  # nothing is stored of a person


def test_without_strings_the_same_training_stays_at_chance(opposites):
    without = replace(METHOD, drop=1.0)
    opposites.house.fit(spec(without), ["ana", "bob"])
    calls = [without.apply(ask("the cat"), opposites.user(name), opposites.ctx) for name in ("ana", "bob")]
    bare = [logprobs(opposites.house.backend, replace(call, soft_prompt=None), LABELS) for call in calls]
    assert bare[0] == bare[1]
    assert abs(bare[0][0] - bare[0][1]) < 0.7


def test_who_did_not_take_part_gets_the_shared_weights_without_a_string(opposites):
    opposites.house.fit(spec(METHOD), ["ana", "bob", "cyd"])
    ana, cyd = (METHOD.apply(ask("the cat"), opposites.user(name), opposites.ctx) for name in ("ana", "cyd"))
    assert cyd.soft_prompt is None
    assert ana.soft_prompt.shape == (6, 32)
    assert ana.adapters == cyd.adapters


def test_another_training_leaves_peoples_strings_as_they_are(opposites):
    quick = replace(METHOD, epochs=1)
    opposites.house.fit(spec(quick), ["ana", "bob"])
    before = quick.apply(ask("the cat"), opposites.user("ana"), opposites.ctx)
    record = opposites.user("ana").history[0]
    opposites.house.store.add([replace(record, id="z" + record.id[1:], time=record.time + 5000)])
    opposites.house.fit(spec(quick), ["ana", "bob"])
    after = quick.apply(ask("the cat"), opposites.user("ana"), opposites.ctx)
    assert after.adapters != before.adapters
    np.testing.assert_array_equal(after.soft_prompt, before.soft_prompt)


def test_a_string_longer_than_the_budget_is_not_served(opposites):
    quick = replace(METHOD, epochs=1)
    opposites.house.fit(spec(quick), ["ana", "bob"])
    call = ask("the cat")
    assert quick.apply(call, opposites.user("ana"), replace(opposites.ctx, tokens=5)) == call
