"""What a person's few measurements say, together with what many people's say.

Gains of a method over no personalization are normal around a person's own mean, and people's means are normal around
the population's (the normal-normal model of Efron and Morris 1975, doi:10.1080/01621459.1975.10479864). Mean and spread
of the population are estimated from the data by the method of moments; a person with few or noisy measurements is drawn
towards the population, one with many stands for themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

DOUBT = 10.0
"""Degrees of freedom that the view that people do not differ is worth."""


@dataclass(frozen=True)
class Measured:
    """One person's gains over none: ``mean`` and ``variance`` of a single gain ``[methods]``, over ``n`` questions."""

    mean: Doubles
    variance: Doubles
    n: int

    @staticmethod
    def of(gains: Doubles) -> Measured:
        """Summarize gains ``[methods, n]``."""
        n = gains.shape[1]
        variance = gains.var(axis=1, ddof=1) if n > 1 else np.zeros(len(gains))
        return Measured(gains.mean(axis=1), variance, n)


@dataclass(frozen=True)
class Prior:
    """What is known of people in general, ``[methods]`` each: their mean gain, how far people differ (variance of their
    true means), the variance of a single gain, and the variance of ``mean`` itself."""

    mean: Doubles
    between: Doubles
    within: Doubles
    error: Doubles
    people: int


def nothing_known(methods: int, within: Doubles | None = None, weight: float = 6.0) -> Prior:
    """Return the prior for people of whom no others are known: no gain, worth ``weight`` measurements of a person."""
    spread = np.ones(methods) if within is None else np.maximum(within, 1e-12)
    return Prior(np.zeros(methods), spread / weight, spread, np.zeros(methods), 0)


def pool(found: Sequence[Measured]) -> Prior:
    """Estimate the population from several people.

    How far one person's gains scatter is known from those with two or more of them alone; the estimate is drawn towards
    what it would be if people did not differ at all, so that with one question each, noise is not taken for character.
    """
    means = np.stack([one.mean for one in found])  # [people, methods]
    freedom = np.array([max(0, one.n - 1) for one in found], np.float64)
    n = np.array([one.n for one in found], np.float64)
    variances = np.stack([one.variance for one in found])
    spread = means.var(axis=0, ddof=1) if len(found) > 1 else np.zeros(means.shape[1])
    alike = spread / (1.0 / n).mean()
    doubt = DOUBT if len(found) > 1 else 0.0
    within = (freedom @ variances + doubt * alike) / max(1.0, freedom.sum() + doubt)
    between = np.maximum(0.0, spread - within * (1.0 / n).mean())
    weights = 1.0 / np.maximum(between + within / n[:, None], 1e-12)  # [people, methods]
    total = weights.sum(axis=0)
    return Prior((weights * means).sum(axis=0) / total, between, within, 1.0 / total, len(found))


def posterior(own: Measured | None, prior: Prior) -> tuple[Doubles, Doubles]:
    """Return mean and standard deviation ``[methods]`` of a person's true gains; without measurements the prior's."""
    if own is None:
        return prior.mean, np.sqrt(prior.between + prior.error)
    noise = np.maximum(prior.within / own.n, 1e-12)
    trust = prior.between / (prior.between + noise)  # 0: the population's mean, 1: the person's own
    mean = trust * own.mean + (1.0 - trust) * prior.mean
    variance = trust * noise + (1.0 - trust) ** 2 * prior.error
    return mean, np.sqrt(variance)


def choose(mean: Doubles, sd: Doubles, caution: float) -> int:
    """Return the index of the method with the best ``mean - caution * sd``, -1 (none) where that is not above 0."""
    low = mean - caution * sd
    best = int(np.argmax(low))
    return best if low[best] > 0 else -1
