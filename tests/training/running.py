"""Trainings in tests: run, killed on the way, and compared by their weights."""

from __future__ import annotations

import numpy as np
import pytest

from idiolect.errors import Stopped
from idiolect.trainable import Recipe
from idiolect.training import peft_format

RECIPE = Recipe(rank=4, alpha=8, epochs=3, batch=2, rate=1e-3, dtype="float32")
# Adam divides by the size of the gradient, so that rounding grows with the rate; tests of equality keep it usual.


def trained(model, jobs, recipe=RECIPE, **more):
    return {one.key: one for one in model.train(jobs, recipe, **more)}


def weights(one):
    return peft_format.load(one.body.read())


def apart(one, two):
    """The largest difference of any factor."""
    mine, other = weights(one), weights(two)
    assert mine.modules.keys() == other.modules.keys()
    return max(
        float(np.abs(getattr(mine.modules[n], side) - getattr(other.modules[n], side)).max())
        for n in mine.modules
        for side in "ab"
    )


def tensors(adapter):
    """An adapter as PEFT's state."""
    return {
        f"base_model.model.{name}.lora_{side.upper()}.weight": getattr(one, side)
        for name, one in adapter.modules.items()
        for side in "ab"
    }


class Kept:
    def __init__(self):
        self.saved, self.dropped = {}, []

    def load(self, key):
        return self.saved.get(key)

    def save(self, key, data):
        self.saved[key] = data

    def drop(self, key):
        self.dropped.append(key)
        self.saved.pop(key, None)


def killed(model, jobs, recipe, kept, steps):
    """Train until so many steps are made, and return what was finished by then."""
    left = iter(range(steps))

    def check():
        if next(left, None) is None:
            raise Stopped("killed")

    finished, run = {}, model.train(jobs, recipe, check=check, checkpoints=kept)
    with pytest.raises(Stopped):
        finished.update((one.key, one) for one in run)
    return finished
