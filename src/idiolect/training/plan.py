"""What one person's training does when: which examples a step takes, at which rate. Nothing in it knows of others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from idiolect.trainable import Recipe


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one person with so many examples."""

    recipe: Recipe
    examples: int

    @property
    def per_epoch(self) -> int:
        """Steps of one pass over the examples."""
        return math.ceil(self.examples / self.recipe.batch)

    @property
    def steps(self) -> int:
        """Steps of all passes."""
        return self.per_epoch * self.recipe.epochs

    def batch(self, step: int) -> list[int]:
        """Return the examples of a step, by place: every one once before one comes again."""
        epoch, within = divmod(step, self.per_epoch)
        order = np.random.default_rng((self.recipe.seed, epoch)).permutation(self.examples)
        return [int(n) for n in order[within * self.recipe.batch : (within + 1) * self.recipe.batch]]

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: it rises over the warm-up, then stays or falls to near 0."""
        recipe = self.recipe
        warm = math.ceil(recipe.warmup * self.steps)
        if step < warm:
            return recipe.rate * (step + 1) / warm
        left = (self.steps - step) / max(1, self.steps - warm)
        if recipe.schedule == "linear":
            return recipe.rate * left
        if recipe.schedule == "cosine":
            return recipe.rate * (1 - math.cos(math.pi * left)) / 2
        return recipe.rate

    def done(self, step: int, held: Sequence[float]) -> bool:
        """Whether all steps are made, or the held-out loss has not fallen for ``patience`` passes."""
        if step >= self.steps:
            return True
        since = len(held) - 1 - min(range(len(held)), key=held.__getitem__) if held else 0
        return bool(self.recipe.patience) and since >= self.recipe.patience

    def ends_epoch(self, step: int) -> bool:
        """Whether a pass over the examples is complete after a step."""
        return (step + 1) % self.per_epoch == 0
