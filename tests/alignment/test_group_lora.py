"""Weights for each group and for everybody: who teaches which, and which one serves whom."""

from __future__ import annotations

import orjson
import pytest

from adaptation.people import Person, Trains, context
from alignment.people import SMALL, house, leans, plan, took
from helpers import say
from idiolect import registry
from idiolect.store.sharing import share
from idiolect.types import EVERYONE

NOW = 1e8
GROUP = {"name": "group_lora", **SMALL, "learn": "choices", "least": 2, "hold_out": 0.0}


def method(**more):
    return registry.build(registry.methods.get("group_lora"), {"context": "none", **more})


def writes(name, groups=(), count=4):
    records = [say(name, f"{name} says {n}", NOW + n, input=f"what {n}") for n in range(count)]
    return Person(name, records, groups=tuple(groups))


def taught(people, **more):
    """By group: who taught it."""
    model = Trains()
    made = list(method(**more).fit(people, context(model)))
    found = {orjson.loads(one.payload)["group"]: one for one in made}
    assert all(one.user_id == EVERYONE for one in made)
    assert {job.key for job in model.jobs} == {f"{EVERYONE}\x1f{group}" for group in found}
    return found, model


PEOPLE = (
    writes("ana", ["nurses", "staff"]), writes("ben", ["nurses", "staff"]), writes("cyd", ["staff"]), writes("dan"),
    writes("eve", ["surgeons"]),
)  # fmt: skip


def test_each_group_is_taught_by_its_people_and_everybody_by_all():
    found, model = taught(PEOPLE, least=2)
    assert {group: one.people for group, one in found.items()} == {
        "": ("ana", "ben", "cyd", "dan", "eve"), "nurses": ("ana", "ben"), "staff": ("ana", "ben", "cyd")
    }  # fmt: skip
    nurses = next(job for job in model.jobs if job.key.endswith("nurses"))
    assert {one.text.split()[0] for one in (*nurses.examples, *nurses.held)} == {"ana", "ben"}
    assert set(taught(PEOPLE, least=3)[0]) == {"", "staff"}
    assert taught([], least=1)[0] == {}


def test_the_narrowest_that_exists_serves():
    found, _ = taught(PEOPLE, least=2)
    model = context(Trains()).model.fingerprint

    def serves(*groups):
        person = writes("zoe", groups)
        person.keep(list(found.values()))
        got = method(least=2).current(person, model)
        return None if got is None else orjson.loads(got.payload)["group"]

    assert serves("nurses", "staff") == "nurses"
    assert serves("surgeons", "staff") == "staff"
    assert serves("surgeons") == serves() == ""
    assert method(least=2).current(writes("zoe", ["nurses"]), model) is None
    assert method(least=2, rank=4).current(writes("zoe", ["nurses"]), model) is None


def test_choices_are_learnt_as_comparisons():
    people = [
        Person(name, [took(name, word, "red tea", "blue dog", NOW) for word in ("cat", "dog")]) for name in ("a", "b")
    ]
    _, model = taught(people, learn="choices", hold_out=0.0)
    assert {(one.text, one.rejected) for job in model.jobs for one in job.examples} == {("red tea", "blue dog")}
    assert {recipe.objective for recipe in model.recipes} == {"preference"}
    assert taught([writes("ana")], learn="choices")[0] == {}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """Ana and another who take what she takes, bob and another who take what he takes; dan, who chose nothing."""
    pytest.importorskip("torch")
    app = house(tmp_path_factory.mktemp("house"), counts=(8, 8, 0))
    for name, like, group in (("amy", "ana", "tea"), ("bo", "bob", "dogs")):
        pair = ("red tea", "blue dog") if like == "ana" else ("blue dog", "red tea")
        app.store.add(took(name, word, *pair, NOW + n) for n, word in enumerate(("cat", "dog", "tea", "red")))
        share(app.store, name, True)
        for one in (name, like):
            app.store.set_groups(one, [group])
    app.store.add([say("dan", "hello", NOW)])
    assert app.fit(GROUP, ["ana", "bob", "amy", "bo"]) == 3
    return app


def test_somebody_without_choices_is_served_as_their_group_chose(app):
    seen = {}
    for groups in (["tea"], ["dogs"], []):
        app.store.set_groups("dan", groups)
        seen["".join(groups)] = leans(app, plan(app, "dan", GROUP))
    assert seen["tea"] > seen[""] + 1
    assert seen["dogs"] < seen[""] - 1
    assert not plan(app, "nobody", GROUP).adapters


def test_weights_of_ones_own_come_first(app):
    own = f"dpo:context=none:rank={SMALL['rank']}:rate=0.01:epochs=10"
    with_own = {**GROUP, "own": [own]}
    app.store.set_groups("ana", ["dogs"])
    assert [used.method for used in plan(app, "ana", with_own).used] == ["group_lora"]
    app.fit({"name": "dpo", **SMALL}, ["ana"])
    call = plan(app, "ana", with_own)
    assert [used.method for used in call.used] == ["dpo"]
    assert leans(app, call) > leans(app, plan(app, "ana", GROUP)) + 1
    app.store.set_groups("dan", ["tea"])
    assert [used.method for used in plan(app, "dan", with_own).used] == ["group_lora"]


def test_a_groups_weights_go_with_the_consent_of_anybody_in_it(app):
    share(app.store, "bo", False)
    left = {orjson.loads(one.payload)["group"] for one in app.store.artifacts(EVERYONE)}
    assert left == {"tea"}
