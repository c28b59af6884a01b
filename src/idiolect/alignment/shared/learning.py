"""From many people's comparisons of one kind to what serves everybody, and how people differ from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from idiolect.alignment.shared.comparisons import Comparison, Question
from idiolect.alignment.shared.crowd import Crowd, Own, key
from idiolect.alignment.shared.directions import regressions, tastes
from idiolect.alignment.shared.features import FOLDS, OWN, TASTES, Asked, Ground, describe, group_contrasts
from idiolect.alignment.shared.packing import Array
from idiolect.alignment.shared.posterior import (
    Choices,
    Doubles,
    Places,
    Prior,
    laplace,
    learn_prior,
    mirrored,
    pooled,
    shares,
    stack,
)
from idiolect.alignment.shared.strengths import strengths

CLIP = 6.0
"""Features farther out than so many deviations count as that far: one odd text must not decide."""
FREE = 8
"""So many weights differ from person to person, those in which people differ most: 88 bytes each."""
EARLIER = 0.8
"""Part of each person's choices from which the rest is foretold, to see how far people really are from the mean."""
PARTS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""So many times the covariance that was learnt is tried."""
_DOUBT, _DRAWS = float(np.log(4.0)), 16
"""Standard deviation of the logarithm of that part before anything is foretold, and draws of the weights."""
Booleans = npt.NDArray[np.bool_]
Vectors = Callable[[Question], Doubles]
"""A question's vectors: ``[dim]`` of its prompt where options are labels, else ``[options, dim]``."""


@dataclass(frozen=True, eq=False)
class Kind:
    """What was learnt of one kind of question: ``mean [features]`` serves everybody.

    Only the weights at ``free`` differ from person to person, by ``covariance [free, free]``. Features are divided by
    ``scale [features]``.
    """

    ground: Ground
    scale: Doubles
    mean: Doubles
    free: Places
    covariance: Doubles

    def scaled(self, x: Doubles) -> Doubles:
        """Return features ``[..., features]`` on the scale that they were learnt on."""
        return _scaled(x, self.scale)

    def spread(self, mean: Doubles, covariance: Doubles) -> tuple[Doubles, Doubles]:
        """Return mean and covariance of all weights from those of the free ones."""
        whole, wide = self.mean.copy(), np.zeros((len(self.mean), len(self.mean)))
        whole[self.free] = mean
        wide[np.ix_(self.free, self.free)] = covariance
        return whole, wide

    def posteriors(self, choices: Choices) -> tuple[Doubles, Doubles]:
        """Return everybody's ``mean [people, free]`` and ``covariance``; ``choices`` are scaled already.

        What the fixed weights say enters as one more feature whose weight is 1.
        """
        fixed = self.mean.copy()
        fixed[self.free] = 0.0
        x = np.concatenate([choices.x[:, :, self.free], (choices.x @ fixed)[:, :, None]], axis=2)
        count = len(self.free)
        prior = Prior(np.append(self.mean[self.free], 1.0), np.pad(self.covariance, (0, 1)))
        prior.covariance[count, count] = 1e-9
        found = laplace(replace(choices, x=x), prior)
        return found.mean[:, :count], found.covariance[:, :count, :count]

    def arrays(self, prefix: str) -> dict[str, Array]:
        """Return what is kept, by name."""
        ground = self.ground
        small = {"text": ground.text, "strength": ground.strength, "tastes": ground.tastes}
        exact = {
            "base": ground.base, "groups": ground.groups, "scale": self.scale, "mean": self.mean,
            "covariance": self.covariance,
        }  # fmt: skip
        found: dict[str, Array] = {name: array.astype(np.float32) for name, array in small.items()}
        found |= {"things": ground.things, "free": self.free.astype(np.int32), **exact}
        return {prefix + name: array for name, array in found.items()}

    @staticmethod
    def read(labels: Sequence[str], arrays: Mapping[str, Array], prefix: str) -> Kind:
        """Return what :meth:`arrays` gave."""
        found = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
        double = {name: array.astype(np.float64) for name, array in found.items()}
        ground = Ground(
            tuple(labels), double["base"], double["text"], found["things"], double["strength"], double["groups"],
            double["tastes"],
        )  # fmt: skip
        free = found["free"].astype(np.int64)
        return Kind(ground, double["scale"], double["mean"], free, double["covariance"])


def own_of(comparisons: Sequence[Comparison], vectors: Sequence[Doubles], dim: int) -> Own:
    """Return what a person chose, from the comparisons and their vectors."""
    rows = [
        vector if one.labels else vector[one.chosen] - vector.mean(axis=0)
        for one, vector in zip(comparisons, vectors, strict=True)
    ]
    names = [one.question.names[one.chosen] for one in comparisons]
    return Own([one.item for one in comparisons], names, np.stack(rows) if rows else np.zeros((0, dim)))


def learn(
    people: Sequence[Sequence[Comparison]], folds: Sequence[int], crowd: Crowd, vectors: Vectors, labels: Sequence[str]
) -> Kind:
    """Learn one kind of question from what people chose, ``folds`` being theirs; somebody must have chosen."""
    questions = [[one.question for one in own] for own in people]
    rows = [[vectors(question) for question in asked] for asked in questions]
    flat = _Flat.of(people, rows, folds)
    ground = _ground(flat, people, folds, crowd, tuple(labels))
    owns = [own_of(own, given, flat.dim) for own, given in zip(people, rows, strict=True)]

    def described(ground: Ground) -> Choices:
        x, chosen, person = list[Doubles](), list[int](), list[int]()
        for who, own in enumerate(people):
            asked = Asked(questions[who], rows[who], range(len(own)))
            x += describe(ground, crowd, owns[who], asked, who, folds[who])
            chosen += [one.chosen for one in own]
            person += [who] * len(own)
        return stack(x, chosen, person, len(people))

    plain = described(ground)
    scale = _scale(plain)
    scaled = replace(plain, x=_scaled(plain.x, scale))
    earlier = _earlier(plain)
    ground = replace(ground, tastes=flat.tastes(ground, scaled, pooled(scaled), earlier))
    choices = described(ground)
    scale = _scale(choices)
    ready = replace(choices, x=_scaled(choices.x, scale))
    prior = learn_prior(ready)
    common = np.array([name in OWN for name in ground.names]) | (scale == 1.0)  # what never differs tells nothing
    differing = np.where(common, 0.0, np.diag(prior.covariance))
    free = np.sort(np.argsort(-differing, kind="stable")[: min(FREE, int((differing > 0).sum()))])
    kind = Kind(ground, scale, prior.mean, free, prior.covariance[np.ix_(free, free)])
    return _calibrated(kind, ready, earlier) if len(free) else kind


def _calibrated(kind: Kind, choices: Choices, earlier: Booleans) -> Kind:
    """Return the kind with people as far from the mean as foretells their later choices from the earlier ones best.

    A choice is left out of its own features but not of the other choices', so that people look farther apart than they
    are: on MovieLens personal weights that were not calibrated foretold worse than everybody's.
    """
    first, later = _some(choices, earlier), _some(choices, ~earlier)
    kinds = [replace(kind, covariance=part * kind.covariance) for part in PARTS]
    costs = [
        np.log(part) ** 2 / (2 * _DOUBT**2) - _foretold(one, first, later)
        for part, one in zip(PARTS, kinds, strict=True)
    ]
    return kinds[int(np.argmin(costs))]


def _foretold(kind: Kind, first: Choices, later: Choices) -> float:
    """Return the log likelihood [nats] of later choices by what the first ones say, averaged over draws of weights."""
    mean, covariance = kind.posteriors(first)
    roots = np.linalg.cholesky(covariance + 1e-12 * np.eye(len(kind.free)))
    likely = np.zeros(len(later.chosen))
    for draw in mirrored(_DRAWS, len(kind.free)):
        weights = np.tile(kind.mean, (later.people, 1))
        weights[:, kind.free] = mean + roots @ draw
        found = shares(later.x, later.there, weights[later.person])
        likely += found[np.arange(len(found)), later.chosen] / _DRAWS
    return float(np.log(np.maximum(likely, 1e-12)).sum())


def _earlier(choices: Choices) -> Booleans:
    """Return which choices are among the first four fifths of the person's."""
    count = np.bincount(choices.person, minlength=choices.people)
    place = np.arange(len(choices.person)) - (np.cumsum(count) - count)[choices.person]
    return np.asarray(place < np.ceil(EARLIER * count)[choices.person])


def _some(choices: Choices, which: Booleans) -> Choices:
    x, there, chosen, person = choices.x, choices.there, choices.chosen, choices.person
    return Choices(x[which], there[which], chosen[which], person[which], choices.people)


def _scaled(x: Doubles, scale: Doubles) -> Doubles:
    return np.clip(x / scale, -CLIP, CLIP)


def _scale(choices: Choices) -> Doubles:
    """Return how much each feature differs between the options of a question, 1 for one that never does."""
    there = choices.there[:, :, None]
    mean = (choices.x * there).sum(axis=1, keepdims=True) / there.sum(axis=1, keepdims=True)
    deviation = np.sqrt((((choices.x - mean) ** 2) * there).sum(axis=(0, 1)) / max(1, int(there.sum())))
    return np.where(deviation > 1e-6, deviation, 1.0)


@dataclass(frozen=True, eq=False)
class _Flat:
    """All people's questions in one: vectors ``[rows, dim]``, ``question [rows]`` they belong to, what was taken."""

    rows: Doubles
    question: Places
    taken: Doubles
    """1 at the row that was taken, for texts; which label, for labels (``[questions]``)."""
    person: Places
    """Of each question."""
    fold: Places
    """Of each question."""
    texts: bool

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.rows.shape[1])

    @staticmethod
    def of(people: Sequence[Sequence[Comparison]], rows: Sequence[Sequence[Doubles]], folds: Sequence[int]) -> _Flat:
        """Put the questions one after another; texts are centred within their question."""
        flat = [
            (who, one, vector) for who, own in enumerate(people) for one, vector in zip(own, rows[who], strict=True)
        ]
        texts = not flat[0][1].labels
        person = np.array([who for who, _, _ in flat], np.int64)
        fold = np.asarray(folds, np.int64)[person]
        chosen = np.array([one.chosen for _, one, _ in flat], np.int64)
        if not texts:
            return _Flat(
                np.stack([v for *_, v in flat]), np.arange(len(flat)), chosen.astype(float), person, fold, texts
            )
        lengths = np.array([len(vector) for *_, vector in flat])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        taken = np.zeros(int(lengths.sum()))
        taken[starts + chosen] = 1.0
        centred = np.concatenate([vector - vector.mean(axis=0) for *_, vector in flat])
        return _Flat(centred, np.repeat(np.arange(len(flat)), lengths), taken, person, fold, texts)

    def tastes(self, ground: Ground, choices: Choices, weights: Doubles, earlier: Booleans) -> Doubles:
        """Return the directions in which people's ``earlier`` choices differ most beyond the pooled ``weights``."""
        likely = shares(choices.x, choices.there, np.tile(weights, (len(choices.x), 1)))
        if not self.texts:
            values = ground.values
            if values is None:
                return np.zeros((self.dim, 0))
            mean = likely @ values
            spread = np.maximum(likely @ values**2 - mean**2, 0.0)
            gradients = (values[self.taken.astype(np.int64)] - mean)[:, None] * self.rows
            information = (self.rows * spread[:, None]).T @ self.rows
        else:
            flat = likely[choices.there]
            count = len(self.person)
            sums = _sums(self.rows * flat[:, None], self.question, count)
            gradients = _sums(self.rows * (self.taken - flat)[:, None], self.question, count)
            apart = (self.rows - sums[self.question]) * np.sqrt(flat)[:, None]
            information = apart.T @ apart
        return tastes(
            gradients * earlier[:, None], information, self.person, int(self.person.max()) + 1, min(TASTES, self.dim)
        )


def _sums(rows: Doubles, question: Places, count: int) -> Doubles:
    starts = np.searchsorted(question, np.arange(count))
    return np.asarray(np.add.reduceat(rows, starts, axis=0), np.float64)


def _ground(
    flat: _Flat, people: Sequence[Sequence[Comparison]], folds: Sequence[int], crowd: Crowd, labels: tuple[str, ...]
) -> Ground:
    if flat.texts:
        base = np.zeros(0)
        sizes = np.bincount(flat.question)[flat.question]
        target = (flat.taken - 1.0 / sizes)[:, None]
    else:
        onehot = np.eye(len(labels))[flat.taken.astype(np.int64)]
        base = (onehot.sum(axis=0) + 1.0) / (len(onehot) + len(labels))
        target = onehot - base
    text = regressions(flat.rows, target, flat.fold[flat.question], FOLDS)
    things, worth = _worths([one for own in people for one in own], flat.fold)
    groups = _principal(crowd, {one.item: one.question for own in people for one in own if one.item})
    return Ground(labels, base, text, things, worth, groups, np.zeros((flat.dim, 0)))


def _worths(comparisons: Sequence[Comparison], fold: Places) -> tuple[Places, Doubles]:
    """Return the keys of the things chosen among, and their strengths by the choices of each fold's other people."""
    named = [place for place, one in enumerate(comparisons) if one.items and not one.labels]
    keys = [[key(item) for item in comparisons[place].items] for place in named]
    things = np.unique(np.array([one for row in keys for one in row], np.uint64))
    worth = np.zeros((FOLDS, len(things)))
    if not named:
        return things, worth  # type: ignore[return-value]  # keys are unsigned
    width = max(len(row) for row in keys)
    there = np.array([[place < len(row) for place in range(width)] for row in keys])
    padded = np.array([[*row, *[int(things[0])] * (width - len(row))] for row in keys], np.uint64)
    places = np.searchsorted(things, padded)
    chosen = np.array([comparisons[place].chosen for place in named], np.int64)
    for f in range(FOLDS):
        others = fold[named] != f
        worth[f] = strengths(places[others], there[others], chosen[others], len(things))
    return things, worth  # type: ignore[return-value]  # keys are unsigned


def _principal(crowd: Crowd, questions: Mapping[str, Question]) -> Doubles:
    """Return the contrast of groups ``[groups]``, of sum 0, in which what is known of them differs most."""
    found = [group_contrasts(crowd, question) for question in questions.values()]
    contrasts = [one - one.mean(axis=1, keepdims=True) for one in found if one is not None]
    if not contrasts:
        return np.zeros(len(crowd.groups))
    whole = np.concatenate(contrasts)
    _, vectors = np.linalg.eigh(whole.T @ whole)
    first = vectors[:, -1]
    return np.asarray(first * np.sign(first[np.abs(first).argmax()]), np.float64)
