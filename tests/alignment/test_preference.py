"""Simulated people with known tastes, through the whole house."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import HashEmbedder, InsideToy, open_store
from idiolect.alignment.shared.comparisons import comparisons
from idiolect.alignment.shared.crowd import Crowd
from idiolect.alignment.shared.judging import Judge, Kept, Shared
from idiolect.config import Settings
from idiolect.errors import ConfigError
from idiolect.memory.feedback import Feedback, record_of
from idiolect.pipeline import Idiolect
from idiolect.registry import make_method
from idiolect.store.sharing import share
from idiolect.store.view import StoredUser
from idiolect.types import EVERYONE, Call, Choose, Option, Record

SHORT = ("Fine.", "Yes, at nine.", "It rains.", "Take the bus.")
LONG = (
    "Let me explain this at some length, with all the reasons that there are for it.",
    "There are many ways to look at it, and I shall go through each of them in turn.",
    "In order to answer that, one has to begin with the history of the whole matter.",
    "This is a question that has occupied people for a long time, and rightly so too.",
)


def choice(user, number, prompt, options, taken, item="", items=(), labels=False):
    meta = {"about": prompt, "options": list(options), "choice": taken, "item": item, "option_items": list(items)}
    meta |= {"labels": True} if labels else {}
    meta = {name: value for name, value in meta.items() if value not in ("", [])}
    return Record.new(
        user, options[taken], time=float(number + 1), kind="preference", input=prompt, source="test", meta=meta,
        key=f"{user}/{number}",
    )  # fmt: skip


def short_or_long(user, likes_short, count=12):
    """Choices of somebody who always takes the short answer, or always the long one."""
    out = []
    for n in range(count):
        options = (SHORT[n % 4], LONG[n % 4]) if n % 2 else (LONG[n % 4], SHORT[n % 4])
        short = options.index(SHORT[n % 4])
        out.append(choice(user, n, f"question {n}", options, short if likes_short else 1 - short))
    return out


@pytest.fixture
def house(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    for n in range(20):
        user = f"u{n}"
        store.add(short_or_long(user, n % 2 == 0))
        share(store, user, True)
    return Idiolect(store, InsideToy(), Settings(), clock=lambda: 1e6, backend_name="toy")


def ask(house, user, first=LONG[0], second=SHORT[0], method="preference"):
    options = (Option("A", first), Option("B", second))
    call = Call(({"role": "user", "content": "a new question"},), options=options)
    return house.plan(call, user, methods=[method]).call


def test_people_who_differ_are_told_apart(house):
    house.fit("preference", [f"u{n}" for n in range(20)])
    for user, taste in (("u0", "B"), ("u1", "A"), ("u2", "B"), ("u3", "A")):
        planned = ask(house, user)
        assert house.backend.generate([planned])[0].text == taste
        scores = np.exp(planned.choose.score(planned.choose.given))
        assert scores.sum() == pytest.approx(1.0, abs=1e-6)
        assert scores.max() > 0.8


def test_the_place_of_an_option_does_not_matter(house):
    house.fit("preference", [f"u{n}" for n in range(20)])
    one, two = ask(house, "u0"), ask(house, "u0", SHORT[0], LONG[0])
    assert one.choose.score(("A", "B")) == pytest.approx(list(reversed(two.choose.score(("A", "B")))), abs=0.2)


def test_a_persons_weights_take_under_100_bytes(house):
    house.fit("preference", [f"u{n}" for n in range(20)])
    own = [a for a in house.store.artifacts("u0") if a.method == "preference" and a.user_id == "u0"]
    assert len(own) == 1
    assert len(own[0].payload) < 100


def test_a_newcomer_is_judged_as_everybody_is_and_placed_with_few_choices(house):
    house.fit("preference", [f"u{n}" for n in range(20)])
    house.store.add(short_or_long("new", True, 5))
    before = ask(house, "new").choose.score(("A", "B"))
    assert abs(before[0] - before[1]) < 1.0  # half of the people are of either taste
    method = make_method("preference")[1]
    user = StoredUser(house.store, "new")
    assert method.stale(user)
    house.store.put_artifacts(method.place([user], house.context()))
    assert not method.stale(StoredUser(house.store, "new"))
    after = ask(house, "new").choose.score(("A", "B"))
    assert after[1] > after[0] + 1.0
    house.store.add([choice("new", 50, "one more", (SHORT[0], LONG[0]), 0)])
    assert method.stale(StoredUser(house.store, "new"))


def test_feedback_and_edits_are_learnt_from(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    for n in range(20):
        user, short = f"u{n}", n % 2 == 0
        for i in range(8):
            chosen, other = (SHORT[i % 4], LONG[i % 4]) if short else (LONG[i % 4], SHORT[i % 4])
            said = Feedback(edit=chosen) if i % 2 else Feedback(drafts=(other, chosen), chosen=1)
            store.add([record_of(user, f"question {i}", other, said, time=float(i + 1), trace="")])
        share(store, user, True)
    house = Idiolect(store, InsideToy(), Settings(), clock=lambda: 1e6, backend_name="toy")
    house.fit("preference", [f"u{n}" for n in range(20)])
    for user, better in (("u0", 1), ("u1", 0)):
        score = ask(house, user).choose.score(("A", "B"))
        assert score.index(max(score)) == better


def test_without_options_drafts_are_scored_and_a_blank_one_is_last(house):
    house.fit("preference", [f"u{n}" for n in range(20)])
    call = Call(({"role": "user", "content": "a new question"},))
    planned = house.plan(call, "u0", methods=["preference"]).call
    assert planned.choose.n == 4
    assert planned.choose.given == ()
    score = planned.choose.score((LONG[1], SHORT[1], "  "))
    assert score.index(max(score)) == 1
    assert score.index(min(score)) == 2


def test_labels_follow_the_persons_own_and_the_crowd(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    rng = np.random.default_rng(0)
    worth = rng.normal(size=40)
    for n in range(30):
        user, strict = f"u{n}", 1.5 if n % 2 else -1.5
        items = rng.permutation(40)[:24]
        rows = [
            choice(user, i, f"text {item}", ("no", "yes"), int(worth[item] + strict > 0), f"i{item}", labels=True)
            for i, item in enumerate(items)
        ]
        store.add(rows)
        share(store, user, True)
    house = Idiolect(store, InsideToy(), Settings(), clock=lambda: 1e6, backend_name="toy")
    house.fit("preference", [f"u{n}" for n in range(30)])
    for item in (int(worth.argmin()), int(np.abs(worth).argmin()), int(worth.argmax())):
        said = []
        for user in ("u0", "u1"):
            options = (Option("no"), Option("yes"))
            call = Call(({"role": "user", "content": f"text {item}"},), item=f"i{item}", options=options)
            said.append(house.plan(call, user, methods=["preference"]).call.choose.score(("no", "yes")))
        gap = [score[1] - score[0] for score in said]
        assert gap[1] > gap[0] + 1.0  # the strict one says yes sooner, whatever the item


def test_who_does_not_share_teaches_nothing_and_is_still_placed(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    for n in range(20):
        store.add(short_or_long(f"u{n}", n % 2 == 0))
        share(store, f"u{n}", n > 0)
    house = Idiolect(store, InsideToy(), Settings(), clock=lambda: 1e6, backend_name="toy")
    house.fit("preference", [f"u{n}" for n in range(20)])
    everybody = [a for a in store.artifacts(EVERYONE) if a.method == "preference"]
    assert "u0" not in everybody[0].people
    assert len(everybody[0].people) == 19
    assert ask(house, "u0").choose.score(("A", "B"))[1] > np.log(0.7)


def test_two_methods_that_choose_are_refused(house):
    house.fit("preference", [f"u{n}" for n in range(20)])
    method, user = make_method("preference")[1], StoredUser(house.store, "u0")
    taken = Call(({"role": "user", "content": "q"},), choose=Choose(2, len))
    with pytest.raises(ConfigError, match="both choose"):
        method.apply(taken, user, house.context())


def test_own_texts_count_as_chosen_over_the_models_drafts(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    tastes = ("quiet lakes and saffron", "loud engines and brisket")
    for n in range(12):
        rows = [
            Record.new(f"u{n}", f"{tastes[n % 2]} {i}", time=float(i + 1), input=f"subject {i}", key=f"{n}/{i}")
            for i in range(18)
        ]
        store.add(rows)
        share(store, f"u{n}", True)
    house = Idiolect(store, InsideToy(), Settings(), clock=lambda: 1e6, backend_name="toy")
    spec = {"name": "preference", "replays": 6}
    house.fit(spec, [f"u{n}" for n in range(12)])
    for user, better in (("u0", 0), ("u1", 1)):
        planned = house.plan(Call(({"role": "user", "content": "subject"},)), user, methods=[spec]).call
        assert isinstance(planned.choose.score, Judge)
        scores = planned.choose.score(tastes)
        assert scores[better] > scores[1 - better]


def test_comparisons_are_read_from_all_that_tells_them():
    drafts = record_of("u", "q", "a", Feedback(drafts=("a", "b"), chosen=1), time=1.0, trace="")
    edited = record_of("u", "q", "old", Feedback(edit="new"), time=1.0, trace="")
    rated = record_of("u", "q", "old", Feedback(rating=1.0), time=1.0, trace="")
    label = Record.new("u", "yes", time=1.0, input="text", kind="interaction")
    tie = Record.new("u", "equal", time=1.0, input="q", kind="preference", meta={"options": ["a", "b"]})
    found = comparisons([drafts, edited, rated, label, tie, choice("u", 0, "q", ("x", "y", "z"), 2)], ("no", "yes"))
    assert [(one.better, one.labels) for one in found] == [("b", False), ("new", False), ("yes", True), ("z", False)]
    assert list(found[1].pairs()) == [("new", "old")]
    assert list(found[3].pairs()) == [("z", "x"), ("z", "y")]


def test_nothing_is_told_of_what_too_few_others_judged():
    rows = [[choice(f"u{n}", 0, "q", ("x", "y"), n % 2, "item")] for n in range(4)]
    crowd = Crowd.of([comparisons(own) for own in rows], least=4)
    assert len(crowd.judgments("item", -1)[0]) == 4
    assert len(crowd.judgments("item", 0)[0]) == 0  # three others


def test_of_many_kinds_of_questions_each_is_read_back_as_it_was_written(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    for n in range(12):
        rows = [
            choice(f"u{n}", 12 * i + kind, f"text {i}", (f"{kind} no", f"{kind} yes"), (n + kind + i) % 2, labels=True)
            for kind in range(12)
            for i in range(1 + kind % 3)
        ]
        store.add(rows)
        share(store, f"u{n}", True)
    house = Idiolect(store, InsideToy(), Settings(), clock=lambda: 1e6, backend_name="toy")
    house.fit("preference", [f"u{n}" for n in range(12)])
    own = next(a for a in store.artifacts("u0") if a.kind == "choices")
    shared = Shared.read(next(a for a in store.artifacts(EVERYONE) if a.method == "preference").body)
    for kind in shared.kinds.values():
        kept = Kept.read(own, shared, kind)
        assert {name.split()[0] for name in kept.taken} == {kind.ground.labels[0].split()[0]}
        spread = np.sqrt(np.diag(kept.covariance))
        assert (spread <= 1.001 * np.sqrt(np.diag(kind.covariance))).all()  # a choice makes nobody less certain
