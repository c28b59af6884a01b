"""Which two candidates to show a person so that the fewest answers tell which one they like best.

After UserAlign (arXiv 2511.02966; NeurIPS 2025): candidates are given, the person answers "this one or that one", and
asking ends once one candidate is surely the best. There the answers are free of noise, and each halves the set of
tastes that agree with all of them. Here people err: an answer between candidates ``i`` and ``j`` is ``i`` with
probability ``sigmoid(w . (x_i - x_j))``, and what is known of the taste ``w`` is a normal distribution ``(mean
[features], covariance [features, features])`` that each answer moves (:func:`idiolect.alignment.shared.posterior
.updated`). For somebody of whom nothing is known it is what people's tastes are like, the prior.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol, runtime_checkable

import numpy as np

from idiolect.alignment.shared.posterior import Doubles, Places, draw_weights, updated
from idiolect.types import Call, Context, User

DRAWS = 128
"""Draws of the weights that chances are counted over."""
SURE = 0.8
"""How likely one candidate must be the best for asking to end (UserAlign)."""
LIMIT = 10
"""Questions at most: people tire."""
WIDTH = 64
"""Candidates among which pairs are looked for, the likeliest ones where there are more (2,016 pairs)."""

Pair = tuple[int, int]


class Judged(Protocol):
    """How a person judges a call's options, what is not known of their taste included."""

    @property
    def x(self) -> Doubles:
        """Features ``[options, features]``."""

    @property
    def mean(self) -> Doubles:
        """Of the person's weights, ``[features]``."""

    @property
    def covariance(self) -> Doubles:
        """Of the person's weights, ``[features, features]``; for somebody unknown that of people's weights."""

    @property
    def chances(self) -> Doubles:
        """The probability that each option is taken, ``[options]``."""

    @property
    def spread(self) -> Doubles:
        """The standard deviation of these over what is not known, ``[options]``."""


@runtime_checkable
class Judges(Protocol):
    """A method that judges what may be answered."""

    def judge(self, call: Call, user: User, ctx: Context) -> Judged | None:
        """Judge ``call.options`` for a person; ``None`` where nothing was learnt to judge them by."""


@dataclass(frozen=True, slots=True)
class Interview:
    """What a person was asked, and what is known afterwards."""

    asked: tuple[Pair, ...]
    """The pairs, in order."""
    answers: tuple[int, ...]
    """The candidate that was taken of each pair."""
    mean: Doubles
    """Of the person's weights, ``[features]``."""
    covariance: Doubles
    """Of the person's weights, ``[features, features]``."""
    chances: Doubles
    """The probability that each candidate is the best, ``[candidates]``."""

    @property
    def best(self) -> int:
        """The candidate that is the best most probably."""
        return int(self.chances.argmax())

    @property
    def sure(self) -> float:
        """How probable that is."""
        return float(self.chances.max())


def best_chances(x: Doubles, mean: Doubles, covariance: Doubles, draws: int = DRAWS) -> Doubles:
    """Return the probability that each candidate of ``x [candidates, features]`` is the person's best.

    It is counted over draws of the weights that are the same each time. Of equal candidates the first has the chance
    of all of them.
    """
    best = (draw_weights(mean, covariance, draws) @ x.T).argmax(axis=1)
    return np.bincount(best, minlength=len(x)) / draws


def next_pair(
    x: Doubles, mean: Doubles, covariance: Doubles, asked: Iterable[Pair] = (), draws: int = DRAWS
) -> Pair | None:
    """Return the two candidates whose comparison says most about which one is the best, the likelier one first.

    ``x`` is ``[candidates, features]``; no pair of ``asked`` is asked again. ``None`` where no pair would tell
    anything: there is one candidate, all have been compared, or nothing is open.
    """
    utility = draw_weights(mean, covariance, draws) @ x.T  # [draws, candidates]
    best = utility.argmax(axis=1)
    chances = np.bincount(best, minlength=len(x)) / draws
    near = np.lexsort((-utility.mean(axis=0), -chances))[:WIDTH]
    done = {frozenset(pair) for pair in asked}
    pairs = [pair for pair in combinations(near.tolist(), 2) if frozenset(pair) not in done]
    if not pairs:
        return None
    told = information(utility, best, np.array(pairs, np.int64))
    top = int(told.argmax())
    return pairs[top] if told[top] > 1e-9 else None


def information(utility: Doubles, best: Places, pairs: Places) -> Doubles:
    """Return what the answer to each of ``pairs [n, 2]`` tells about which candidate is the best [nats].

    The mutual information ``I(answer; best) = H(answer) - sum_k P(best = k) H(answer | best = k)`` over draws of the
    candidates' utility ``[draws, candidates]``, of which ``best [draws]`` is each one's largest.
    """
    names, group = np.unique(best, return_inverse=True)
    of = np.zeros((len(names), len(best)))
    of[group, np.arange(len(best))] = 1.0
    size = of.sum(axis=1)
    rows = np.ascontiguousarray(np.exp(np.maximum(utility - utility.max(axis=1, keepdims=True), -300.0)).T)
    first, second = rows[pairs[:, 0]], rows[pairs[:, 1]]
    answer = first / (first + second)  # [pairs, draws]
    known = answer @ (of / size[:, None]).T  # [pairs, names]
    return np.asarray(_entropy(answer.mean(axis=1)) - _entropy(known) @ (size / len(best)), np.float64)


def _entropy(likely: Doubles) -> Doubles:
    inside = np.clip(likely, 1e-12, 1.0 - 1e-12)
    return np.asarray(-inside * np.log(inside) - (1.0 - inside) * np.log1p(-inside), np.float64)


def answered(x: Doubles, mean: Doubles, covariance: Doubles, chosen: int) -> tuple[Doubles, Doubles]:
    """Return ``mean`` and ``covariance`` of the weights after one of ``x [options, features]`` was taken.

    The covariance may be singular: what does not vary from person to person stays as it is. The weights are ``mean + L
    z`` with ``L L^T`` the covariance and ``z`` standard normal, and ``z`` is updated; what the mean says of the options
    enters as one more feature, whose weight is 1.
    """
    values, vectors = np.linalg.eigh(covariance)
    free = values > 1e-9 * max(float(values.max()), 1e-9)
    count = int(free.sum())
    if not count:
        return mean, covariance
    ways = vectors[:, free] * np.sqrt(values[free])  # [features, count]
    known = np.append(np.zeros(count), 1.0), np.diag(np.append(np.ones(count), 1e-9))
    moved, left = updated(known, np.column_stack([x @ ways, x @ mean]), chosen)
    return mean + ways @ moved[:count], ways @ left[:count, :count] @ ways.T


def interview(
    x: Doubles,
    mean: Doubles,
    covariance: Doubles,
    answer: Callable[[int, int], int | None],
    limit: int = LIMIT,
    sure: float = SURE,
    asked: Iterable[Pair] = (),
) -> Interview:
    """Ask until one candidate of ``x [candidates, features]`` is the best with a probability above ``sure``.

    ``answer(first, second)`` returns the candidate that the person takes, or ``None`` to end it. At most ``limit``
    questions are asked, none of them among those ``asked`` before. Raises ``ValueError`` for an answer that is neither.
    """
    pairs, taken, before = list[Pair](), list[int](), list(asked)
    chances = best_chances(x, mean, covariance)
    while len(pairs) < limit and chances.max() <= sure:
        pair = next_pair(x, mean, covariance, (*before, *pairs))
        choice = None if pair is None else answer(*pair)
        if pair is None or choice is None:
            break
        if choice not in pair:
            raise ValueError(f"the answer is {choice!r}, but the question was between {pair[0]} and {pair[1]}")
        mean, covariance = answered(x[list(pair)], mean, covariance, pair.index(choice))
        pairs.append(pair)
        taken.append(choice)
        chances = best_chances(x, mean, covariance)
    return Interview(tuple(pairs), tuple(taken), mean, covariance, chances)
