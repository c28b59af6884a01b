"""HYDRA: one scorer for everybody and a small head for each person who shares (arXiv 2406.02888).

The ablation of the method ``facets``, which needs no head for each person. Heads are added to the base's score and
start at zero, so that somebody without one, or with one that learnt nothing, gets the base's own ranking; a random
head, as in the released code, would shuffle a newcomer's records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from idiolect.prompting.shared.feedback import table
from idiolect.prompting.shared.heads import Doubles, Examples, Places, Weights, gradients, pack, start, train, unpack
from idiolect.prompting.shared.pairs import Net, Person, Search, find_made, learnt_settings, offer, seen
from idiolect.registry import method
from idiolect.types import EVERYONE, Artifact, Call, Context, Used, User

NAME = "hydra"
PARTS = ("ranking", "drafting")


@method(NAME, level="input", paper="arXiv:2406.02888", needs=("choose",), fit_needs=("logprobs",), together=True)
@dataclass(frozen=True)
class Hydra:
    """Rank the person's records by a scorer of everybody's and the person's own head on it."""

    k: int = 4
    """So many records are offered; the token budget decides how many enter."""
    drafts: int = 0
    """Above 1, draw so many drafts and keep the one most like an answer of the person's own (8 in the paper)."""
    people: int = 100
    """So many people teach the base; of the others only a head is fitted."""
    hidden: int = 16
    """Width of the shared layer."""
    pool: int = 10
    """Candidates."""
    latest: int = 32
    """A person is seen by so many of their newest records."""
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
        base = find_made(user, EVERYONE, NAME, asdict(self), ctx)
        if base is None or ctx.embedder is None or not user.history:
            return call
        _, nets = unpack(base.payload)
        learnt = [base]
        own = find_made(user, user.id, NAME, asdict(self), ctx)
        if own is not None and (found := unpack(own.payload))[0]["base"] == base.id:
            learnt.append(own)
            nets = {part: _with_head(net, found[1][part]["heads"]) for part, net in nets.items()}
        ranking, drafting = (Net(nets[part], np.ones(len(nets[part]["heads"]))) for part in PARTS)
        how = Search(NAME, self.k, self.pool, self.pool, self.share, self.drafts)
        used = tuple(Used("artifact", artifact.id, NAME, "") for artifact in learnt)
        person = Person.of(user, ctx.embedder, self.latest)
        return offer(call, user, person, (ranking, drafting), how, used)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Learn the base with everybody's heads, then, the base held still, the head of each by itself."""
        people = seen(table(users, ctx, replays=self.replays, candidates=self.candidates), ctx, NAME, self.latest)
        teachers = people[: max(1, self.people)]
        bases = {part: self._base(Examples.join([getattr(one, part) for one in teachers])) for part in PARTS}
        names = [one.user.id for one in people]
        made = partial(
            Artifact.new, kind=NAME, method=NAME, settings=learnt_settings(asdict(self), ctx),
            time=max(one.records[-1].time for one in people), base_model=ctx.model.fingerprint,
        )  # fmt: skip
        base = made(EVERYONE, payload=pack({}, bases), record_ids=(), people=names)
        yield base
        for one in people:
            heads = {part: {"heads": self._head(bases[part], Examples.join([getattr(one, part)]))} for part in PARTS}
            yield made(
                one.user.id, payload=pack({"base": base.id}, heads), record_ids=[record.id for record in one.records],
                people=[name for name in names if name != one.user.id],
            )  # fmt: skip

    def _base(self, examples: Examples) -> Weights:
        """Learn the base and its head with a head for each person in training; these are left behind."""
        count = int(examples.person.max()) + 1
        weights = start(examples, 1 + count, self.hidden, np.random.default_rng(self.seed))
        mixing = one_hot(examples.person, count)

        def slope(weights: Weights) -> Weights:
            _, found, _ = gradients(weights, examples, mixing)
            return {name: gradient + self.decay * weights[name] for name, gradient in found.items()}

        train(weights, slope, self.steps, self.rate)
        return {**weights, "heads": weights["heads"][:1]}

    def _head(self, base: Weights, examples: Examples) -> Doubles:
        """Learn one person's head ``[1, hidden + 1]`` on a base that is held still."""
        weights = _with_head(base, np.zeros_like(base["heads"]))
        mixing = one_hot(examples.person, 1)

        def slope(weights: Weights) -> Weights:
            heads = gradients(weights, examples, mixing)[1]["heads"] + self.decay * weights["heads"]
            heads[0] = 0.0
            return {"heads": heads}

        train(weights, slope, self.steps, self.rate)
        return weights["heads"][1:]


def one_hot(person: Places, count: int) -> Doubles:
    """Return the mixing ``[n, 1 + count]`` of the base's head and each one's own."""
    mixing = np.zeros((len(person), 1 + count))
    mixing[:, 0] = 1.0
    mixing[np.arange(len(person)), 1 + person] = 1.0
    return mixing


def _with_head(net: Weights, head: Doubles) -> Weights:
    return {**net, "heads": np.concatenate([net["heads"], head])}
