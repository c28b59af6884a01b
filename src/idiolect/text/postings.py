"""Postings: the inverted index over one user's documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Postings:
    """An inverted index over ``n`` documents.

    ``vocab`` [V] holds sorted term ids, ``starts`` [V + 1] where each term's run begins in ``docs`` [P] (document
    numbers, rising within a run) and ``counts`` [P] (occurrences). ``lengths`` [n] are document lengths in terms.
    """

    vocab: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.uint32]
    docs: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.uint16]
    lengths: npt.NDArray[np.uint32]

    @property
    def n(self) -> int:
        """Number of documents."""
        return len(self.lengths)

    @staticmethod
    def build(documents: Sequence[Sequence[int]]) -> Postings:
        """Index documents given as term ids."""
        lengths = np.fromiter((len(d) for d in documents), np.uint32, len(documents))
        flat = np.fromiter((t for d in documents for t in d), np.uint64, int(lengths.sum()))
        docs = np.repeat(np.arange(len(documents), dtype=np.uint32), lengths)
        return Postings.from_runs(flat, docs, np.ones(len(flat), np.uint16), lengths)

    @staticmethod
    def concat(parts: Sequence[Postings]) -> Postings:
        """Join indexes of consecutive document ranges into one."""
        if len(parts) == 1:
            return parts[0]
        bases = np.cumsum([0, *(p.n for p in parts)]).astype(np.uint32)
        docs = np.concatenate([p.docs + base for p, base in zip(parts, bases, strict=False)])
        counts = np.concatenate([p.counts for p in parts])
        # Whole runs are put in order, not single postings: there are far fewer, and none has to be added up.
        offsets = np.cumsum([0, *(len(p.docs) for p in parts)])
        firsts = np.concatenate([p.starts[:-1] + offset for p, offset in zip(parts, offsets, strict=False)])
        sizes = np.concatenate([p.starts[1:] - p.starts[:-1] for p in parts]).astype(np.intp)
        vocab = np.concatenate([p.vocab for p in parts])
        order = np.argsort(vocab, kind="stable")
        vocab, sizes = vocab[order], sizes[order]
        begins = np.cumsum(sizes) - sizes
        at = np.repeat(firsts[order] - begins, sizes) + np.arange(len(docs))
        heads = np.flatnonzero(np.concatenate([[True], vocab[1:] != vocab[:-1]])) if len(vocab) else order
        lengths = np.concatenate([p.lengths for p in parts])
        starts = np.append(begins[heads], len(docs)).astype(np.uint32)
        return Postings(vocab[heads], starts, docs[at], counts[at], lengths)

    def part(self, start: int, stop: int) -> Postings:
        """Return the index of the documents ``start:stop`` alone."""
        if start == 0 and stop == self.n:
            return self
        keep = (self.docs >= start) & (self.docs < stop)
        flat = np.repeat(self.vocab, np.diff(self.starts))[keep]
        return Postings.from_runs(flat, self.docs[keep] - np.uint32(start), self.counts[keep], self.lengths[start:stop])

    def runs(self, ids: Sequence[int]) -> list[slice]:
        """Return where each term's run lies in ``docs`` and ``counts``; an empty slice for an unknown term."""
        if len(self.vocab) == 0:
            return [slice(0, 0)] * len(ids)
        wanted = np.array(ids, np.uint64)
        at = np.minimum(np.searchsorted(self.vocab, wanted), len(self.vocab) - 1)
        known = self.vocab[at] == wanted
        return [
            slice(start, stop) if here else slice(0, 0)
            for start, stop, here in zip(
                self.starts[at].tolist(), self.starts[at + 1].tolist(), known.tolist(), strict=True
            )
        ]

    def without(self, rows: Sequence[int]) -> Postings:
        """Return the index with some documents emptied."""
        keep = np.ones(self.n, bool)
        keep[list(rows)] = False
        alive = keep[self.docs]
        flat = np.repeat(self.vocab, np.diff(self.starts))[alive]
        return Postings.from_runs(flat, self.docs[alive], self.counts[alive], self.lengths * keep)

    @staticmethod
    def from_runs(
        flat: npt.NDArray[np.uint64],
        docs: npt.NDArray[np.uint32],
        counts: npt.NDArray[np.uint16],
        lengths: npt.NDArray[np.uint32],
    ) -> Postings:
        """Group (term, document, count) triples; documents must come in rising order for each term."""
        order = np.argsort(flat, kind="stable")
        flat, docs, counts = flat[order], docs[order], counts[order]
        if len(flat) == 0:
            return Postings(flat, np.zeros(1, np.uint32), docs, counts, lengths)
        first = np.empty(len(flat), bool)
        first[0] = True
        first[1:] = (flat[1:] != flat[:-1]) | (docs[1:] != docs[:-1])
        heads = np.flatnonzero(first)
        summed = np.add.reduceat(counts.astype(np.uint32), heads)
        flat, docs = flat[heads], docs[heads]
        new_term = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
        starts = np.append(new_term, len(flat)).astype(np.uint32)
        return Postings(flat[new_term], starts, docs, np.minimum(summed, 65535).astype(np.uint16), lengths)
