"""What a person's next training is on, and which of what came of it serves."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from adaptation.people import DAY, START, Person, Trains, context, gave
from idiolect import registry
from idiolect.adaptation.shared.lifelong import LESSON, Course, Lesson
from idiolect.types import Artifact

COURSE = Course(40, 0.1, 4, True, 0.2, 90.0, 1000, 0)


def lora(**more):
    return registry.build(registry.methods.get("lora"), {"context": "none", "refresh": 8, **more})


def records(start: int, n: int, user: str = "ana"):
    return [gave(user, f"question {i}", f"answer {i}", i) for i in range(start, start + n)]


def fit(method, person: Person, model: Trains, **more) -> list[Artifact]:
    made = list(method.fit([person], context(model, **more)))
    person.keep(made)
    return made


def told(artifact: Artifact):
    return orjson.loads(artifact.payload)


@pytest.fixture
def ana() -> Person:
    return Person("ana", records(0, 20))


@pytest.fixture
def model() -> Trains:
    return Trains()


class TestUpdate:
    def test_goes_on_from_the_last_adapter_with_what_came_and_a_fifth_of_the_older_records(self, ana, model):
        method = lora(proximal=0.5)
        first, lesson = fit(method, ana, model)
        assert (first.kind, lesson.kind) == ("adapter", LESSON)
        assert model.jobs[0].start is None
        assert model.recipes[0].proximal == 0.0
        ana.history = [*ana.history, *records(20, 10)]
        second, lesson = fit(method, ana, model)
        job, recipe = model.jobs[1], model.recipes[1]
        assert job.start == first.body
        assert (recipe.proximal, recipe.patience) == (0.5, 0)
        said = told(second)
        # two were held out before: they are learnt now; 18 older ones, of which a fifth is seen again
        assert (said["from"], said["new"], said["replayed"], said["withheld"]) == (first.id, 12, 4, 4)
        assert [one.text for one in job.held] == [f"answer {n}" for n in range(26, 30)]
        texts = {one.text for one in job.examples}
        assert {f"answer {n}" for n in range(18, 26)} <= texts
        assert len(texts) == 8 + 4
        assert told(lesson)["served"] == second.id

    def test_rests_on_everything_that_the_earlier_ones_came_from(self, ana, model):
        method = lora()
        fit(method, ana, model)
        ana.history = [*ana.history, *records(20, 10)]
        second = fit(method, ana, model)[0]
        assert set(second.record_ids) == {record.id for record in ana.history}
        assert len(second.record_ids) == 30
        assert list(second.record_ids[-3:]) == [record.id for record in ana.history[-3:]]
        ana.forget(ana.history[0].id)
        assert [one.kind for one in ana.artifacts if one.kind == "adapter"] == []
        assert method.stale(ana)

    def test_that_foresees_the_newest_worse_does_not_serve_and_is_told(self, ana, model):
        method = lora()
        first = fit(method, ana, model)[0]
        ana.history = [*ana.history, *records(20, 10)]
        model.held = (1.0, 1.5, 1.25)
        (lesson,) = fit(method, ana, model)
        assert lesson.kind == LESSON
        assert told(lesson)["served"] == ""
        assert told(lesson)["held"] == [1.0, 1.5, 1.25]
        assert told(lesson)["from"] == first.id
        assert method.current(ana, "new@1") == first
        assert not method.stale(ana)  # it was tried: not again before more has come
        assert fit(method, ana, model) == []
        ana.history = [*ana.history, *records(30, 8)]
        model.held = (1.0, 1.0)
        assert method.stale(ana)
        second = fit(method, ana, model)[0]
        assert told(second)["new"] == 20  # what the refused one was on counts as new to the adapter
        assert set(second.record_ids) == {record.id for record in ana.history}

    def test_a_version_that_was_rolled_back_is_not_trained_again_on_the_same_records(self, ana, model):
        method = lora()
        first = fit(method, ana, model)[0]
        ana.history = [*ana.history, *records(20, 10)]
        second = fit(method, ana, model)[0]
        ana.drop(second)
        assert method.current(ana, "new@1") == first
        assert not method.stale(ana)
        assert fit(method, ana, model) == []
        ana.history = [*ana.history, *records(30, 3)]
        assert fit(method, ana, model) == []  # too few to be another lesson
        ana.history = [*ana.history, *records(33, 5)]
        assert method.stale(ana)
        assert told(fit(method, ana, model)[0])["from"] == first.id

    def test_what_rests_on_too_much_is_begun_anew(self, ana, model):
        method = lora(span=45, newest=20)
        fit(method, ana, model)
        ana.history = [*ana.history, *records(20, 10)]
        fit(method, ana, model)
        ana.history = [*ana.history, *records(30, 10)]
        third = fit(method, ana, model)[0]
        assert [job.start is None for job in model.jobs] == [True, False, True]
        assert list(third.record_ids) == [record.id for record in ana.history[-20:]]

    def test_older_records_that_were_passed_over_are_not_new(self, model):
        ana, method = Person("ana", records(0, 60)), lora(newest=20)
        fit(method, ana, model)
        assert fit(method, ana, model) == []
        ana.history = [*ana.history, *records(60, 6)]
        second = fit(method, ana, model)[0]
        assert (told(second)["new"], told(second)["replayed"]) == (8, 12)  # never more than `newest` in all
        assert fit(method, ana, model) == []

    def test_more_than_fits_is_passed_over_for_good(self, ana, model):
        method = lora(newest=20)
        fit(method, ana, model)
        ana.history = [*ana.history, *records(20, 30)]
        assert told(fit(method, ana, model)[0])["new"] == 20
        assert fit(method, ana, model) == []

    def test_anew_begins_from_nothing_each_time(self, ana, model):
        method = lora(update="anew")
        fit(method, ana, model)
        assert fit(method, ana, model) == []
        ana.history = [*ana.history, *records(20, 1)]
        second = fit(method, ana, model)[0]
        assert model.jobs[1].start is None
        assert (told(second)["from"], told(second)["replayed"]) == ("", 0)
        ana.drop(second)
        assert fit(method, ana, model) == []

    def test_another_model_begins_anew(self, ana, model):
        method = lora()
        fit(method, ana, model)
        other = Trains("other@2")
        fit(method, ana, other)
        assert other.jobs[0].start is None
        assert method.current(ana, "other@2").base_model == "other@2"

    def test_many_people_are_trained_in_two_rounds_each_only_once(self, model):
        method = lora()
        people = [Person(name, records(0, 20, name)) for name in ("ana", "bob")]
        fit(method, people[0], model)
        people[0].history = [*people[0].history, *records(20, 10)]
        seen = []
        made = list(method.fit(iter(people), context(model, progress=lambda done, total: seen.append((done, total)))))
        assert [one.user_id for one in made if one.kind == "adapter"] == ["bob", "ana"]
        assert [(job.key, job.start is None) for job in model.jobs[1:]] == [("bob", True), ("ana", False)]


def test_of_two_older_records_the_newer_is_seen_again_more_often():
    history = records(0, 100)
    times = np.array([history.index(r) for seed in range(200) for r in seeded(seed)._again(history, 99, START)])
    share = (times >= 50).mean()
    assert pytest.approx(1 - share, abs=0.05) == 0.5 ** (50 / 90) / (1 + 0.5 ** (50 / 90))


def seeded(seed: int) -> Course:
    return Course(100, 0.1, 4, True, 0.2, 90.0, 1000, seed)


def test_ages_of_centuries_do_not_hide_the_others():
    old = [gave("ana", "q", f"a{n}", -365.0 * 400 * n) for n in range(10, 0, -1)]
    assert len(COURSE._again(old, 9, START + 1e4 * DAY)) == 2


def test_the_first_lesson_holds_out_the_newest():
    found = records(0, 20)
    lesson = COURSE.first(Person("ana", found), None, None)
    assert isinstance(lesson, Lesson)
    assert (lesson.learnt, lesson.held) == (found[:18], found[18:])
    assert lesson.rests_on == [record.id for record in found]
    assert COURSE.first(Person("ana", found[:3]), None, None) is None
