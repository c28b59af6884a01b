from __future__ import annotations

import threading

import numpy as np
import pytest

from helpers import HashEmbedder, open_store, say, words
from idiolect.errors import NotFound, RecordTooLarge
from idiolect.store.chunks import TAIL
from idiolect.store.finishing import Finished, keep_finished
from idiolect.store.index import CHUNK
from idiolect.store.view import StoredUser
from idiolect.turns import dump
from idiolect.types import EVERYONE, Artifact, Record


def fill(store, user, n, start=0, **kwargs):
    rng = np.random.default_rng(start)
    records = [say(user, words(rng, 12), 1e9 + start + i, f"s{(start + i) // 10}", "AB"[i % 2]) for i in range(n)]
    store.add(records, **kwargs)
    return records


@pytest.mark.parametrize("n", [1, TAIL - 1, TAIL, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_what_goes_in_comes_out(tmp_path, n):
    store = open_store(tmp_path)
    records = fill(store, "ana", n)
    assert list(store.all_records("ana")) == records
    assert StoredUser(store, "ana").history == records
    assert StoredUser(store, "ana").count == n
    assert StoredUser(store, "ana", now=records[0].time).count == 0


def test_records_of_a_second_opening_are_the_same(tmp_path):
    records = fill(open_store(tmp_path), "ana", 300)
    again = open_store(tmp_path)
    assert list(again.all_records("ana")) == records
    assert [u.id for u in again.users()] == ["ana"]
    assert again.users()[0].records == 300


def test_adding_twice_adds_nothing(tmp_path):
    store = open_store(tmp_path)
    records = fill(store, "ana", 100)
    result = store.add(records + records[:5])
    assert (result.added, result.known) == (0, 105)
    assert len(list(store.all_records("ana"))) == 100


def test_a_repeat_within_one_batch_counts_once(tmp_path):
    store = open_store(tmp_path)
    record = say("ana", "one", 1.0)
    result = store.add([record, record, say("ana", "two", 2.0)])
    assert (result.added, result.known) == (2, 1)


def test_one_by_one_and_in_bulk_give_the_same_search(tmp_path):
    embedder = HashEmbedder()
    bulk, single = open_store(tmp_path / "a", embedder), open_store(tmp_path / "b", embedder)
    rng = np.random.default_rng(0)
    records = [say("ana", words(rng, 12), 1e9 + i, f"s{i // 10}", "AB"[i % 2]) for i in range(CHUNK + 2 * TAIL + 5)]
    bulk.add(records)
    for record in records:
        single.add([record])
    for query in ("w1 w2", "w3 w7 w9", "a w5"):
        one, other = (StoredUser(s, "ana").search(query, 20) for s in (bulk, single))
        assert [h.record.id for h in one] == [h.record.id for h in other]
        np.testing.assert_allclose([h.score for h in one], [h.score for h in other], rtol=1e-5)


def test_another_users_records_are_never_found(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    store.add([say("ana", "secret plan", 1.0), say("bob", "nothing here", 2.0)])
    assert [h.record.output for h in StoredUser(store, "bob").search("secret plan", 10)] == ["nothing here"]
    assert StoredUser(store, "carl").search("secret", 10) == []
    assert StoredUser(store, "carl").history == []


def test_two_users_with_the_same_record_each_have_their_own(tmp_path):
    store = open_store(tmp_path)
    store.add([say("ana", "same words", 1.0), say("bob", "same words", 1.0)])
    store.delete("ana", [say("ana", "same words", 1.0).id])
    assert list(store.all_records("ana")) == []
    assert len(list(store.all_records("bob"))) == 1


@pytest.mark.parametrize("position", [0, CHUNK // 2, CHUNK + 3, CHUNK + TAIL + 1])
def test_a_deleted_record_is_gone_from_items_and_index(tmp_path, position):
    store = open_store(tmp_path, HashEmbedder())
    fill(store, "ana", CHUNK)
    fill(store, "ana", TAIL, start=CHUNK)
    for i in range(5):
        fill(store, "ana", 1, start=CHUNK + TAIL + i)
    records = list(store.all_records("ana"))
    gone = records[position]
    store.add([say("ana", "unique zebra", 3e9)])
    assert store.delete("ana", [gone.id]) == (1, [])
    left = [r for r in records if r.id != gone.id]
    assert [r.id for r in store.all_records("ana")][:-1] == [r.id for r in left]
    found = StoredUser(store, "ana").search(gone.output, CHUNK * 3)
    assert gone.id not in [h.record.id for h in found]
    assert len(found) == len(records)
    assert store.users()[0].records == len(records)
    fresh = StoredUser(open_store(tmp_path, HashEmbedder()), "ana").search(gone.output, CHUNK * 3)
    assert [h.record.id for h in fresh] == [h.record.id for h in found]


def test_a_deleted_record_can_be_added_again(tmp_path):
    store = open_store(tmp_path)
    record = say("ana", "blue", 1.0)
    store.add([record])
    store.delete("ana", [record.id])
    assert store.add([record]).added == 1
    assert [h.record for h in StoredUser(store, "ana").search("blue", 5)] == [record]


def test_deleting_takes_what_was_made_from_it(tmp_path):
    store = open_store(tmp_path)
    a, b = say("ana", "a", 1.0), say("ana", "b", 2.0)
    store.add([a, b])
    made = [
        Artifact.new("ana", "profile", method="m", payload=p, record_ids=[r.id], time=3.0)
        for p, r in ((b"1", a), (b"2", b))
    ]
    assert store.put_artifacts(made) == 2
    assert store.put_artifacts(made) == 0
    assert store.delete("ana", [a.id]) == (1, [made[0].id])
    assert store.artifacts("ana") == [made[1]]


def test_now_hides_the_future_and_its_statistics(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    past = [say("ana", f"cat number{i}", 100.0 + i, "s") for i in range(40)]
    store.add(past)
    alone = StoredUser(store, "ana").search("cat number3", 40)
    store.add([say("ana", f"cat number3 {i}", 1000.0 + i, "s") for i in range(400)])
    then = StoredUser(store, "ana", now=200.0)
    found = then.search("cat number3", 40)
    assert [h.record.id for h in found] == [h.record.id for h in alone]
    np.testing.assert_allclose([h.score for h in found], [h.score for h in alone], rtol=1e-4)
    assert len(then.history) == 40
    assert StoredUser(store, "ana", now=100.0).search("cat", 5) == []


def test_neighbours_stay_in_the_session_and_in_the_past(tmp_path):
    store = open_store(tmp_path)
    store.add([say("ana", f"t{s}{i}", s * 100.0 + i, f"s{s}") for s in (1, 2) for i in range(5)])
    store.add([say("ana", "alone", 500.0)])
    user = StoredUser(store, "ana")
    by_text = {r.output: r for r in user.history}

    def around(name, **kw):
        return [r.output for r in StoredUser(store, "ana", **kw).neighbours(by_text[name].id, 1, 2)]

    assert around("t12") == ["t11", "t12", "t13", "t14"]
    assert around("t14") == ["t13", "t14"]
    assert around("t20") == ["t20", "t21", "t22"]
    assert around("alone") == ["alone"]
    assert around("t12", now=113.0 - 10) == ["t11", "t12"]


def test_kinds_limit_the_search(tmp_path):
    store = open_store(tmp_path)
    store.add([say("ana", "tea", 1.0), say("ana", "tea likes", 2.0, kind="profile")])
    found = StoredUser(store, "ana").search("tea", 5, kinds=("profile",))
    assert [h.record.kind for h in found] == ["profile"]


def test_embedding_later_equals_embedding_at_once(tmp_path):
    late, soon = open_store(tmp_path / "a", HashEmbedder()), open_store(tmp_path / "b", HashEmbedder())
    for n, start in ((CHUNK + 40, 0), (3, CHUNK + 40)):
        fill(late, "ana", n, start=start, embed=False)
        fill(soon, "ana", n, start=start)
    assert late.embed("ana") == CHUNK + 43
    assert late.embed("ana") == 0
    one, other = (StoredUser(s, "ana").search("w3 w4", 10) for s in (late, soon))
    assert [(h.record.id, h.parts) for h in one] == [(h.record.id, h.parts) for h in other]
    assert "dense" in one[0].parts


def test_an_embedded_empty_text_is_not_embedded_for_ever(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    store.add([say("ana", " ", 1.0)], embed=False)
    assert store.embed("ana") == 1
    assert store.embed("ana") == 0


def test_another_embedder_is_noticed_and_vectors_are_made_again(tmp_path):
    fill(open_store(tmp_path, HashEmbedder("one")), "ana", 300)
    other = open_store(tmp_path, HashEmbedder("two"))
    assert "dense" not in StoredUser(other, "ana").search("w1 w2", 1)[0].parts
    assert other.embed("ana") == 300
    assert "dense" in StoredUser(other, "ana").search("w1 w2", 1)[0].parts


def test_a_record_that_is_too_large_changes_nothing(tmp_path):
    store = open_store(tmp_path)
    with pytest.raises(RecordTooLarge, match="limit is 16,777,216"):
        store.add([say("ana", "fine", 1.0), say("ana", "x" * (100 << 20), 2.0)])
    assert store.users() == []


def test_text_that_is_not_unicode_is_refused_clearly(tmp_path):
    store = open_store(tmp_path)
    with pytest.raises(RecordTooLarge.__mro__[1], match="surrogate"):
        store.add([say("ana", "bad \ud800 half", 1.0)])
    assert store.users() == []


def test_traces_are_kept_and_the_oldest_go(tmp_path, monkeypatch):
    monkeypatch.setattr("idiolect.store.finishing.TRACES_KEPT", 3)
    store = open_store(tmp_path)
    for i in range(5):
        keep_finished(store, [Finished("ana", 0, f"{i:032x}", dump({"id": f"{i:032x}", "n": i}))], 0.0)
    assert store.trace(f"{4:032x}")["n"] == 4
    assert [t["n"] for t in store.traces("ana")] == [2, 3, 4]
    for gone in (f"{0:032x}", "zz", f"{9:032x}"):
        with pytest.raises(NotFound):
            store.trace(gone)


def test_users_are_listed_in_pages(tmp_path):
    store = open_store(tmp_path)
    store.add([say(f"u{i}", "hi", 1.0) for i in range(25)])
    page = store.users(limit=10)
    rest = store.users(after=page[-1].id, limit=100)
    assert [u.id for u in page + rest] == [f"u{i}" for i in range(25)]


def test_groups_are_kept(tmp_path):
    store = open_store(tmp_path)
    store.set_groups("ana", ["cooks", "adults"])
    assert StoredUser(store, "ana").groups == ("cooks", "adults")


def test_threads_add_and_search_at_once(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    errors: list[Exception] = []

    def work(name: str) -> None:
        try:
            for i in range(60):
                store.add([say("ana", f"{name} w{i}", 1e9 + i, name)])
                assert StoredUser(store, "ana").search(f"{name} w{i}", 1)[0].record.output == f"{name} w{i}"
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a thread must reach the assertion
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(list(store.all_records("ana"))) == 240


def test_a_small_cache_changes_no_answer(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    for u in range(8):
        fill(store, f"u{u}", 50, start=u * 100)
    want = {u: [h.record.id for h in StoredUser(store, f"u{u}").search("w1 w2", 5)] for u in range(8)}
    store = open_store(tmp_path, HashEmbedder(), cache_bytes=1)
    for _ in range(2):
        for u in range(8):
            assert [h.record.id for h in StoredUser(store, f"u{u}").search("w1 w2", 5)] == want[u]
    assert len(store._cache._held) <= 2


def test_no_record_is_lost_when_meta_is_not_plain(tmp_path):
    store = open_store(tmp_path)
    with pytest.raises(RecordTooLarge.__mro__[1], match="plain JSON"):
        store.add([Record.new("ana", "x", time=1.0, meta={"a": object()})])


def test_old_versions_of_an_artifact_go(tmp_path, monkeypatch):
    monkeypatch.setattr("idiolect.store.versions.VERSIONS_KEPT", 3)
    store = open_store(tmp_path)
    made = [Artifact.new("ana", "k", method="m", payload=b"%d" % i, record_ids=[], time=float(i)) for i in range(5)]
    other = Artifact.new("ana", "k", method="m", settings={"a": 1}, payload=b"x", record_ids=[], time=9.0)
    store.put_artifacts([other, *made])
    assert store.artifacts("ana") == [*reversed(made[2:]), other]
    assert store.users()[0].artifacts == 4
    store.delete_artifacts("ana", [other.id])
    assert store.artifacts("ana") == list(reversed(made[2:]))
    assert open_store(tmp_path).artifacts("ana") == list(reversed(made[2:]))


def test_of_what_belongs_to_everyone_two_versions_are_kept(tmp_path):
    store = open_store(tmp_path)
    made = [Artifact.new(EVERYONE, "k", method="m", payload=b"%d" % i, record_ids=[], time=float(i)) for i in range(4)]
    store.put_artifacts(made)
    assert store.artifacts(EVERYONE) == [made[3], made[2]]
