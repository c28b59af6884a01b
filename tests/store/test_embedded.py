"""The stored vectors of some records, as methods are handed them."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.store.view import StoredUser

RECORDS = [say("ana", text, 1e9 + i) for i, text in enumerate(("tea cake", "fish opera", "cold lake"))]


@pytest.fixture(params=[10_000, 0], ids=["short", "long"])
def form(request, monkeypatch):
    """Both forms in which vectors are held: floats for a short history, two integer planes for a long one."""
    monkeypatch.setattr("idiolect.store.cache.SHORT", request.param)


def test_vectors_come_in_the_order_asked_for_and_are_those_of_the_texts(tmp_path, form):
    store = open_store(tmp_path, HashEmbedder())
    store.add([*RECORDS, say("bob", "not hers", 1e9)])
    foreign = say("bob", "not hers", 1e9).id
    asked = [RECORDS[2].id, "unknown", RECORDS[0].id, foreign]
    found = StoredUser(store, "ana").embedded(asked)
    assert found.shape == (4, HashEmbedder.dim)
    np.testing.assert_allclose(found[[0, 2]], HashEmbedder().embed(["cold lake", "tea cake"]), atol=1e-5)
    assert not found[[1, 3]].any()
    assert StoredUser(store, "ana").embedded([]).shape == (0, HashEmbedder.dim)


def test_nothing_from_after_now_and_nothing_deleted(tmp_path, form):
    store = open_store(tmp_path, HashEmbedder())
    store.add(RECORDS)
    store.delete("ana", [RECORDS[0].id])
    found = StoredUser(store, "ana", now=1e9 + 2).embedded([record.id for record in RECORDS])
    assert [bool(row.any()) for row in found] == [False, True, False]


def test_none_without_vectors_of_the_embedder_in_use(tmp_path):
    store = open_store(tmp_path)
    store.add(RECORDS)
    assert StoredUser(store, "ana").embedded([RECORDS[0].id]) is None
    assert StoredUser(store, "nobody").embedded([RECORDS[0].id]) is None
    other = open_store(tmp_path, HashEmbedder("hash-2"))
    assert StoredUser(other, "ana").embedded([RECORDS[0].id]) is None
