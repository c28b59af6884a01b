"""Published reward models over frozen vectors as methods: one protocol for the models, one class for choosing by them.

All see an option as its vector less the mean of the question's options, so that only what tells options apart counts.
Where options are labels in an order, that of a label is its value (-1 to 1) times the prompt's vector, and behind it
which label it is: without that a reward would always be highest at one end of the scale. Labels without an order give
no vector, and questions of that kind are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np

from idiolect.alignment.shared.choosing import Chooser, Taught
from idiolect.alignment.shared.comparisons import Comparison, Question
from idiolect.alignment.shared.features import values_of
from idiolect.alignment.shared.judging import BLANK, Labels, kind_of, mark, question_of, reader
from idiolect.alignment.shared.packing import Array, pack, unpack
from idiolect.alignment.shared.posterior import Doubles
from idiolect.equality import Equal
from idiolect.prompting.shared.distillation import softmax
from idiolect.types import Artifact, Body, Call, Context, Embedder, User

Arrays = Mapping[str, Array]
Check = Callable[[], None] | None
_READ = 8


@dataclass(frozen=True, eq=False)
class Taken:
    """One person's choices, oldest first: ``options`` ``[options, dim]`` of each, and which of them was ``chosen``."""

    options: Sequence[Doubles]
    chosen: Sequence[int]

    def __len__(self) -> int:
        return len(self.chosen)

    def differences(self) -> Doubles:
        """Return what was chosen less each of the others, ``[pairs, dim]``."""
        found = [
            rows[best] - np.delete(rows, best, axis=0) for rows, best in zip(self.options, self.chosen, strict=True)
        ]
        return np.concatenate(found) if found else np.zeros((0, 0))


class Reward(Protocol):
    """A reward model that was learnt from many people."""

    def known(self, taken: Taken) -> Array:
        """Return what is kept of a person with these choices (one at least)."""

    def rewards(self, options: Doubles, known: Array | None) -> Doubles:
        """Return the reward ``[options]`` of options ``[options, dim]``; ``known`` is ``None`` for a stranger."""

    def arrays(self) -> Arrays:
        """Return the model as arrays."""


def ordered(labels: Labels) -> bool:
    """Whether options of this kind have vectors: texts do, labels where they are in an order."""
    return not labels or values_of(labels) is not None


def options_of(vectors: Doubles, labels: Labels) -> Doubles:
    """Return options ``[options, dim]`` from what :func:`reader` gives of a question."""
    values = values_of(labels) if labels else None
    rows = vectors
    if values is not None:
        rows = np.concatenate([values[:, None] * vectors, np.eye(len(values))], axis=1)
    return np.asarray(rows - rows.mean(axis=0), np.float64)


def taken_of(own: Sequence[Comparison], read: Callable[[Question], Doubles], labels: Labels) -> Taken:
    """Return one person's choices of one kind."""
    return Taken([options_of(read(one.question), labels) for one in own], [one.chosen for one in own])


@dataclass(frozen=True)
class RewardChooser(Chooser):
    """Choose by a reward model; a subclass says how it is trained and read."""

    def trained(self, people: Sequence[Taken], check: Check) -> Reward:
        """Learn a model from people's choices, each person having one at least."""
        raise NotImplementedError

    @staticmethod
    def restored(arrays: Arrays) -> Reward:
        """Return the model that these arrays are of."""
        raise NotImplementedError

    def learn(self, taught: Taught, labels: Labels, ctx: Context) -> Body | None:
        """Learn a model for each kind of question that anybody answered."""
        assert ctx.embedder is not None
        kinds, arrays = list[Labels](), dict[str, Array]()
        for kind in sorted({kind_of(one) for _, own in taught for one in own}):
            if not ordered(kind):
                continue
            people = [[one for one in own if kind_of(one) == kind] for _, own in taught]
            read = reader(ctx.embedder, [one.question for own in people for one in own], kind, ctx.check)
            model = self.trained([taken_of(own, read, kind) for own in people if own], ctx.check)
            arrays |= {f"{len(kinds)}.{name}": array for name, array in model.arrays().items()}
            kinds.append(kind)
        head = {"kinds": [list(kind) for kind in kinds], "labels": list(labels)}
        return Body.of(pack(head, arrays)) if kinds else None

    def keep(self, user_id: str, own: Sequence[Comparison], shared: Artifact, ctx: Context) -> tuple[bytes, Body]:
        """Return what each model keeps of a person."""
        assert ctx.embedder is not None
        assert shared.body is not None
        found = dict[str, Array]()
        for number, (kind, model) in enumerate(_models(self.restored, shared.body).items()):
            mine = [one for one in own if kind_of(one) == kind]
            if mine:
                read = reader(ctx.embedder, [one.question for one in mine], kind)
                found[str(number)] = model.known(taken_of(mine, read, kind))
        return mark(shared.id), Body.of(pack({}, found))

    @staticmethod
    def labels_of(body: Body) -> Labels:
        """Return the labels of the questions at hand when it was learnt."""
        return tuple(unpack(body.read())[0]["labels"])

    def judge_of(self, call: Call, user: User, ctx: Context) -> RewardJudge | None:
        """Return what judges the call's options, or drafts, for the person."""
        artifact = self.shared(user, ctx)
        if artifact is None or artifact.body is None or ctx.embedder is None:
            return None
        question, models = question_of(call), _models(self.restored, artifact.body)
        kind = question.texts if question.texts in models else ()
        if kind not in models:
            return None
        own, number = self.own(user, artifact), list(models).index(kind)
        known = None if own is None or own.body is None else unpack(own.body.read())[1].get(str(number))
        return RewardJudge(ctx.embedder, models[kind], artifact.body, kind, known, question)


@lru_cache(maxsize=_READ)
def _models(restored: Callable[[Arrays], Reward], body: Body) -> Mapping[Labels, Reward]:
    head, arrays = unpack(body.read())
    found = dict[Labels, Reward]()
    for number, kind in enumerate(head["kinds"]):
        first = f"{number}."
        own = {name[len(first) :]: array for name, array in arrays.items() if name.startswith(first)}
        found[tuple(kind)] = restored(own)
    return found


@dataclass(frozen=True, eq=False)
class RewardJudge(Equal):
    """Scores options or drafts by the log probability that a reward model gives one person's choice of them."""

    embedder: Embedder = field(compare=False, repr=False)
    model: Reward = field(compare=False, repr=False)
    body: Body
    """What the model was read from; two judges with the same are equal."""
    labels: Labels
    known: Array | None
    question: Question

    def __call__(self, drafts: Sequence[str]) -> list[float]:
        """Return one log probability each; a draft without a text is the last choice."""
        found = np.log(np.maximum(self.chances(drafts), 1e-12))
        return [float(one) if draft.strip() else BLANK for draft, one in zip(drafts, found, strict=True)]

    def chances(self, drafts: Sequence[str]) -> Doubles:
        """Return the probability of each of the call's options; where it has none, of these drafts."""
        asked = self.question
        question = asked if asked.texts else Question(asked.prompt, tuple(drafts), (), asked.item)
        vectors = reader(self.embedder, [question], self.labels)(question)
        return softmax(self.model.rewards(options_of(vectors, self.labels), self.known))
