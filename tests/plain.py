"""A plain search that follows the formulas row by row; the fast one is compared with it."""

from __future__ import annotations

import math

import numpy as np

from idiolect.store.cells import index_text
from idiolect.store.search import Ranker
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
