"""What is seen of other people: only with their consent, only of the past, counts only over enough of them."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.bench.people import Seen
from idiolect.store.erase import erase
from idiolect.store.peers import REFRESH, Policy, StorePeers
from idiolect.store.sharing import share
from idiolect.store.view import view

TASTES = {"ana": "tea cake", "bob": "tea cake", "cleo": "tea opera", "dora": "fish opera", "eve": "engines"}
ALL = Policy(texts=True, least=2)


def rates(user, item, output, time):
    return say(user, output, time, kind="interaction", input=f"film {item}", meta={"item": item})


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    store.add([say(user, taste, 1e9 + n) for n, (user, taste) in enumerate(TASTES.items())])
    store.add([rates(user, "alien", "good" if user < "d" else "bad", 1e9 + 10 + n) for n, user in enumerate(TASTES)])
    for user in TASTES:
        share(store, user, user != "eve")
    return store


def names(near):
    return [one.user.id for one in near]


def length(user):
    return np.array([user.count], np.float32) if user.count else None


def test_others_about_an_item_oldest_first_and_never_the_own(store):
    peers = StorePeers(store, ALL)
    assert [r.user_id for r in peers.about("alien", view(store, "ana"))] == ["bob", "cleo", "dora"]
    assert [r.user_id for r in peers.about("alien", view(store, "cleo"))] == ["ana", "bob", "dora"]
    assert peers.about("", view(store, "ana")) == []
    assert peers.about("heat", view(store, "ana")) == []


def test_a_stranger_sees_what_is_shared_about_an_item(store):
    assert len(StorePeers(store, ALL).about("alien", view(store, "nobody"))) == 4


def test_counts_leave_out_what_too_few_gave(store):
    peers = StorePeers(store, Policy(texts=False, least=2))
    assert peers.counts("alien", view(store, "ana")) == {"good": 2}
    assert StorePeers(store, Policy(least=3)).counts("alien", view(store, "ana")) == {}
    store.add([rates("dora", "alien", "bad", 1e9 + 50)])  # one person who says it twice is still one person
    assert StorePeers(store, Policy(least=2)).counts("alien", view(store, "ana")) == {"good": 2}


def test_without_texts_nothing_but_counts_and_statistics(store):
    peers, ana = StorePeers(store, Policy(texts=False, least=2)), view(store, "ana")
    assert peers.about("alien", ana) == []
    assert peers.near(ana, 3) == []
    assert peers.statistics("length", length, ana) is not None


def test_near_and_farthest_by_mean_vectors(store):
    peers, ana = StorePeers(store, ALL), view(store, "ana")
    near = peers.near(ana, 3)
    assert names(near) == ["bob", "cleo", "dora"]
    assert near[0].similarity == pytest.approx(1.0, abs=0.01)
    assert near[0].similarity > near[1].similarity > near[2].similarity
    assert names(peers.near(ana, 1, farthest=True)) == ["dora"]
    assert peers.near(view(store, "nobody"), 3) == []


def test_a_view_that_shows_less_finds_its_neighbours_by_what_it_shows(store):
    store.add([say("ana", "fish opera", 1e9 + 99)])
    peers, whole = StorePeers(store, ALL), view(store, "ana")
    assert names(peers.near(whole, 1)) != ["dora"]
    assert names(peers.near(Seen(whole, latest=1), 1)) == ["dora"]


def test_the_mean_vector_of_what_a_view_shows(store):
    peers, ana = StorePeers(store, ALL), view(store, "ana", 1e9 + 5)
    assert peers.vector(ana) == pytest.approx(store.embedder.embed(["tea cake"])[0], abs=1e-2)
    store.add([say("ana", "fish opera", 1e9 + 2)])
    assert peers.vector(Seen(view(store, "ana", 1e9 + 5), latest=1)) == pytest.approx(
        store.embedder.embed(["fish opera"])[0], abs=1e-2
    )
    assert peers.vector(view(store, "nobody")) is None


def test_statistics_are_over_the_others_and_none_for_too_few(store):
    peers = StorePeers(store, ALL)
    store.add([say("dora", "more", 1e9 + 60), say("dora", "and more", 1e9 + 61), say("ana", "own", 1e9 + 62)])
    found = peers.statistics("length", length, view(store, "ana"))
    assert found.people == 3
    assert found.mean == pytest.approx([8 / 3])  # 2, 2 and 4 records
    assert found.std == pytest.approx([np.std([2, 2, 4])])
    assert StorePeers(store, Policy(least=4)).statistics("length", length, view(store, "ana")) is None
    assert StorePeers(store, Policy(least=0), lambda: ()).statistics("length", length, view(store, "ana")) is None


def test_nothing_from_after_the_persons_own_time(store):
    peers, then = StorePeers(store, ALL), view(store, "ana", 1e9 + 12)
    assert [r.user_id for r in peers.about("alien", then)] == ["bob"]
    assert all(one.user.now == then.now for one in peers.near(then, 3))
    assert peers.statistics("length", length, then).mean == pytest.approx([4 / 3])
    assert peers.near(view(store, "ana", 1e9), 3) == []


def seen(peers, person):
    found = peers.statistics("length", length, person)
    counts = peers.counts("alien", person)
    return names(peers.near(person, 9)), [r.user_id for r in peers.about("alien", person)], found.people, counts


def test_consent_is_looked_up_at_every_answer(store):
    peers, ana = StorePeers(store, ALL), view(store, "ana")
    assert seen(peers, ana) == (["bob", "cleo", "dora"], ["bob", "cleo", "dora"], 3, {"good": 2})
    share(store, "bob", False)
    assert seen(peers, ana) == (["cleo", "dora"], ["cleo", "dora"], 2, {})


def test_an_erasure_is_seen_at_once(store):
    peers, ana = StorePeers(store, ALL), view(store, "ana")
    seen(peers, ana)
    erase(store, "bob", 2e9)
    assert seen(peers, ana) == (["cleo", "dora"], ["cleo", "dora"], 2, {})


def test_a_deleted_record_is_seen_at_once(store):
    peers, ana = StorePeers(store, ALL), view(store, "ana")
    before = {one.user.id: one.similarity for one in peers.near(ana, 9)}
    assert peers.statistics("length", length, ana).mean == pytest.approx([2.0])
    taste, rating = store.all_records("cleo")
    store.delete("cleo", [rating.id])
    assert [r.user_id for r in peers.about("alien", ana)] == ["bob", "dora"]
    assert peers.statistics("length", length, ana).mean == pytest.approx([5 / 3])
    after = {one.user.id: one.similarity for one in peers.near(ana, 9)}
    assert after["cleo"] != before["cleo"]
    assert after["bob"] == before["bob"]
    store.delete("cleo", [taste.id])
    assert "cleo" not in names(peers.near(ana, 9))


def test_somebody_who_begins_to_share_is_seen_after_a_while(store):
    now = [0.0]
    peers, ana = StorePeers(store, ALL, clock=lambda: now[0]), view(store, "ana")
    assert "eve" not in names(peers.near(ana, 9))
    share(store, "eve", True)
    assert "eve" not in names(peers.near(ana, 9))
    now[0] = REFRESH
    assert "eve" in names(peers.near(ana, 9))
    assert "eve" in [r.user_id for r in peers.about("alien", ana)]


def test_what_was_measured_is_kept_until_the_records_change(store):
    asked = []

    def measure(user):
        asked.append(user.id)
        return length(user)

    peers, ana = StorePeers(store, ALL), view(store, "ana")
    peers.statistics("length", measure, ana)
    peers.statistics("length", measure, ana)
    assert asked == ["bob", "cleo", "dora"]
    store.add([say("bob", "new", 1e9 + 70)])
    peers.statistics("length", measure, ana)
    assert asked == ["bob", "cleo", "dora", "bob"]


def test_fixed_people_stand_for_those_who_share(store):
    peers = StorePeers(store, ALL, lambda: ("ana", "eve"))
    assert names(peers.near(view(store, "ana"), 9)) == ["eve"]
    assert peers.shares(view(store, "eve"))
    assert not peers.shares(view(store, "bob"))


def test_who_shares_and_how_many_are_needed(store):
    peers = StorePeers(store, Policy(least=0))
    assert peers.least == 1
    assert [peers.shares(view(store, name)) for name in ("ana", "eve", "nobody")] == [True, False, False]
