"""What is kept up to date step by step equals what is made at once."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import HashEmbedder, open_store, say, words
from idiolect.errors import NotFound, StoreCorrupt
from idiolect.store.cache import IndexCache
from idiolect.store.index import GAP, Entry, Layout, Segment, Summary, UserIndex
from idiolect.store.rows import Plane, UserRow
from idiolect.store.view import StoredUser
from idiolect.text.planes import Matrix, Planes
from idiolect.text.postings import Postings


def same(one, other):
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), field.name)


rows = st.lists(st.tuples(st.sampled_from([0, 0, -7, -1, 3, 9, 2**62]), st.integers(0, 6)), max_size=40)


@given(st.lists(rows, min_size=1, max_size=5))
def test_a_grown_layout_equals_a_full_one(batches):
    layout, so_far = None, []
    for batch in batches:
        so_far += batch
        session = np.array([s for s, _ in so_far], np.int64)
        time = np.array([t for _, t in so_far], np.float64)
        layout = Layout.of(session, time) if layout is None else layout.grown(session, time)
        same(layout, Layout.of(session, time))


@given(rows)
def test_a_layout_keeps_sessions_together_and_apart_from_each_other(given_rows):
    session = np.array([s for s, _ in given_rows], np.int64)
    layout = Layout.of(session, np.array([t for _, t in given_rows], np.float64))
    assert sorted(layout.order.tolist()) == list(range(len(given_rows)))
    np.testing.assert_array_equal(layout.row_at[layout.place_of_row], np.arange(len(given_rows)))
    for row, at in enumerate(layout.place_of_row):
        if session[row]:
            first, stop = layout.starts[layout.session_at[at]], layout.starts[layout.session_at[at] + 1] - GAP
            assert first <= at < stop
            assert set(session[layout.row_at[first:stop]].tolist()) == {session[row]}
        else:
            assert at >= layout.solo


@given(st.lists(st.lists(st.lists(st.integers(0, 12), max_size=6), max_size=8), min_size=1, max_size=6))
def test_joined_postings_equal_those_of_all_documents(parts):
    joined = Postings.concat([Postings.build(part) for part in parts])
    same(joined, Postings.build([document for part in parts for document in part]))


def entries(n, dim=8):
    rng = np.random.default_rng(n)
    return [
        Entry(float(i), i // 3, i % 2, i % 4, [i % 5, i], rng.normal(size=dim).astype(np.float32)) for i in range(n)
    ]


@pytest.mark.parametrize("short", [True, False])
def test_an_index_extended_in_pieces_equals_one_made_at_once(short):
    whole, pieces = UserIndex(0, 8, short=short), UserIndex(0, 8, short=short)
    all_entries = entries(90)
    whole.extend([Segment.build(all_entries, 8)], 90)
    for start, stop in ((0, 50), (50, 51), (51, 52), (52, 90)):
        pieces.extend([Segment.build(all_entries[start:stop], 8)], stop)
        pieces.snapshot()
    one, other = whole.snapshot(), pieces.snapshot()
    for name in ("time", "session", "speaker", "kind", "lengths"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    same(one.layout, other.layout)
    same(one.vectors, other.vectors)
    assert one.summary == other.summary
    same(Postings.concat(one.postings), Postings.concat(other.postings))


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("n", [0, 1, 50, 57, 90])
def test_the_first_rows_of_an_index_equal_an_index_of_those_rows(short, n):
    all_entries = entries(90)
    whole, part = UserIndex(0, 8, short=short), UserIndex(0, 8, short=short)
    for start, stop in ((0, 50), (50, 60), (60, 90)):
        whole.extend([Segment.build(all_entries[start:stop], 8)], stop)
    part.extend([Segment.build(all_entries[:n], 8)], n)
    one, other = whole.snapshot().first(n), part.snapshot()
    for name in ("time", "session", "speaker", "kind", "lengths"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    same(one.layout, other.layout)
    same(one.vectors, other.vectors)
    assert one.summary == other.summary
    if n:
        same(Postings.concat(one.postings), Postings.concat(other.postings))


def test_a_reader_that_began_before_others_read_on_sees_what_it_began_with(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    store.add([say("ana", f"tea {i}", float(i)) for i in range(3)])
    key = store.key("ana")
    with store.rows.read() as tx:
        row = tx.user(key.uid)

        def meanwhile():
            store.add([say("ana", "tea again", 9.0)])
            assert len(StoredUser(store, "ana").search("tea", 10)) == 4

        thread = threading.Thread(target=meanwhile)
        thread.start()
        thread.join()
        snapshot = store.snapshot(tx, key, row)
        assert snapshot.n == 3
        assert len(store.records("ana", range(snapshot.n), tx, key)) == 3


def test_a_summary_counts_kinds_speakers_and_times():
    summary = Summary()
    for segment in (Segment.build(entries(10), 0), Segment.build([], 0)):
        summary = summary.plus(segment.time, segment.kind, segment.speaker)
    assert summary == Summary(0.0, 9.0, 0, frozenset({0, 1}), frozenset({0, 1, 2, 3}))
    assert summary.years == range(1970, 1971)


def test_a_segment_that_cannot_be_read_leaves_the_index_consistent():
    index, all_entries = UserIndex(0, 8), entries(30)

    def damaged():
        yield Segment.build(all_entries[:20], 8)
        raise StoreCorrupt("damaged")

    with pytest.raises(StoreCorrupt):
        index.extend(damaged(), 30)
    assert index.n == 20
    index.extend([Segment.build(all_entries[20:], 8)], 30)
    snapshot = index.snapshot()
    assert sum(part.n for part in snapshot.postings) == snapshot.n == 30


def test_both_forms_of_the_vectors_agree():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = 0
    planes = Planes.encode(vectors)
    matrix = Matrix(planes.decode(), planes.present)
    query, rows = vectors[3], np.arange(200)
    np.testing.assert_allclose(matrix.rows, vectors, atol=3e-8)
    np.testing.assert_allclose(matrix.exact(query, rows), planes.exact(query, rows), atol=1e-7)
    assert (np.abs(planes.scan(query) - planes.exact(query, rows)) <= planes.error + 1e-6).all()
    assert not planes.present[7]


def test_the_cache_knows_what_it_holds():
    cache, rng = IndexCache(20_000), np.random.default_rng(0)
    for step in range(200):
        uid = int(rng.integers(12))
        if step % 17 == 0:
            cache.drop(uid)
            continue
        index = cache.get(uid, UserRow(uid, epoch=int(rng.integers(2)), items=index_size(cache, uid) + 5), 8)
        index.extend([Segment.build(entries(5), 8)], index.n + 5)
        cache.grew(uid, index)
        assert cache._total == sum(held.nbytes for held in cache._held.values() if held.n)
        assert cache._total <= 20_000 or len(cache._held) == 1


def index_size(cache, uid):
    return cache._held[uid].n if uid in cache._held else 0


def test_a_history_that_outgrows_the_short_form_gives_the_same_answers(tmp_path, monkeypatch):
    monkeypatch.setattr("idiolect.store.cache.SHORT", 50)
    rng = np.random.default_rng(0)
    records = [say("ana", words(rng, 12), 1e9 + i, f"s{i // 10}", "AB"[i % 2]) for i in range(80)]
    store = open_store(tmp_path, HashEmbedder())
    for record in records:
        store.add([record])
        grown = StoredUser(store, "ana").search("w1 w2 w3", 5)
    monkeypatch.setattr("idiolect.store.cache.SHORT", 1000)
    other = StoredUser(open_store(tmp_path, HashEmbedder()), "ana").search("w1 w2 w3", 5)
    assert [hit.record for hit in grown] == [hit.record for hit in other]
    np.testing.assert_allclose([hit.score for hit in grown], [hit.score for hit in other], rtol=1e-5)


def test_a_record_that_is_gone_is_named(tmp_path):
    store = open_store(tmp_path)
    store.add([say("ana", "tea", 1.0)])
    key = store.key("ana")
    with store.rows.read() as tx, pytest.raises(NotFound, match="number 5"):
        store.records("ana", [0, 5], tx, key)


def test_many_cells_are_picked_at_once(tmp_path):
    store = open_store(tmp_path)
    store.add([say("ana", f"tea {i}", float(i)) for i in range(600)])
    with store.rows.read() as tx:
        picked = tx.pick(1, Plane.ITEM, [599, 3, *range(10, 590)])
        assert picked[599] == tx.cell(1, Plane.ITEM, 599)
        assert len(picked) == 582
        assert tx.pick(1, Plane.ITEM, [9999]) == {}
