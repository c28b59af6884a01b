"""Preference: what a person chooses, learnt from what they chose before and from everybody's choices.

The reward of an option is ``w_u . x``: a few features, weighed per person. Some features are shared directions of the
text's vector, which is LoRe's form (arXiv:2504.14439); others say what the others chose, how much those who are like
the person, and what the person chose at like questions. The weights are Bayesian: everybody's pooled model (Bradley
and Terry 1952, with more options McFadden 1974) is the prior's mean, how far people are from it is learnt, and each
person's posterior is Laplace's, under 100 bytes. Somebody with few choices is judged as everybody is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from idiolect.alignment.shared.choosing import Chooser, Taught
from idiolect.alignment.shared.comparisons import Comparison
from idiolect.alignment.shared.crowd import Crowd, key
from idiolect.alignment.shared.features import FOLDS
from idiolect.alignment.shared.judging import Judge, Judged, Kept, Labels, Shared, keep, kind_of, question_of, reader
from idiolect.alignment.shared.learning import Kind, learn
from idiolect.registry import method
from idiolect.types import Artifact, Body, Call, Context, User

NAME = "preference"


@method(NAME, level="objective", paper="arXiv:2504.14439 (own Bayesian form)", needs=("choose",), together=True)
@dataclass(frozen=True)
class Preference(Chooser):
    """Choose among options or drafts as the person would."""

    name: ClassVar[str] = NAME

    def judge(self, call: Call, user: User, ctx: Context) -> Judged | None:
        """Return how likely the person is to choose each of the call's options; ``None`` where nothing was learnt."""
        judge = self.judge_of(call, user, ctx) if call.options else None
        return None if judge is None else judge.judged([option.label for option in call.options])

    def judge_of(self, call: Call, user: User, ctx: Context) -> Judge | None:
        """Return what judges the call's options, or drafts, for the person."""
        artifact = self.shared(user, ctx)
        if artifact is None or artifact.body is None or ctx.embedder is None:
            return None
        shared = Shared.read(artifact.body)
        question = question_of(call)
        kind = shared.kind(question.texts)
        if kind is None:
            return None
        own = self.own(user, artifact)
        kept = Kept.none(ctx.embedder.dim) if own is None else Kept.read(own, shared, kind)
        return Judge(ctx.embedder, shared, kind, kept, question, *_place(user.id, artifact))

    # -- learning ----------------------------------------------------------------------------------------------

    def learn(self, taught: Taught, labels: Labels, ctx: Context) -> Body:
        """Learn what people weigh from everybody's choices."""
        crowd = Crowd.of([own for _, own in taught], 1 if ctx.peers is None else ctx.peers.least)
        return Shared(crowd, self._kinds(taught, crowd, ctx), labels).body()

    def _kinds(self, taught: Taught, crowd: Crowd, ctx: Context) -> Mapping[Labels, Kind]:
        """Learn each kind of question that anybody answered: texts, and every list of labels."""
        assert ctx.embedder is not None
        folds = [key(user.id) % FOLDS for user, _ in taught]
        found = dict[Labels, Kind]()
        for labels in sorted({kind_of(one) for _, own in taught for one in own}):
            people = [[one for one in own if kind_of(one) == labels] for _, own in taught]
            read = reader(ctx.embedder, [one.question for own in people for one in own], labels, ctx.check)
            found[labels] = learn(people, folds, crowd, read, labels)
        return found

    def keep(self, user_id: str, own: Sequence[Comparison], shared: Artifact, ctx: Context) -> tuple[bytes, Body]:
        """Return what a person weighs, and their choices."""
        assert ctx.embedder is not None
        assert shared.body is not None
        return keep(Shared.read(shared.body), shared.id, own, ctx.embedder, *_place(user_id, shared))

    @staticmethod
    def labels_of(body: Body) -> Labels:
        """Return the labels of the questions at hand when it was learnt."""
        return Shared.read(body).labels


def _place(user_id: str, shared: Artifact) -> tuple[int, int]:
    """Return a person's place in the crowd and their fold, -1 each where they did not teach."""
    if user_id not in shared.people:
        return -1, -1
    return shared.people.index(user_id), key(user_id) % FOLDS
