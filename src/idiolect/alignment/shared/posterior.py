"""Choices of many people to what each of them weighs: a conditional logit whose weights differ from person to person.

Option ``k`` of a choice has features ``x_k [features]`` and is taken by person ``u`` with probability ``softmax_k(w_u .
x_k)`` (McFadden 1974; with two options Bradley and Terry 1952). The weights of people come from one normal
distribution, the prior (mixed logit, Train 2009, chapter 12), so that somebody without a choice is everybody's mean and
everyone is drawn towards it as their choices are few. Each person's posterior is Laplace's: a mode and the inverse of
the curvature there. How far people differ is learnt by expectation and maximization over these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

STEPS = 30
"""Newton steps at most; four to six are taken."""
TOLERANCE = 1e-6
ROUNDS = 40
"""Rounds of expectation and maximization."""
LOOSE = 0.5
"""Variance of the weights before anything is known."""
DRAWS = 64
"""Draws that a prediction is the mean over, in pairs that mirror each other."""


@dataclass(frozen=True)
class Choices:
    """Choices of people: ``x`` ``[n, options, features]``, ``there`` ``[n, options]`` where options differ in number.

    ``chosen`` ``[n]`` is the place of what was taken, ``person`` ``[n]`` who took it, from 0, in rising order.
    """

    x: Doubles
    there: npt.NDArray[np.bool_]
    chosen: Places
    person: Places
    people: int

    @property
    def features(self) -> int:
        """Number of features of an option."""
        return int(self.x.shape[2])

    @cached_property
    def taken(self) -> Doubles:
        """Features of what was taken, ``[n, features]``."""
        return np.asarray(self.x[np.arange(len(self.x)), self.chosen], np.float64)

    @cached_property
    def _bounds(self) -> tuple[Places, Places]:
        present, starts = np.unique(self.person, return_index=True)
        return present, starts

    def totals(self, values: Doubles) -> Doubles:
        """Return the sum of ``values [n, ...]`` over each person's choices, ``[people, ...]``."""
        present, starts = self._bounds
        out = np.zeros((self.people, *values.shape[1:]))
        if len(present):
            out[present] = np.add.reduceat(values, starts, axis=0)
        return out


@dataclass(frozen=True)
class Prior:
    """What the weights of people are like: their ``mean [features]`` and ``covariance [features, features]``."""

    mean: Doubles
    covariance: Doubles


@dataclass(frozen=True)
class Posterior:
    """What is known of people's weights: ``mean [people, features]``, ``covariance [people, features, features]``."""

    mean: Doubles
    covariance: Doubles


def shares(x: Doubles, there: npt.NDArray[np.bool_], weights: Doubles) -> Doubles:
    """Return the probability of each option ``[n, options]`` under weights ``[n, features]``."""
    utility = np.where(there, (x @ weights[:, :, None])[:, :, 0], -np.inf)
    utility -= utility.max(axis=1, keepdims=True)
    likely = np.exp(utility)
    return np.asarray(likely / likely.sum(axis=1, keepdims=True), np.float64)


def slopes(choices: Choices, weights: Doubles) -> tuple[Doubles, Doubles]:
    """Return the gradient of each choice's log likelihood ``[n, features]`` and its information, a matrix each."""
    likely = shares(choices.x, choices.there, weights)
    mean = (likely[:, None] @ choices.x)[:, 0]
    apart = (choices.x - mean[:, None]) * np.sqrt(likely)[:, :, None]
    return choices.taken - mean, apart.transpose(0, 2, 1) @ apart


def laplace(choices: Choices, prior: Prior, start: Doubles | None = None, steps: int = STEPS) -> Posterior:
    """Return everybody's posterior under one prior, all people at once by Newton's method.

    The log posterior is concave, and a step that would overshoot is halved for that person alone.
    """
    precision = np.asarray(np.linalg.inv(prior.covariance), np.float64)
    weights = np.tile(prior.mean, (choices.people, 1)) if start is None else start.copy()
    height = _heights(choices, weights, prior, precision)
    for _ in range(steps):
        gradient, information = slopes(choices, weights[choices.person])
        slope = choices.totals(gradient) - (weights - prior.mean) @ precision
        curve = choices.totals(information) + precision
        step = np.asarray(np.linalg.solve(curve, slope[:, :, None])[:, :, 0], np.float64)
        weights, height = _climb(choices, weights, step, height, prior, precision)
        if np.abs(step).max(initial=0.0) < TOLERANCE:
            break
    _, information = slopes(choices, weights[choices.person])
    return Posterior(weights, np.asarray(np.linalg.inv(choices.totals(information) + precision), np.float64))


def _heights(choices: Choices, weights: Doubles, prior: Prior, precision: Doubles) -> Doubles:
    likely = shares(choices.x, choices.there, weights[choices.person])
    chosen = np.log(np.maximum(likely[np.arange(len(likely)), choices.chosen], 1e-300))
    away = weights - prior.mean
    return np.asarray(choices.totals(chosen) - 0.5 * ((away @ precision) * away).sum(axis=1), np.float64)


def _climb(
    choices: Choices, weights: Doubles, step: Doubles, height: Doubles, prior: Prior, precision: Doubles
) -> tuple[Doubles, Doubles]:
    size = np.ones((choices.people, 1))
    for _ in range(20):
        tried = weights + size * step
        reached = _heights(choices, tried, prior, precision)
        low = reached < height - 1e-9
        if not low.any():
            break
        size[low] /= 2
    return tried, reached


def pooled(choices: Choices, ridge: float = 0.01) -> Doubles:
    """Return the weights ``[features]`` that explain everybody's choices as if one person had made them."""
    one = Choices(choices.x, choices.there, choices.chosen, np.zeros(len(choices.person), np.int64), 1)
    loose = Prior(np.zeros(choices.features), np.eye(choices.features) / ridge)
    return np.asarray(laplace(one, loose).mean[0], np.float64)


def learn_prior(choices: Choices, rounds: int = ROUNDS, doubt: float = 5.0, scale: float = 0.1) -> Prior:
    """Learn what the weights of people are like from people's choices.

    The mean is the pooled model, so that a newcomer gets what serves everybody best and no less; only how far people
    are from it is learnt by expectation and maximization. (A mean that is learnt along runs off where a feature is made
    of a person's other choices: on POPQUORN to a mean error of 1.69 for newcomers, beside 0.63.) ``doubt`` people whose
    weights vary by ``scale`` (a variance, in units of the features) count along, so that few people do not make a
    certain prior.
    """
    mean = pooled(choices)
    present = np.unique(choices.person)
    some = Choices(choices.x, choices.there, choices.chosen, np.searchsorted(present, choices.person), len(present))
    covariance, weights = LOOSE * np.eye(some.features), None
    for _ in range(rounds):
        found = laplace(some, Prior(mean, covariance), weights, steps=2)
        weights = found.mean
        away = weights - mean
        spread = away.T @ away + found.covariance.sum(axis=0) + doubt * scale * np.eye(some.features)
        before, covariance = covariance, spread / (len(present) + doubt)
        if np.abs(covariance - before).max() < 1e-3:
            break
    return Prior(mean, covariance)


def updated(posterior: tuple[Doubles, Doubles], x: Doubles, chosen: int) -> tuple[Doubles, Doubles]:
    """Return one person's posterior after one more choice among ``x [options, features]``.

    What was known stands in the place of the prior (assumed density filtering), so earlier choices are not read again.
    """
    one = Choices(x[None], np.ones((1, len(x)), bool), np.array([chosen]), np.zeros(1, np.int64), 1)
    found = laplace(one, Prior(*posterior))
    return found.mean[0], found.covariance[0]


def foreseen(x: Doubles, mean: Doubles, covariance: Doubles, draws: int = DRAWS) -> Doubles:
    """Return the probability of each option of ``x [options, features]``, the weights' uncertainty averaged over.

    The draws are the same each time: equal questions get equal answers.
    """
    return np.asarray(draw_shares(x, mean, covariance, draws).mean(axis=0), np.float64)


def draw_shares(x: Doubles, mean: Doubles, covariance: Doubles, draws: int = DRAWS) -> Doubles:
    """Return the probability of each option under each of the draws of the weights ``[draws, options]``."""
    weights = draw_weights(mean, covariance, draws)
    utility = weights @ x.T
    likely = np.exp(utility - utility.max(axis=1, keepdims=True))
    return np.asarray(likely / likely.sum(axis=1, keepdims=True), np.float64)


def draw_weights(mean: Doubles, covariance: Doubles, draws: int = DRAWS) -> Doubles:
    """Return ``[draws, features]`` draws of a person's weights, one half the mirror of the other."""
    values, vectors = np.linalg.eigh(covariance)
    spread = mirrored(draws, len(mean)) * np.sqrt(np.maximum(values, 0.0))
    return np.asarray(mean + spread @ vectors.T, np.float64)


def mirrored(draws: int, features: int) -> Doubles:
    """Return normal draws ``[draws, features]``, the same each time, the second half the mirror of the first."""
    half = np.random.default_rng(0).standard_normal((draws // 2, features))
    return np.concatenate([half, -half])


def stack(rows: Sequence[Doubles], chosen: Sequence[int], person: Sequence[int], people: int) -> Choices:
    """Return choices made of each one's options ``[options, features]``, put in the order of people."""
    order = np.argsort(np.asarray(person, np.int64), kind="stable")
    width = max((len(row) for row in rows), default=1)
    depth = rows[0].shape[1] if rows else 1
    x, there = np.zeros((len(rows), width, depth)), np.zeros((len(rows), width), bool)
    for place, source in enumerate(order):
        x[place, : len(rows[source])] = rows[source]
        there[place, : len(rows[source])] = True
    return Choices(x, there, np.asarray(chosen, np.int64)[order], np.asarray(person, np.int64)[order], people)
