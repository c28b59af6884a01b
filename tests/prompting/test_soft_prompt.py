from dataclasses import replace

import numpy as np
import pytest

from helpers import HashEmbedder, InsideToy, open_store, say
from idiolect.config import PeersPolicy, Settings
from idiolect.errors import ConfigError
from idiolect.pipeline import Idiolect
from idiolect.prompting.soft_prompt import SoftPrompt, newest
from idiolect.store.sharing import share
from idiolect.store.view import view
from idiolect.types import EVERYONE, Call, Record

NOW, DAY = 1_700_000_000.0, 86400.0
ASK = Call(({"role": "user", "content": "tea or milk"},), "tea or milk")
DRINKS = {"ana": "tea", "ben": "milk", "cyd": "tea", "dan": "milk", "eve": "tea", "fay": "milk"}
HEADS = ["mean", "attention", "difference", "resampler", "compressed"]


def history(user, drink, n=12):
    said = f"a pot of {drink} please {drink}"
    told = [say(user, f"{said} {i}", NOW - (60 - i) * DAY, meta={"item": f"i{i % 3}"}) for i in range(n)]
    return told + [
        Record.new(user, drink, time=NOW - (30 - i) * DAY, input=f"tea or milk, day {i}", meta={"item": f"i{i % 3}"})
        for i in range(6)
    ]


@pytest.fixture
def house(tmp_path):
    """Six people who share, three for tea and three for milk, and one, gus, who does not share."""
    store = open_store(tmp_path, HashEmbedder())
    for user, drink in DRINKS.items():
        store.add(history(user, drink))
        share(store, user, True)
    store.add(history("gus", "milk"))
    settings = Settings(peers=PeersPolicy(texts=True, least=2))
    return Idiolect(store, InsideToy(), settings, clock=lambda: NOW, backend_name="toy")


def spec(head, **more):
    return {"name": "soft_prompt", "head": head, "steps": 40, "rate": 1e-2, **more}


def plan(house, user, what, call=ASK, **more):
    return house.plan(call, user, methods=[what], **more).call


def preference(house, call):
    tea, milk = house.backend.logprobs([call, call], ["tea", "milk"])
    return tea - milk


@pytest.mark.parametrize("head", HEADS)
def test_planted_answers_are_told_apart_and_another_persons_history_serves_worse(house, head):
    what = spec(head)
    house.fit(what, list(DRINKS))
    soft = {user: plan(house, user, what) for user in [*DRINKS, "gus"]}
    assert all(call.soft_prompt.shape == (4, 16) for call in soft.values())
    norms = np.linalg.norm(soft["ana"].soft_prompt, axis=1)
    np.testing.assert_allclose(norms, house.backend.embedding_norm, rtol=1e-2)
    assert preference(house, soft["ana"]) > preference(house, soft["ben"]) + 1
    assert (
        preference(house, soft["cyd"]) > preference(house, soft["gus"]) + 1
    )  # gus does not share and has no tokens kept
    scores = house.store.artifacts(EVERYONE)[0].scores
    assert scores["held"] < scores["plain"]  # people whom it was not fitted to


@pytest.mark.parametrize("head", [head for head in HEADS if head != "attention"])
def test_what_was_kept_equals_what_is_encoded_now_and_embeds_nothing(house, head):
    what = spec(head, steps=2)
    house.fit(what, list(DRINKS))
    before = house.store.embedder.calls
    kept = plan(house, "ana", what)
    assert house.store.embedder.calls == before
    mine = [a for a in house.store.artifacts("ana") if a.method == "soft_prompt"]
    assert {use.id for use in kept.used} == {mine[0].id, house.store.artifacts(EVERYONE)[0].id}
    assert len(mine[0].payload) < 8000
    house.store.delete_artifacts("ana", [mine[0].id])
    now = plan(house, "ana", what)
    np.testing.assert_array_equal(now.soft_prompt, kept.soft_prompt)
    read = {use.id for use in now.used if use.what == "record" and not use.owner}
    assert read == {record.id for record in house.store.all_records("ana")}


def test_what_was_kept_serves_until_enough_has_come_since(house):
    what = spec("mean", steps=1, refresh=3)
    house.fit(what, list(DRINKS))
    kept = plan(house, "ana", what)
    house.store.add([say("ana", f"milk now {n}", NOW + n) for n in range(2)])
    np.testing.assert_array_equal(plan(house, "ana", what).soft_prompt, kept.soft_prompt)
    house.store.add([say("ana", "milk from today", NOW + 5)])
    assert not np.array_equal(plan(house, "ana", what).soft_prompt, kept.soft_prompt)


def test_the_attention_depends_on_the_question_and_says_what_it_weighed(house):
    what = spec("attention", steps=1)
    house.fit(what, list(DRINKS))
    one, two = plan(house, "ana", what), plan(house, "ana", what, replace(ASK, focus="day 3"))
    assert not np.array_equal(one.soft_prompt, two.soft_prompt)
    records = [use for use in one.used if use.what == "record"]
    assert sum(use.score for use in records) == pytest.approx(1)
    assert all(not use.text for use in records)
    assert not [a for a in house.store.artifacts("ana") if a.method == "soft_prompt"]


def test_differences_name_those_whom_a_person_was_compared_with(house):
    what = spec("difference", steps=1)
    house.fit(what, list(DRINKS)[:4])
    mine = next(a for a in house.store.artifacts("ana") if a.method == "soft_prompt")
    assert set(mine.people) == set(DRINKS) - {"ana"}  # eve and fay share: they were read, not fitted to
    assert set(house.store.artifacts(EVERYONE)[0].people) == set(DRINKS)
    owners = {use.owner for use in plan(house, "gus", what).used}
    assert owners == {"", *DRINKS}
    share(house.store, "fay", False)
    assert not house.store.artifacts(EVERYONE)
    assert plan(house, "gus", what) == ASK


def test_without_allowed_texts_the_difference_is_nothing(house):
    house.peers.policy = replace(house.peers.policy, texts=False)
    what = spec("difference", steps=1)
    house.fit(what, list(DRINKS))
    soft = [plan(house, user, what).soft_prompt for user in ("ana", "ben")]
    np.testing.assert_array_equal(soft[0][2:], soft[1][2:])
    assert not np.array_equal(soft[0][:2], soft[1][:2])


def test_another_model_another_embedder_and_other_forms_leave_the_call(house):
    what = spec("mean", steps=1)
    house.fit(what, list(DRINKS))
    assert plan(house, "ana", what) != ASK
    assert plan(house, "ana", spec("resampler")) == ASK
    assert plan(house, "ana", spec("mean", tokens=5)) == ASK
    assert plan(house, "ana", what, tokens=3) == ASK  # no room for four tokens
    assert plan(house, "nobody", what) == ASK
    house.store.embedder.fingerprint = "hash-2"
    assert plan(house, "ana", what) == ASK
    house.store.embedder.fingerprint = "hash-1"
    house.backend.strength = 2.0
    assert plan(house, "ana", what) == ASK


def test_it_stands_behind_a_soft_prompt_that_is_there(house):
    what = spec("mean", steps=1)
    house.fit(what, list(DRINKS))
    there = replace(ASK, soft_prompt=np.ones((2, 16), np.float32))
    both = plan(house, "ana", what, there).soft_prompt
    np.testing.assert_array_equal(both, np.concatenate([there.soft_prompt, plan(house, "ana", what).soft_prompt]))


def test_without_an_embedder_it_says_what_to_set(house):
    with pytest.raises(ConfigError, match="embedder"):
        next(SoftPrompt().fit([], replace(house.context(), embedder=None)))


def test_the_newest_records_oldest_first(house):
    house.store.add([say("ana", f"n {n}", NOW + n) for n in range(70)])
    assert [r.output for r in newest(view(house.store, "ana"))] == [f"n {n}" for n in range(6, 70)]
