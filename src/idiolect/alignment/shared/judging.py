"""What was learnt of choices as it is kept, and how it judges options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from idiolect.alignment.shared.comparisons import Comparison, Question
from idiolect.alignment.shared.crowd import Crowd, Own
from idiolect.alignment.shared.features import Asked, describe
from idiolect.alignment.shared.learning import Kind, own_of
from idiolect.alignment.shared.packing import Array, pack, unpack
from idiolect.alignment.shared.posterior import Doubles, draw_shares, stack
from idiolect.equality import Equal
from idiolect.types import Artifact, Body, Call, Embedder

_BATCH = 64
_READ = 8
"""So many populations are kept in memory."""
BLANK = -1e9
"""The score of a draft without a text."""
Labels = tuple[str, ...]


def kind_of(one: Comparison) -> Labels:
    """Return the kind of question that a comparison answers: its labels, none for texts."""
    return one.texts if one.labels else ()


def question_of(call: Call) -> Question:
    """Return what a call asks to choose from; without options only the prompt is known."""
    items = tuple(option.item for option in call.options)
    texts = tuple(option.text or option.label for option in call.options)
    return Question(call.query, texts, items if all(items) else (), call.item)


def reader(
    embedder: Embedder, questions: Sequence[Question], labels: Labels, check: Callable[[], None] | None = None
) -> Callable[[Question], Doubles]:
    """Return what gives each of these questions its vectors; every text is embedded once."""
    needed = list(dict.fromkeys(text for question in questions for text in _read(question, labels)))
    vectors = np.zeros((len(needed), embedder.dim))
    for start in range(0, len(needed), _BATCH):
        if check is not None:
            check()
        vectors[start : start + _BATCH] = embedder.embed(needed[start : start + _BATCH])
    place = {text: number for number, text in enumerate(needed)}

    def vectors_of(question: Question) -> Doubles:
        found = vectors[[place[text] for text in _read(question, labels)]]
        return found[0] if labels else found

    return vectors_of


def _read(question: Question, labels: Labels) -> list[str]:
    """Return the texts whose vectors describe a question; an option stands before its prompt, which may be long."""
    return [question.prompt] if labels else [f"{text}\n{question.prompt}" for text in question.texts]


@dataclass(frozen=True, eq=False)
class Shared:
    """What was learnt from everybody: the crowd, and of each kind of question what serves all.

    ``labels`` are those of the questions at hand when it was learnt.
    """

    crowd: Crowd
    kinds: Mapping[Labels, Kind]
    labels: Labels = ()

    def kind(self, texts: Sequence[str]) -> Kind | None:
        """Return the kind of question that has these options."""
        return self.kinds.get(tuple(texts)) or self.kinds.get(())

    def body(self) -> Body:
        """Return it as bytes, the same for the same content."""
        crowd = self.crowd
        arrays: dict[str, Array] = {"item": crowd.item, "taken": crowd.taken, "person": crowd.person.astype(np.int32)}
        for number, kind in enumerate(self.kinds.values()):
            arrays |= kind.arrays(f"{number}.")
        head = {
            "people": crowd.people, "known": crowd.known, "least": crowd.least,
            "kinds": [list(labels) for labels in self.kinds], "labels": list(self.labels),
        }  # fmt: skip
        return Body.of(pack(head, arrays))

    @staticmethod
    def read(body: Body) -> Shared:
        """Return what :meth:`body` wrote; the last few are kept in memory."""
        return _shared(body)


@lru_cache(maxsize=_READ)
def _shared(body: Body) -> Shared:
    head, arrays = unpack(body.read())
    crowd = Crowd(
        arrays["item"], arrays["taken"], arrays["person"].astype(np.int64), head["people"], head["known"],
        head["least"],
    )  # fmt: skip
    kinds = {tuple(labels): Kind.read(labels, arrays, f"{number}.") for number, labels in enumerate(head["kinds"])}
    return Shared(crowd, kinds, tuple(head["labels"]))


@dataclass(frozen=True, eq=False)
class Kept(Equal):
    """One person's own choices of a kind, and what they weigh: ``mean [free]``, ``covariance [free, free]``."""

    items: tuple[str, ...]
    taken: tuple[str, ...]
    vectors: Doubles
    mean: Doubles | None
    covariance: Doubles | None

    @staticmethod
    def none(dim: int = 0) -> Kept:
        """Return that nothing is known of a person."""
        return Kept((), (), np.zeros((0, dim)), None, None)

    @staticmethod
    def fits(own: Artifact, shared: Artifact) -> bool:
        """Whether a person's weights are those over what was learnt from everybody there."""
        return own.payload[: len(mark(shared.id))] == mark(shared.id)

    @staticmethod
    def read(own: Artifact, shared: Shared, kind: Kind) -> Kept:
        """Return what :func:`keep` wrote of one kind of question."""
        dim = kind.ground.text.shape[1]
        assert own.body is not None
        number = list(shared.kinds).index(kind.ground.labels)
        head, arrays = unpack(own.body.read())
        told = head["kinds"].get(str(number))
        if told is None:
            return Kept.none(dim)
        at = len(mark("")) + 1
        for before in sorted(head["kinds"], key=int):  # as they were written
            size = _size(len(shared.kinds[list(shared.kinds)[int(before)]].free))
            if before == str(number):
                mean, covariance = _unpacked(own.payload[at : at + size], len(kind.free))
            at += size
        return Kept(
            tuple(told["items"]), tuple(told["taken"]), arrays[str(number)].astype(np.float64), mean, covariance
        )  # fmt: skip


def keep(
    shared: Shared, shared_id: str, comparisons: Sequence[Comparison], embedder: Embedder, but: int, fold: int
) -> tuple[bytes, Body]:
    """Return what a person weighs, as a payload of under 100 bytes for one kind of question, and their choices."""
    payload, told, arrays = b"", dict[str, object](), dict[str, Array]()
    for number, (labels, kind) in enumerate(shared.kinds.items()):
        mine = [one for one in comparisons if kind_of(one) == labels]
        if not mine:
            continue
        questions = [one.question for one in mine]
        read = reader(embedder, questions, labels)
        vectors = [read(question) for question in questions]
        own = own_of(mine, vectors, embedder.dim)
        x = describe(kind.ground, shared.crowd, own, Asked(questions, vectors, range(len(mine))), but, fold)
        choices = stack([kind.scaled(rows) for rows in x], [one.chosen for one in mine], [0] * len(mine), 1)
        mean, covariance = kind.posteriors(choices)
        payload += _packed(mean[0], covariance[0])
        named = [name if labels or one.item else "" for name, one in zip(own.taken, mine, strict=True)]
        told[str(number)] = {"items": list(own.items), "taken": named}
        arrays[str(number)] = own.vectors.astype(np.float16)
    return mark(shared_id) + bytes([len(told)]) + payload, Body.of(pack({"kinds": told}, arrays))


def mark(shared_id: str) -> bytes:
    """Return the first bytes of a person's payload, which name what was learnt from everybody beneath it."""
    return bytes.fromhex(shared_id)[:8] if shared_id else bytes(8)


def _size(count: int) -> int:
    return 2 * (count + count * (count + 1) // 2)


def _packed(mean: Doubles, covariance: Doubles) -> bytes:
    """Write a mean and the Cholesky factor of a covariance as float16: what is read back is a covariance again."""
    factor = np.linalg.cholesky(covariance)
    return np.concatenate([mean, factor[np.tril_indices(len(mean))]]).astype("<f2").tobytes()


def _unpacked(data: bytes, count: int) -> tuple[Doubles, Doubles]:
    flat = np.frombuffer(data, "<f2").astype(np.float64)
    factor = np.zeros((count, count))
    factor[np.tril_indices(count)] = flat[count:]
    return flat[:count], factor @ factor.T


@dataclass(frozen=True, slots=True)
class Judged:
    """How a person judges options: their features ``x [options, features]`` under weights of this ``mean`` and
    ``covariance``; ``chances [options]`` that each is chosen, and the ``spread`` of these over what is not known.

    Of somebody of whom nothing is known the chances are everybody's; covariance and spread are those of people.
    """

    x: Doubles
    mean: Doubles
    covariance: Doubles
    chances: Doubles
    spread: Doubles


@dataclass(frozen=True, eq=False)
class Judge(Equal):
    """Scores options or drafts by the log probability that one person chooses them.

    ``but`` is the person's place in the crowd and ``fold`` theirs, -1 each for somebody who did not teach.
    """

    embedder: Embedder = field(compare=False, repr=False)
    shared: Shared
    kind: Kind
    kept: Kept
    question: Question
    but: int
    fold: int

    def __call__(self, drafts: Sequence[str]) -> list[float]:
        """Return one log probability each; a draft without a text is the last choice."""
        chances = np.log(np.maximum(self.judged(drafts).chances, 1e-12))
        return [float(one) if draft.strip() else BLANK for draft, one in zip(drafts, chances, strict=True)]

    def judged(self, drafts: Sequence[str]) -> Judged:
        """Judge the call's options, whatever they are called; where it has none, these drafts."""
        asked = self.question
        question = asked if asked.texts else Question(asked.prompt, tuple(drafts), (), asked.item)
        labels = self.kind.ground.labels
        vectors = reader(self.embedder, [question], labels)(question)
        own = Own(self.kept.items, self.kept.taken, self.kept.vectors)
        x = describe(self.kind.ground, self.shared.crowd, own, Asked([question], [vectors], [-1]), self.but, self.fold)
        rows = self.kind.scaled(x[0])
        mean, covariance = self._weights()
        drawn = draw_shares(rows, mean, covariance)
        if self.kept.mean is not None and self.kept.covariance is not None:
            return Judged(rows, mean, covariance, drawn.mean(axis=0), drawn.std(axis=0))
        prior = self.kind.spread(self.kind.mean[self.kind.free], self.kind.covariance)[1]
        return Judged(rows, mean, prior, drawn.mean(axis=0), draw_shares(rows, mean, prior).std(axis=0))

    def _weights(self) -> tuple[Doubles, Doubles]:
        """Return what the person weighs; what nothing is known of is everybody's, without a doubt."""
        kind = self.kind
        if self.kept.mean is None or self.kept.covariance is None:
            return kind.mean, np.zeros((len(kind.mean), len(kind.mean)))
        return kind.spread(self.kept.mean, self.kept.covariance)
