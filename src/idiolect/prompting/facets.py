"""Facets: a few scorers for everybody, and for each person the three that suit them (mixture of facets, after HYDRA).

HYDRA (arXiv 2406.02888) keeps a head for each person. Its successor keeps a fixed number of heads, facets of taste, and
a router that picks some of them from what a person's records look like: nothing is kept for each person, and somebody
new is served without learning. Records that helped people like this one are ranked first. Where the successor encodes a
person by a sparse autoencoder, here it is the mean vector of their newest records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from idiolect.prompting.shared.feedback import table
from idiolect.prompting.shared.heads import (
    Doubles,
    Examples,
    Weights,
    add_router,
    gradients,
    pack,
    route,
    route_gradients,
    start,
    train,
    unpack,
)
from idiolect.prompting.shared.pairs import Net, Person, Search, find_made, learnt_settings, offer, seen
from idiolect.registry import method
from idiolect.types import EVERYONE, Artifact, Call, Context, Used, User

NAME = "facets"


@method(
    NAME,
    level="input",
    paper="arXiv:2406.02888 (its successor, the mixture of facets)",
    needs=("choose",),
    fit_needs=("logprobs",),
    together=True,
)
@dataclass(frozen=True)
class Facets:
    """Rank the person's records by scorers learnt from many people, mixed to suit this one."""

    k: int = 4
    """So many records are offered; the token budget decides how many enter."""
    drafts: int = 0
    """Above 1, draw so many drafts and keep the one most like an answer of the person's own (8 in the paper)."""
    facets: int = 7
    """Scorers for everybody."""
    top: int = 3
    """How many of them count for one person."""
    balance: float = 0.5
    """Weight of the term that has all facets used alike."""
    hidden: int = 16
    """Width of the shared layer."""
    clusters: int = 10
    """Candidates: the best record of each of so many groups of those found."""
    pool: int = 30
    """How many are found."""
    latest: int = 32
    """A person is seen by so many of their newest records (128 in the paper)."""
    replays: int = 8
    """So many of each person's latest records are asked again to learn from."""
    candidates: int = 16
    """Records measured for each of them."""
    steps: int = 300
    """Steps of Adam, each over all examples."""
    rate: float = 0.01
    """Step size."""
    decay: float = 0.01
    """Pull of the weights towards zero."""
    share: float = 3.0
    """Part of the token budget relative to the other slots."""
    seed: int = 0
    """Of the first weights."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the records that rank best; with ``drafts``, choose among them too."""
        made = find_made(user, EVERYONE, NAME, asdict(self), ctx)
        if made is None or ctx.embedder is None or not user.history:
            return call
        _, nets = unpack(made.payload)
        person = Person.of(user, ctx.embedder, self.latest)
        mixed = [route(nets[part], person.vector[None], self.top)[0] for part in ("ranking", "drafting")]
        ranking, drafting = Net(nets["ranking"], mixed[0]), Net(nets["drafting"], mixed[1])
        counts = {f"facet {n}": float(mixed[0][n]) for n in np.flatnonzero(mixed[0])}
        how = Search(NAME, self.k, self.pool, self.clusters, self.share, self.drafts)
        return offer(call, user, person, (ranking, drafting), how, (Used("artifact", made.id, NAME, "", parts=counts),))

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Learn one artifact for everybody; its size does not depend on how many they are."""
        people = seen(table(users, ctx, replays=self.replays, candidates=self.candidates), ctx, NAME, self.latest)
        vectors = np.stack([one.person.vector for one in people])
        nets = {
            "ranking": self._train(Examples.join([one.ranking for one in people]), vectors),
            "drafting": self._train(Examples.join([one.drafting for one in people]), vectors),
        }
        yield Artifact.new(
            EVERYONE, NAME, method=NAME, settings=learnt_settings(asdict(self), ctx),
            payload=pack({"people": len(people)}, nets), record_ids=(), base_model=ctx.model.fingerprint,
            time=max(one.records[-1].time for one in people), people=[one.user.id for one in people],
        )  # fmt: skip

    def _train(self, examples: Examples, vectors: Doubles) -> Weights:
        """Learn base, facets and router at once; ``vectors`` ``[people, dim]``."""
        rng = np.random.default_rng(self.seed)
        weights = start(examples, self.facets, self.hidden, rng)
        add_router(weights, vectors, rng)

        def slope(weights: Weights) -> Weights:
            mixing = route(weights, vectors, self.top)
            _, found, by_mixing = gradients(weights, examples, mixing[examples.person])
            slopes = np.zeros_like(mixing)
            np.add.at(slopes, examples.person, by_mixing)
            found["router"] = route_gradients(weights, vectors, self.top, slopes, self.balance)[1]
            return {name: gradient + self.decay * weights[name] for name, gradient in found.items()}

        train(weights, slope, self.steps, self.rate)
        return weights
