"""What speaks for each option of a question: what others chose, the text, what the person chose before.

Two kinds of questions. Options that are *texts* differ from question to question (drafts, arguments, the answers to a
question of a survey); *labels* are the same few for many prompts (yes or no, 1 to 5). Where the question is one that
the person has answered, that answer is left out of all that is made of the person's choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from idiolect.alignment.shared.comparisons import Question
from idiolect.alignment.shared.crowd import Crowd, Likeness, Own, key
from idiolect.alignment.shared.posterior import Doubles, Places

FOLDS = 5
"""What is learnt of texts is learnt so often, each time from four fifths of the people, and read by the others."""
TEXTS = ("others", "strength", "alike", "text", "near", "place", "length", "groups")
LABELS = ("base", "others", "alike", "text", "near", "often", "value", "bend", "mean")
TASTES = 2
WEIGHT, KNOWN = 1.5, 10.0
"""So many judgments count along with the others' for each question; more where the shares are known from elsewhere."""
SHARPNESS = 8.0
"""How fast an own choice counts less for a question as the cosine of the two falls from 1."""
KEPT, DOUBT = 10.0, 2.0
"""Near choices count as at most ``KEPT`` judgments beside ``DOUBT`` of everybody's."""
FEW = 10.0
"""So many own choices count half of what very many do: what two choices say is mostly chance."""
MANY = 20.0
"""Among so many own choices there begin to be some at like prompts: of a few, the nearest is far."""
OWN = ("alike", "near", "often")
"""What is made of the person's other choices. Each choice is left out of its own features, so that within one person
they speak against what was chosen; only people together tell what they are worth."""
SPREAD = 1.2
"""How fast neighbouring labels of an ordered scale share: ``exp(-SPREAD)`` one step away."""


@dataclass(frozen=True, eq=False)
class Ground:
    """What was learnt of a kind of question and does not differ between people.

    ``labels`` are empty where options are texts. ``base [labels]`` are everybody's shares, ``text [folds, dim,
    targets]`` the regressions, ``strength [folds, things]`` of the things whose keys are ``things``, ``groups`` weighs
    the groups' known shares, ``tastes [dim, n]`` are the directions in which people differ.
    """

    labels: tuple[str, ...]
    base: Doubles
    text: Doubles
    things: Places
    strength: Doubles
    groups: Doubles
    tastes: Doubles

    @property
    def names(self) -> tuple[str, ...]:
        """What the features are called."""
        named = LABELS if self.labels else TEXTS
        return (*named, *(f"taste {n + 1}" for n in range(self.tastes.shape[1])))

    @property
    def values(self) -> Doubles | None:
        """The labels as numbers from -1 to 1 where they are in an order: numbers, or only two."""
        return values_of(self.labels)


@dataclass(frozen=True, eq=False)
class Asked:
    """Questions of one person with their vectors, ``[dim]`` of the prompt for labels, ``[options, dim]`` for texts.

    ``places`` say which of the person's own choices is the answer to each, -1 where it is not known.
    """

    questions: Sequence[Question]
    vectors: Sequence[Doubles]
    places: Sequence[int]


def values_of(labels: Sequence[str]) -> Doubles | None:
    """Return labels as numbers from -1 to 1, ``None`` for those without an order."""
    if len(labels) == 2:
        return np.array([-1.0, 1.0])
    try:
        numbers = np.array([float(label) for label in labels])
    except ValueError:
        return None
    if len(numbers) < 2 or numbers.max() == numbers.min():
        return None
    away = numbers - (numbers.max() + numbers.min()) / 2
    return np.asarray(away / np.abs(away).max(), np.float64)


def describe(ground: Ground, crowd: Crowd, own: Own, asked: Asked, but: int, fold: int) -> list[Doubles]:
    """Return the features of each question's options, ``[options, features]`` in the order of ``ground.names``.

    ``but`` is the person's place in the crowd (-1 for none of them), ``fold`` theirs (-1: the mean of all serves).
    """
    values = ground.values
    near = None
    if ground.labels:
        near = np.eye(len(ground.labels)) if values is None else 1.0 - np.abs(values[:, None] - values) / 2.0
    alike = Likeness(crowd, own, but, ground.labels, near)
    text = ground.text.mean(axis=0) if fold < 0 else ground.text[fold]
    if ground.labels:
        return _labels(ground, own, asked, alike, text)
    return _texts(ground, own, asked, alike, text, fold)


# --- options that are texts -------------------------------------------------------------------------------------------


def _texts(ground: Ground, own: Own, asked: Asked, alike: Likeness, text: Doubles, fold: int) -> list[Doubles]:
    liked = own.vectors.sum(axis=0)
    worth = ground.strength.mean(axis=0) if fold < 0 else ground.strength[fold]
    out = []
    for question, vectors, place in zip(asked.questions, asked.vectors, asked.places, strict=True):
        rows = vectors - vectors.mean(axis=0)
        shares, like = _others(alike, question, place)
        before = rows @ (liked - own.vectors[place] if place >= 0 else liked)
        columns = [
            shares, _worth(ground, worth, question), like, 4.0 * (rows @ text)[:, 0],
            before / (FEW + len(own) - (place >= 0)), np.linspace(-1.0, 1.0, len(rows)),
            np.log([1.0 + len(option) for option in question.texts]), _groups(ground, alike.crowd, question),
            *(rows @ ground.tastes).T,
        ]  # fmt: skip
        out.append(np.stack(columns, axis=1))
    return out


def _others(alike: Likeness, question: Question, place: int) -> tuple[Doubles, Doubles]:
    """Return the others' log shares, and how much those who are like the person move them."""
    known, count = alike.crowd.known_shares(question), len(question.texts)
    weight = WEIGHT if known is None else KNOWN
    prior = weight * (np.full(count, 1.0 / count) if known is None else known)
    plain, like = alike.counts(question, place)
    shares = np.log((plain + prior) / (plain.sum() + weight))
    return shares, np.log((like + prior) / (like.sum() + weight)) - shares


def _worth(ground: Ground, worth: Doubles, question: Question) -> Doubles:
    if not question.items or not len(ground.things):
        return np.zeros(len(question.texts))
    keys = np.array([key(item) for item in question.items], np.uint64)
    places = np.minimum(np.searchsorted(ground.things, keys), len(ground.things) - 1)
    return np.where(ground.things[places] == keys, worth[places], 0.0)


def _groups(ground: Ground, crowd: Crowd, question: Question) -> Doubles:
    contrasts = group_contrasts(crowd, question)
    return np.zeros(len(question.texts)) if contrasts is None else contrasts @ ground.groups


def group_contrasts(crowd: Crowd, question: Question) -> Doubles | None:
    """Return how groups are known to differ from everybody ``[options, groups]`` [log shares]."""
    everybody = crowd.known_shares(question)
    if everybody is None or not crowd.groups:
        return None
    groups = (crowd.known_shares(question, group) for group in crowd.groups)
    return np.stack([np.log(everybody if one is None else one) - np.log(everybody) for one in groups], axis=1)


# --- options that are labels ------------------------------------------------------------------------------------------


def _labels(ground: Ground, own: Own, asked: Asked, alike: Likeness, text: Doubles) -> list[Doubles]:
    base, count = np.log(ground.base), len(ground.labels)
    values = np.zeros(count) if ground.values is None else ground.values
    vectors = np.stack(asked.vectors) if len(asked.vectors) else np.zeros((0, len(text)))
    places = np.asarray(asked.places, np.int64)
    read = np.log(np.clip(ground.base + vectors @ text, 0.01, 1.0)) - base
    often = _share(ground, own, places)
    before = _near(ground, own, vectors, places, often)
    # in an order it is the weight of the value, which a posterior learns better from few choices
    usual = np.log(often) - base if ground.values is None else np.zeros_like(often)
    taste = vectors @ ground.tastes
    mixing = _mixing(count) if ground.values is not None and count > 2 else np.eye(count)
    out = []
    for row, (question, place) in enumerate(zip(asked.questions, asked.places, strict=True)):
        plain, weighed = alike.counts(question, place)
        shares, like = (
            np.log((counts @ mixing + DOUBT * ground.base) / (counts.sum() + DOUBT)) - base
            for counts in (plain, weighed)
        )
        mean = (plain @ values + DOUBT * (ground.base @ values)) / (plain.sum() + DOUBT) - ground.base @ values
        columns = [
            base, shares, like - shares, read[row], before[row], usual[row], values, values**2, mean * values,
            *(taste[row][:, None] * values),
        ]  # fmt: skip
        out.append(np.stack(columns, axis=1))
    return out


def _taken(ground: Ground, own: Own) -> Doubles:
    """Return which label each own choice was, ``[n, labels]``."""
    return np.eye(len(ground.labels))[[ground.labels.index(name) for name in own.taken]].reshape(-1, len(ground.labels))


def _share(ground: Ground, own: Own, places: Places) -> Doubles:
    """Return how often the person chose each label, everybody's shares counting along, ``[questions, labels]``."""
    taken = _taken(ground, own)
    counts = np.tile(taken.sum(axis=0), (len(places), 1))
    known = np.flatnonzero(places >= 0)
    counts[known] -= taken[places[known]]
    return np.asarray((counts + FEW * ground.base) / (counts.sum(axis=1, keepdims=True) + FEW), np.float64)


def _near(ground: Ground, own: Own, vectors: Doubles, places: Places, often: Doubles) -> Doubles:
    """Return what the person's choices at like prompts say beyond how often they choose each label anyway."""
    if not len(own):
        return np.zeros((len(vectors), len(ground.labels)))
    weight = np.exp(SHARPNESS * (vectors @ own.vectors.T - 1.0))
    known = np.flatnonzero(places >= 0)
    weight[known, places[known]] = 0.0
    shares = weight @ _taken(ground, own) / np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)
    count = len(own) - (places >= 0)[:, None]
    kept = KEPT * (count / (count + MANY)) ** 2
    return np.asarray(np.log((kept * shares + DOUBT * often) / (kept + DOUBT)) - np.log(often), np.float64)


def _mixing(count: int) -> Doubles:
    steps = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    mixing = np.exp(-SPREAD * steps)
    return np.asarray(mixing / mixing.sum(axis=1, keepdims=True), np.float64)
