"""A method that judges: three features of a text, weighed by a taste that is learnt from the person's choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from idiolect import registry
from idiolect.alignment.shared.comparisons import comparisons
from idiolect.alignment.shared.posterior import draw_shares, updated

NAME = "tastes"
SWEET, WARM, BIG = ("cake", "pie", "ice"), ("soup", "pie", "tea"), ("feast", "cake", "buffet")


@dataclass(frozen=True)
class Found:
    x: Any
    mean: Any
    covariance: Any
    chances: Any
    spread: Any


@dataclass(frozen=True)
class Tastes:
    """Judge a text by whether it is sweet, warm and big."""

    refreshed: ClassVar[list[str]] = []
    taught: bool = True

    def apply(self, call, user, ctx):
        return call

    def judge(self, call, user, ctx):
        if not self.taught:
            return None
        mean, covariance = np.zeros(3), 4.0 * np.eye(3)
        for one in comparisons(user.history):
            mean, covariance = updated((mean, covariance), features(one.texts), one.chosen)
        x = features([option.text or option.label for option in call.options])
        drawn = draw_shares(x, mean, covariance)
        return Found(x, mean, covariance, drawn.mean(axis=0), drawn.std(axis=0))

    def stale(self, user):
        return any(record.kind == "preference" for record in user.history)

    def fit(self, users, ctx):
        self.refreshed.extend(user.id for user in users)
        return iter(())


def features(texts: Sequence[str]) -> Any:
    return np.array([[float(any(word in text for word in kind)) for kind in (SWEET, WARM, BIG)] for text in texts])


def register(monkeypatch: Any) -> None:
    registry.methods.names()
    info = {"level": "objective", "paper": "none", "needs": (), "fit_needs": (), "peers": False, "together": False}
    monkeypatch.setitem(registry.methods._entries, NAME, registry.Entry(NAME, Tastes, info))
    Tastes.refreshed.clear()
