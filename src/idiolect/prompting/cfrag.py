"""CFRAG: records of people alike beside the own ones (arXiv 2504.05731).

Every neighbour's best records for the question, and the person's own, are ranked together by how they fit the question
and the person. Others' records stand apart and are called what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from idiolect.prompting.shared.feedback import block, find
from idiolect.prompting.shared.likeness import cosines, others_block
from idiolect.prompting.shared.user_encoder import UserEncoder, train
from idiolect.registry import method
from idiolect.types import EVERYONE, Artifact, Call, Context, Embedder, Floats, Hit, Record, User

TITLE = "From people much like this person (not this person's own words):"
_RECORDS = 100
"""So many of a person's newest records make their vector."""
_WIDER = 4
"""So many times the neighbours are looked at before the learnt map chooses among them."""


@method("cfrag", level="input", paper="arXiv:2504.05731", peers=True, together=True)
@dataclass(frozen=True)
class Cfrag:
    """Put the best records of the person and of people alike before the question."""

    encoder: Literal["mean", "trained"] = "trained"
    """How people are compared: by mean vectors, or by a map learnt from all who share (until then by mean vectors)."""
    n: int = 5
    """So many neighbours."""
    m: int = 5
    """So many records are found for each of them and for the person."""
    k: int = 10
    """So many of all these are offered; the token budget decides how many enter."""
    w: float = 0.1
    """How much the likeness to the person counts beside the likeness to the question."""
    steps: int = 200
    """Training steps of the map."""
    rate: float = 1e-3
    """Its learning rate."""
    seed: int = 0
    """Seed of the random views it is trained on."""
    share: float = 3.0
    """Part of the token budget relative to the other slots, for own records and others' each."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer own records as one block and the neighbours' as another."""
        own = [hit.record for hit in find(user, call.query, self.m)]
        others = [hit.record for near in self._near(user, ctx) for hit in find(near, call.query, self.m)]
        hits = self._ranked(call.query, (*own, *others), user, ctx)[: self.k]
        mine = [hit for hit in hits if hit.record.user_id == user.id]
        theirs = [hit for hit in hits if hit.record.user_id != user.id]
        call = call.add(block(mine, "cfrag", "cfrag", self.share))
        return call.add(others_block(theirs, "cfrag", "cfrag_others", TITLE, self.share))

    def _near(self, user: User, ctx: Context) -> list[User]:
        """Return the neighbours, the nearest first."""
        if ctx.peers is None or not self.n:
            return []
        encoder = self._encoder(user, ctx)
        own = ctx.peers.vector(user) if encoder is not None else None
        if encoder is None or own is None:
            return [near.user for near in ctx.peers.near(user, self.n)]
        found = []
        for near in ctx.peers.near(user, _WIDER * self.n):
            vector = ctx.peers.vector(near.user)
            if vector is not None:
                found.append((-encoder.similarity(own, vector), near.user.id, near.user))
        return [person for _, _, person in sorted(found, key=lambda one: one[:2])[: self.n]]

    def _encoder(self, user: User, ctx: Context) -> UserEncoder | None:
        if self.encoder == "mean" or ctx.embedder is None:
            return None
        made = (UserEncoder.load(a.payload) for a in user.artifacts if a.method == "cfrag" and a.kind == "encoder")
        return next((encoder for encoder in made if encoder.embedder == ctx.embedder.fingerprint), None)

    def _ranked(self, query: str, records: Iterable[Record], user: User, ctx: Context) -> list[Hit]:
        """Rank by ``(1 - w) cos(query, record) + w cos(person, record)``."""
        found = list(records)
        person = None if ctx.peers is None or ctx.embedder is None else ctx.peers.vector(user)
        texts = [record.text for record in found]
        if person is None or ctx.embedder is None or not texts:
            asked = cosines(query, texts, ctx.embedder)
            liked, w = np.zeros_like(asked), 0.0
        else:
            vectors = ctx.embedder.embed([query, *texts])
            asked, liked, w = vectors[1:] @ vectors[0], vectors[1:] @ person, self.w
        hits = [
            Hit(record, float((1 - w) * q + w * u), {"query": float(q), "person": float(u)})
            for record, q, u in zip(found, asked, liked, strict=True)
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.record.user_id != user.id, hit.record.id))

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Learn the map from everybody's newest records, for everyone; nothing without an embedder or two people."""
        if self.encoder == "mean" or ctx.embedder is None:
            return
        people = [(user, user.history[-_RECORDS:]) for user in users]
        known = [(user, records) for user, records in people if len(records) > 1]
        if len(known) < 2:
            return
        vectors = [_vectors(records, ctx.embedder) for _, records in known]
        made = train(vectors, ctx.embedder.fingerprint, steps=self.steps, rate=self.rate, seed=self.seed)
        yield Artifact.new(
            EVERYONE, "encoder", method="cfrag", settings=asdict(self), payload=made.dump(), record_ids=(),
            time=max(record.time for _, records in known for record in records),
            people=[user.id for user, _ in known],
        )  # fmt: skip


def _vectors(records: Iterable[Record], embedder: Embedder) -> Floats:
    return embedder.embed([record.text for record in records])
