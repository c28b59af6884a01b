"""Learning which pieces of a prompt to keep: search for better prompts, imitate them, then improve on the imitation.

The chain of RewriterSlRl (arXiv 2310.00152) with a logistic policy in the place of its rewriting model: search alone
goes no further than single edits from everything, reinforcement alone explores badly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from idiolect.prompting.shared.distillation import log_sigmoid, sigmoid

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_GAIN = 1e-6
"""An edit must be worth more than this: less is the rounding of a model."""
_NEWTON_STEPS = 30


@dataclass(frozen=True, eq=False)
class Policy:
    """Keep a piece with probability ``sigmoid(weights . ((features - mean) / scale, 1))``.

    ``mean`` and ``scale`` are ``[features]``, ``weights`` are ``[features + 1]``.
    """

    mean: Doubles
    scale: Doubles
    weights: Doubles

    def standard(self, features: Doubles) -> Doubles:
        """Return standardized features with a column of ones, ``[pieces, features + 1]``."""
        return np.hstack([(features - self.mean) / self.scale, np.ones((len(features), 1))])

    def probabilities(self, features: Doubles) -> Doubles:
        """Return how likely each piece is kept, ``[pieces]``."""
        return sigmoid(self.standard(features) @ self.weights)

    def keep(self, features: Doubles) -> Mask:
        """Return which pieces are kept: those that rather are than not."""
        kept: Mask = self.probabilities(features) >= 0.5
        return kept


@dataclass
class Rewards:
    """What prompts with some pieces kept are worth; ``ask`` answers ``(episode, mask)`` in a batch, each only once."""

    ask: Callable[[Sequence[tuple[int, Mask]]], Sequence[float]]
    asked: int = 0
    _known: dict[tuple[int, bytes], float] = field(default_factory=dict)

    def __call__(self, wanted: Sequence[tuple[int, Mask]]) -> Doubles:
        """Return the reward of each wanted mask."""
        keys = [(at, mask.tobytes()) for at, mask in wanted]
        missing = {key: one for key, one in zip(keys, wanted, strict=True) if key not in self._known}
        if missing:
            self._known.update(zip(missing, map(float, self.ask(list(missing.values()))), strict=True))
            self.asked += len(missing)
        return np.array([self._known[key] for key in keys], np.float64)


def search(sizes: Sequence[int], rewards: Rewards, edits: int) -> list[Mask]:
    """Drop, from everything, the one piece without which the prompt is worth most, up to ``edits`` times.

    Every round is one batch over all episodes; ``sizes`` says how many pieces each has. Returns what is kept.
    """
    kept = [np.ones(size, np.bool_) for size in sizes]
    value = rewards(list(enumerate(kept)))
    active = [at for at, size in enumerate(sizes) if size]
    for _ in range(edits):
        tries = [(at, _without(kept[at], piece)) for at in active for piece in np.flatnonzero(kept[at]).tolist()]
        found, best = rewards(tries), dict[int, int]()
        for number, (at, _mask) in enumerate(tries):
            if at not in best or found[number] > found[best[at]]:
                best[at] = number
        active = [at for at, number in best.items() if found[number] > value[at] + _GAIN]
        for at in active:
            kept[at], value[at] = tries[best[at]][1], found[best[at]]
    return kept


def _without(mask: Mask, piece: int) -> Mask:
    out = mask.copy()
    out[piece] = False
    return out


def imitate(features: Sequence[Doubles], kept: Sequence[Mask], decay: float) -> Policy:
    """Fit the policy to what the search kept (logistic regression by Newton's method, ``decay`` on the weights)."""
    stacked, wanted = np.vstack(list(features)), np.concatenate(list(kept)).astype(np.float64)
    scale = stacked.std(axis=0)
    policy = Policy(stacked.mean(axis=0), np.where(scale > 1e-9, scale, 1.0), np.zeros(stacked.shape[1] + 1))
    x, weights = policy.standard(stacked), policy.weights
    penalty = decay * np.eye(x.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = sigmoid(x @ weights)
        gradient = x.T @ (wanted - p) - penalty @ weights
        weights = weights + np.linalg.solve(x.T @ ((p * (1 - p))[:, None] * x) + penalty, gradient)
    return Policy(policy.mean, policy.scale, weights)


@dataclass(frozen=True)
class Reinforcement:
    """REINFORCE: ``samples`` masks for each episode in each of ``steps`` steps; ``kl`` holds to the imitation."""

    steps: int = 4
    samples: int = 4
    rate: float = 0.1
    kl: float = 0.1


def reinforce(
    start: Policy, features: Sequence[Doubles], rewards: Rewards, how: Reinforcement, rng: np.random.Generator
) -> Policy:
    """Raise the expected reward minus ``kl`` times KL(policy || start), from ``start`` on.

    The baseline of a sample is the mean reward of the others of its episode; rewards count in units of what leaving
    out one piece does on average, so that one setting serves every measure. Flat rewards leave ``start`` as it is.
    """
    xs = [start.standard(own) for own in features]
    unit = _unit(features, rewards)
    policy = start
    for _ in range(how.steps if unit else 0):
        ps = [sigmoid(x @ policy.weights) for x in xs]
        masks = [rng.random((how.samples, len(p))) < p for p in ps]
        found = rewards([(at, mask) for at, own in enumerate(masks) for mask in own]).reshape(len(xs), how.samples)
        rest = (found.sum(axis=1, keepdims=True) - found) / max(1, how.samples - 1)
        gains = (found - rest) / unit  # [episodes, samples]
        gradient = np.zeros_like(policy.weights)
        for x, p, own, gain in zip(xs, ps, masks, gains, strict=True):
            better = (gain[:, None] * (own - p)).mean(axis=0)
            away = p * (1 - p) * (x @ (policy.weights - start.weights))  # gradient of the KL in the logits
            gradient += (better - how.kl * away) @ x
        policy = Policy(start.mean, start.scale, policy.weights + how.rate * gradient / len(xs))
    return policy


def divergence(policy: Policy, start: Policy, features: Sequence[Doubles]) -> float:
    """Return the mean KL(policy || start) [nats] of a piece."""
    x = start.standard(np.vstack(list(features)))
    a, b = x @ policy.weights, x @ start.weights
    p = sigmoid(a)
    each = p * (log_sigmoid(a) - log_sigmoid(b)) + (1 - p) * (log_sigmoid(-a) - log_sigmoid(-b))
    return float(each.mean())


def _unit(features: Sequence[Doubles], rewards: Rewards) -> float:
    """Return the root mean square of what leaving out one piece does."""
    whole = [np.ones(len(own), np.bool_) for own in features]
    value = rewards(list(enumerate(whole)))
    tries = [(at, _without(mask, piece)) for at, mask in enumerate(whole) for piece in range(len(mask))]
    changes = rewards(tries) - value[[at for at, _ in tries]]
    size = float(np.sqrt(np.mean(changes**2))) if len(changes) else 0.0
    return size if size > _GAIN else 0.0
