"""How far people are from what serves everybody is judged by what their earlier choices foretell of later ones."""

from __future__ import annotations

import numpy as np

from idiolect.alignment.shared import learning
from idiolect.alignment.shared.comparisons import Comparison
from idiolect.alignment.shared.crowd import Crowd
from idiolect.alignment.shared.features import Asked, describe
from idiolect.alignment.shared.learning import learn, own_of
from idiolect.alignment.shared.posterior import shares, stack
from idiolect.types import Record

PEOPLE, EACH, LATER, DIM = 30, 20, 40, 16


class Town:
    """People who choose between two texts by a direction of their own of some length, and a loud chance."""

    def __init__(self, length: float, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.vectors: dict[str, np.ndarray] = {}
        tastes = length * rng.normal(size=(PEOPLE, 1)) * np.eye(DIM)[0]
        self.people = [[self.choice(rng, who, n, taste) for n in range(EACH)] for who, taste in enumerate(tastes)]
        self.later = [
            [self.choice(rng, who, EACH + n, taste) for n in range(LATER)] for who, taste in enumerate(tastes)
        ]
        self.crowd = Crowd.of(self.people)
        self.folds = [who % 5 for who in range(PEOPLE)]

    def choice(self, rng, who, number, taste):
        texts = (f"{who} {number} one", f"{who} {number} two")
        found = rng.normal(size=(2, DIM))
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        self.vectors |= dict(zip(texts, found, strict=True))
        better = int((found @ taste + rng.gumbel(size=2)).argmax())
        record = Record.new(f"u{who}", texts[better], time=float(number), key=f"{who}/{number}")
        return Comparison(record, "which", texts, better)

    def read(self, question):
        return np.stack([self.vectors[text] for text in question.texts])

    def learnt(self):
        return learn(self.people, self.folds, self.crowd, self.read, ())

    def loss(self, kind, personal):
        """The mean loss [nats] of choices that nobody learnt from."""
        lost = []
        for who, (mine, later) in enumerate(zip(self.people, self.later, strict=True)):
            vectors = [self.read(one.question) for one in mine]
            asked = Asked(
                [one.question for one in (*mine, *later)], [*vectors, *(self.read(one.question) for one in later)],
                [*range(EACH), *[-1] * LATER],
            )  # fmt: skip
            x = [
                kind.scaled(rows)
                for rows in describe(kind.ground, self.crowd, own_of(mine, vectors, DIM), asked, who, who % 5)
            ]
            known = stack(x[:EACH], [one.chosen for one in mine], [0] * EACH, 1)
            weights = kind.spread(kind.posteriors(known)[0][0], kind.covariance)[0] if personal else kind.mean
            asked_of = stack(x[EACH:], [one.chosen for one in later], [0] * LATER, 1)
            likely = shares(asked_of.x, asked_of.there, np.tile(weights, (LATER, 1)))
            lost += [-np.log(likely[n, one.chosen]) for n, one in enumerate(later)]
        return float(np.mean(lost))


def test_people_who_choose_by_chance_are_served_nearly_as_everybody_is(monkeypatch):
    town = Town(0.0)
    kind = town.learnt()
    assert town.loss(kind, True) < town.loss(kind, False) + 0.01
    monkeypatch.setattr(learning, "_calibrated", lambda kind, choices, earlier: kind)
    unchecked = town.learnt()
    assert town.loss(unchecked, True) > town.loss(unchecked, False) + 0.03


def test_people_who_differ_are_told_apart():
    town = Town(8.0)
    kind = town.learnt()
    assert town.loss(kind, True) < town.loss(kind, False) - 0.05


def test_without_later_choices_it_stays_as_it_was_learnt(monkeypatch):
    town = Town(0.0)
    town.people = [own[:1] for own in town.people]
    found = town.learnt().covariance
    monkeypatch.setattr(learning, "_calibrated", lambda kind, choices, earlier: kind)
    np.testing.assert_array_equal(found, town.learnt().covariance)
