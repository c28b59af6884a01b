"""A person's own weights from what they chose over what."""

from __future__ import annotations

import orjson
import pytest

from adaptation.people import Person, Trains, context
from alignment.people import COLOURS, NOW, SMALL, WORDS, asked, edited, house, leans, plan, seen, took
from helpers import say
from idiolect import registry
from idiolect.alignment.shared.objectives import margins
from idiolect.errors import ConfigError, UnknownName
from idiolect.evidence.weights import owns_weights
from idiolect.store.adapters import adapters

DPO = {"name": "dpo", **SMALL}


def dpo(**more):
    return registry.build(registry.methods.get("dpo"), {"context": "none", **more})


def jobs(person, **more):
    """What a person would be trained on, and how."""
    model = Trains()
    made = list(dpo(**more).fit([person], context(model)))
    return model.jobs, model.recipes, made


class TestWhatIsLearntFrom:
    def test_a_choice_counts_once_however_many_texts_it_was_among(self):
        among = {"options": ["red", "blue", "tea", "on", "in"], "choice": 1, "about": "the cat"}
        ana = Person("ana", [say("ana", "blue", NOW + n, kind="preference", meta=among) for n in range(2)])
        (job,), _, _ = jobs(ana, rivals=3)
        assert [(one.text, one.rejected, one.weight) for one in job.examples[:3]] == [
            ("blue", "red", 1 / 3), ("blue", "tea", 1 / 3), ("blue", "on", 1 / 3)
        ]  # fmt: skip
        assert {one.call.messages[-1]["content"] for one in job.examples} == {"the cat"}

    def test_an_edit_is_better_than_what_was_edited(self):
        ana = Person("ana", [edited("ana", word, "red tea now", "blue dog", NOW) for word in WORDS[:2]])
        (job,), (recipe,), _ = jobs(ana)
        assert [(one.text, one.rejected) for one in job.examples] == [("red tea now", "blue dog")] * 2
        assert (recipe.objective, recipe.beta, recipe.weights) == ("preference", 0.1, (1.0,))

    def test_whoever_chose_nothing_or_too_little_gets_nothing(self):
        said = [say("ana", f"I like tea {n}", NOW + n, input="what") for n in range(9)]
        for history in ([], said, [*said, took("ana", "cat", "red tea", "blue dog", NOW + 9)]):
            assert jobs(Person("ana", history)) == ([], [], [])

    def test_the_newest_choices_are_held_out(self):
        ana = Person("ana", [took("ana", f"cat {n}", "red tea", "blue dog", NOW + n) for n in range(20)])
        (job,), _, (made,) = jobs(ana)
        assert [len(job.examples), len(job.held)] == [18, 2]
        assert [one.call.messages[-1]["content"] for one in job.held] == [asked("cat 18"), asked("cat 19")]
        assert list(made.record_ids) == [record.id for record in ana.history]

    def test_other_objectives_give_margins_and_take_weight(self):
        ana = Person("ana", [took("ana", word, "red tea on and on", "dog", NOW) for word in WORDS[:2]])
        (job,), (recipe,), _ = jobs(ana, objectives=["brief"], margins=[0.25])
        assert recipe.weights == (0.75, 0.25)
        assert {one.margins for one in job.examples} == {margins(["brief"], "red tea on and on", "dog")}
        assert job.examples[0].margins[0] < 0

    @pytest.mark.parametrize(("objectives", "shares"), [(["brief"], []), (["brief"], [1.0]), (["brief"], [-0.5])])
    def test_weights_that_leave_nothing_are_refused(self, objectives, shares):
        ana = Person("ana", [took("ana", word, "red", "blue", NOW) for word in WORDS])
        with pytest.raises(ConfigError, match="dpo"):
            jobs(ana, objectives=objectives, margins=shares)

    def test_an_objective_that_is_none_is_refused_with_the_nearest_name(self):
        with pytest.raises(UnknownName, match="brief"):
            margins(["breif"], "red", "blue")

    def test_margins_are_differences_a_constant_changes_nothing(self, monkeypatch):
        from idiolect.alignment.shared import objectives

        before = margins(["brief", "detailed", "warm"], "I love red tea now!", "dog")
        shifted = {name: lambda text, r=reward: r(text) + 5.0 for name, reward in objectives.REWARDS.items()}
        monkeypatch.setattr(objectives, "REWARDS", shifted)
        assert margins(["brief", "detailed", "warm"], "I love red tea now!", "dog") == pytest.approx(before, abs=1e-12)

    def test_it_is_due_once_enough_was_chosen(self):
        method, ana = dpo(refresh=3), Person("ana", [say("ana", f"tea {n}", NOW - n) for n in range(1, 9)])
        assert not method.stale(ana)
        ana.history = [*ana.history, *(took("ana", word, "red", "blue", NOW) for word in WORDS[:2])]
        assert method.stale(ana)
        ana.keep(list(method.fit([ana], context(Trains()))))
        assert not method.stale(ana)
        ana.history = [*ana.history, *(say("ana", f"dog {n}", NOW + n) for n in range(1, 9))]
        assert not method.stale(ana)  # records, and no choices
        ana.history = [*ana.history, *(took("ana", word, "red", "blue", NOW + 9) for word in WORDS[2:5])]
        assert method.stale(ana)

    def test_the_gate_takes_it_for_weights_of_a_persons_own(self):
        assert owns_weights("dpo")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    pytest.importorskip("torch")
    app = house(tmp_path_factory.mktemp("house"), counts=(8, 8, 0))
    assert app.fit(DPO, ["ana", "bob"]) == 2
    return app


def test_each_one_is_answered_as_they_choose(app):
    bare = leans(app, plan(app, "nobody", DPO))
    assert leans(app, plan(app, "ana", DPO)) > bare + 1
    assert leans(app, plan(app, "bob", DPO)) < bare - 1
    assert not plan(app, "nobody", DPO).adapters


def test_nobody_is_trained_twice_on_the_same_choices(app):
    assert app.fit(DPO, ["ana", "bob"]) == 0


def test_what_was_learnt_is_listed_like_any_adapter(app):
    (kept,) = adapters(app.store, "ana")
    about = kept.about()
    assert (about["method"], about["records"], about["rank"], about["newest"]) == ("dpo", 8, 4, True)
    told = orjson.loads(kept.artifact.payload)
    assert told["held"] == []
    assert told["losses"][-1] < 0.6 * told["losses"][0]


def test_brevity_is_traded_for_what_was_chosen(tmp_path):
    """Somebody takes the long text now and the short one then; what weighs brevity too leans to the short one."""
    pytest.importorskip("torch")
    app, long, short = house(tmp_path, counts=(0, 0, 0)), "red tea and on and on", "blue dog"
    app.store.add(
        took("ana", word, *((long, short) if n % 2 else (short, long)), NOW + n) for n, word in enumerate(WORDS)
    )
    found = {}
    for weight in (0.0, 0.5):
        more = {"objectives": ["brief"], "margins": [weight]} if weight else {}
        method = {"name": "dpo", **SMALL, **more, "epochs": 6}
        app.fit(method, ["ana"])
        found[weight] = leans(app, plan(app, "ana", method), short, long)
    assert found[0.5] > found[0.0] + 1


def test_on_top_of_own_weights_it_rests_on_their_records_too(tmp_path):
    pytest.importorskip("torch")
    app = house(tmp_path, counts=(8, 0, 0))
    given = [say("ana", "café sings", NOW - 100 + n, input=f"is the {word}") for n, word in enumerate(WORDS)]
    app.store.add(given)
    under = "lora:context=none:epochs=2:rank=2:hold_out=0.0"
    app.fit({"name": "lora", "context": ["none"], "epochs": 2, "rank": 2, "hold_out": 0.0}, ["ana"])
    method = {**DPO, "context": [under]}
    app.fit(method, ["ana"])
    call = plan(app, "ana", method)
    assert [used.method for used in call.used] == ["lora", "dpo"]
    own = next(a for a in seen(app, "ana").artifacts if a.method == "dpo")
    assert {record.id for record in given} <= set(own.record_ids)
    bare = plan(app, "ana", registry_spec(under))
    assert leans(app, call) > leans(app, bare) + 1
    app.store.delete("ana", [given[0].id])
    assert not plan(app, "ana", method).adapters


def registry_spec(text):
    name, settings = registry.read_settings(text)
    return {"name": name, **settings}


def test_the_two_take_opposite_things():
    assert COLOURS["ana"] == COLOURS["bob"][::-1]
