"""How alike a question and texts are, measured by one path for both, so that a text is most like itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from idiolect.prompting.shared.feedback import block
from idiolect.text.terms import terms
from idiolect.types import Block, Embedder, Floats, Hit


def cosines(query: str, texts: Sequence[str], embedder: Embedder | None = None) -> Floats:
    """Return the cosine of the query with each text, ``[texts]``.

    With an embedder these are the cosines of its vectors, without one of TF-IDF weights over the texts at hand. A text
    without words is like nothing.
    """
    if not texts:
        return np.zeros(0, np.float32)
    if embedder is not None:
        vectors = embedder.embed([query, *texts])
        return np.asarray(vectors[1:] @ vectors[0], np.float32)
    found = [Counter(terms(text)) for text in (query, *texts)]
    where = Counter(term for counts in found for term in counts)
    rows = [{term: n * np.log1p(len(found) / where[term]) for term, n in counts.items()} for counts in found]
    norms = [float(np.sqrt(sum(weight**2 for weight in row.values()))) for row in rows]
    dots = [sum(weight * rows[0].get(term, 0.0) for term, weight in row.items()) for row in rows[1:]]
    return np.array([d / (norms[0] * n) if d else 0.0 for d, n in zip(dots, norms[1:], strict=True)], np.float32)


def others_block(hits: Sequence[Hit], method: str, slot: str, title: str, share: float) -> Block:
    """Return other people's records as a slot of the prompt, each with its owner."""
    made = block(hits, method, slot, share)
    items = tuple(
        replace(item, used=replace(item.used, owner=hit.record.user_id))
        for item, hit in zip(made.items, hits, strict=True)
    )
    return replace(made, title=title, items=items)
