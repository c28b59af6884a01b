"""The fast search against a plain one that follows the formulas row by row."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers import HashEmbedder, open_store, say, words
from idiolect.store.cells import index_text
from idiolect.store.search import DENSE, HYBRID, LEXICAL, Ranker
from idiolect.store.view import StoredUser
from idiolect.text.terms import speaker_hash, terms


def plain_search(records, query, embedder, ranker: Ranker, k, now=math.inf):
    """Score every record with loops, in double precision."""
    rows = [r for r in records if r.time < now]
    docs = [terms(index_text(r)) for r in rows]
    sessions: dict[str, list[int]] = {}
    for i in sorted(range(len(rows)), key=lambda i: rows[i].time):
        sessions.setdefault(rows[i].meta.get("session") or f"solo {i}", []).append(i)
    where = {i: (name, at) for name, members in sessions.items() for at, i in enumerate(members)}

    def window(i, kernel):
        name, at = where[i]
        for d in range(-len(kernel), len(kernel) + 1):
            if 0 <= at + d < len(sessions[name]):
                yield sessions[name][at + d], 1.0 if d == 0 else kernel[abs(d) - 1]

    def tf(i, term):
        return sum(w * docs[j].count(term) for j, w in window(i, ranker.words))

    lengths = [sum(w * len(docs[j]) for j, w in window(i, ranker.words)) for i in range(len(rows))]
    mean = sum(lengths) / len(rows)
    total = np.zeros(len(rows))
    for term in terms(query) if ranker.lexical else ():
        f = [tf(i, term) for i in range(len(rows))]
        df = sum(x > 0 for x in f)
        if not df:
            continue
        idf = math.log(1 + (len(rows) - df + 0.5) / (df + 0.5))
        for i, x in enumerate(f):
            damp = ranker.k1 * (1 - ranker.b + ranker.b * lengths[i] / mean)
            total[i] += ranker.lexical * idf * (ranker.k1 + 1) * x / (x + damp)
    if embedder is not None and ranker.dense:
        vectors = embedder.embed([index_text(r) for r in rows]).astype(np.float64)
        cosine = vectors @ embedder.embed([query])[0].astype(np.float64)
        for i in range(len(rows)):
            pairs = list(window(i, ranker.vectors))
            total[i] += ranker.dense * sum(w * cosine[j] for j, w in pairs) / sum(w for _, w in pairs)
    speakers = {r.meta.get("speaker", "") for r in rows}
    named = {s for s in speakers if s and speaker_hash(s) in {speaker_hash(w) for w in query.split()}}
    if ranker.speaker and named and len(named) < len(speakers):
        total += [ranker.speaker * (r.meta.get("speaker") in named) for r in rows]
    newest = now if math.isfinite(now) else max(r.time for r in rows)
    total += [ranker.recency * 2 ** (-(newest - r.time) / ranker.half_life) for r in rows]
    best = {name: max(total[i] for i in members) for name, members in sessions.items()}
    score = total + [ranker.session * best[where[i][0]] for i in range(len(rows))]
    order = sorted(range(len(rows)), key=lambda i: -score[i])[:k]
    return [rows[i].id for i in order], [score[i] for i in order]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(3)
    embedder = HashEmbedder()
    store = open_store(tmp_path_factory.mktemp("corpus"), embedder)
    records = []
    for i in range(700):
        session = "" if i % 7 == 0 else f"s{rng.integers(40)}"
        records.append(
            say(
                "ana",
                words(rng, int(rng.integers(1, 25))),
                1e9 + 3600.0 * i + rng.random(),
                session,
                ("Ann", "Bob", "")[i % 3],
            )
        )
    store.add(records[:500])
    for record in records[500:]:
        store.add([record])
    return store, records, embedder


@pytest.mark.parametrize("ranker", [HYBRID, LEXICAL, DENSE], ids=["hybrid", "lexical", "dense"])
@pytest.mark.parametrize("now", [math.inf, 1e9 + 3600 * 333])
def test_the_fast_search_equals_the_plain_one(corpus, ranker, now):
    store, records, embedder = corpus
    for query in ("w1 w2 w3", "ann w9 w11 w11", "w77", "bob", "zzz nothing known", "w5 w6 w7 w8 w10 w12 w13 w14"):
        found = StoredUser(store, "ana", now=now).search(query, 15, ranker=ranker)
        ids, scores = plain_search(records, query, embedder, ranker, 15, now)
        np.testing.assert_allclose([h.score for h in found], scores, rtol=2e-4, atol=2e-4)
        if len(set(np.round(scores, 3))) == len(scores):
            assert [h.record.id for h in found] == ids


def test_recall_of_dense_search_is_one_even_where_the_coarse_plane_cannot_tell(tmp_path):
    rng = np.random.default_rng(1)
    centre = rng.normal(size=48)
    crowd = (centre + 0.02 * rng.normal(size=(900, 48))).astype(np.float32)  # far closer than int8 can resolve
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)

    class Crowd(HashEmbedder):
        def embed(self, texts):
            return np.stack([crowd[int(t.split()[0])] for t in texts])

    store = open_store(tmp_path, Crowd())
    store.add([say("ana", f"{i}", float(i)) for i in range(900)])
    wrong = 0
    for q in range(50):
        want = np.argsort(-(crowd.astype(np.float64) @ crowd[q].astype(np.float64)), kind="stable")[:10]
        got = [int(h.record.output) for h in StoredUser(store, "ana").search(f"{q}", 10, ranker=DENSE)]
        wrong += len(set(got) ^ set(want.tolist()))
    assert wrong == 0


def test_more_asked_for_than_there_is(corpus):
    store, records, _ = corpus
    assert len(StoredUser(store, "ana").search("w1", 10_000)) == len(records)
    assert StoredUser(store, "ana").search("w1", 0) == []


def test_a_date_in_the_question_counts(tmp_path):
    store = open_store(tmp_path)
    may, june = 1683504000.0, 1686182400.0  # 8 May and 8 June 2023
    store.add([say("ana", "went to the market", may, "a"), say("ana", "went to the market", june, "b")])
    user = StoredUser(store, "ana")
    assert user.search("what did I do in May 2023 at the market", 1)[0].record.time == may
    assert user.search("the market on 8 June", 1)[0].record.time == june
