"""Preference: what a person chooses, learnt from what they chose before and from everybody's choices.

The reward of an option is ``w_u . x``: a few features, weighed per person. Some features are shared directions of the
text's vector, which is LoRe's form (arXiv:2504.14439); others say what the others chose, how much those who are like
the person, and what the person chose at like questions. The weights are Bayesian: everybody's pooled model (Bradley
and Terry 1952, with more options McFadden 1974) is the prior's mean, how far people are from it is learnt, and each
person's posterior is Laplace's, under 100 bytes. Somebody with few choices is judged as everybody is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from idiolect.alignment.shared.comparisons import Comparison, comparisons
from idiolect.alignment.shared.crowd import Crowd, key
from idiolect.alignment.shared.features import FOLDS
from idiolect.alignment.shared.judging import Judge, Judged, Kept, Shared, keep, kind_of, question_of, reader
from idiolect.alignment.shared.learning import Kind, learn
from idiolect.alignment.shared.replaying import over_drafts
from idiolect.errors import ConfigError
from idiolect.registry import method, settings_of
from idiolect.types import EVERYONE, Artifact, Call, Choose, Context, Used, User

NAME = "preference"
OWN = "choices"


@method(NAME, level="objective", paper="arXiv:2504.14439 (own Bayesian form)", needs=("choose",), together=True)
@dataclass(frozen=True)
class Preference:
    """Choose among options or drafts as the person would."""

    n: int = 4
    """So many drafts are drawn where the call gives no options."""
    newest: int = 200
    """So many of each person's newest choices are read."""
    replays: int = 0
    """So many of each person's latest texts count as chosen over what the model writes in their place."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Choose among the call's options; without any, among drafts.

        Nothing where nobody's choices of the kind were learnt. Raises :class:`ConfigError` where another method
        chooses already.
        """
        judge = self.judge_of(call, user, ctx) if user.count else None
        if judge is None:
            return call
        if call.choose is not None:
            raise ConfigError(f"{NAME!r} and a method before it both choose; leave one of them out")
        given = tuple(option.label for option in call.options)
        found = (self._shared(user, ctx), self._own(user, ctx))
        used = (Used("artifact", artifact.id, NAME, NAME) for artifact in found if artifact is not None)
        return replace(call, choose=Choose(0 if given else self.n, judge, given=given), used=(*call.used, *used))

    def judge(self, call: Call, user: User, ctx: Context) -> Judged | None:
        """Return how likely the person is to choose each of the call's options; ``None`` where nothing was learnt."""
        judge = self.judge_of(call, user, ctx) if call.options else None
        return None if judge is None else judge.judged([option.label for option in call.options])

    def judge_of(self, call: Call, user: User, ctx: Context) -> Judge | None:
        """Return what judges the call's options, or drafts, for the person."""
        artifact = self._shared(user, ctx)
        if artifact is None or artifact.body is None or ctx.embedder is None:
            return None
        shared = Shared.read(artifact.body)
        question = question_of(call)
        kind = shared.kind(question.texts)
        if kind is None:
            return None
        own = self._own(user, ctx)
        kept = Kept.none(ctx.embedder.dim) if own is None else Kept.read(own, shared, kind)
        return Judge(ctx.embedder, shared, kind, kept, question, *_place(user.id, artifact))

    def _shared(self, user: User, ctx: Context) -> Artifact | None:
        fingerprint = "" if ctx.embedder is None else ctx.embedder.fingerprint
        mine = (a for a in user.artifacts if a.method == NAME and a.user_id == EVERYONE)
        return next((a for a in mine if a.settings == self._learnt and a.base_model == fingerprint), None)

    def _own(self, user: User, ctx: Context) -> Artifact | None:
        shared = self._shared(user, ctx)
        mine = (a for a in user.artifacts if a.method == NAME and a.user_id == user.id and a.kind == OWN)
        return next((a for a in mine if shared is not None and Kept.fits(a, shared)), None)

    @property
    def _learnt(self) -> dict[str, Any]:
        return {name: value for name, value in settings_of(self).items() if name != "n"}

    # -- learning ----------------------------------------------------------------------------------------------

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Learn what people weigh from everybody's choices, then what each of them does."""
        labels = () if ctx.template is None else ctx.template.options
        everybody = sorted(users, key=lambda user: user.id)
        chosen = [self._comparisons(user, labels, ctx) for user in everybody]
        taught = [(user, own) for user, own in zip(everybody, chosen, strict=True) if own]
        if not taught or ctx.embedder is None:
            return
        crowd = Crowd.of([own for _, own in taught])
        kinds = self._kinds(taught, crowd, ctx)
        made = Artifact.new(
            EVERYONE, NAME, method=NAME, settings=self._learnt, payload=b"", record_ids=(),
            time=max(one.record.time for _, own in taught for one in own), base_model=ctx.embedder.fingerprint,
            people=[user.id for user, _ in taught], body=Shared(crowd, kinds, labels).body(),
        )  # fmt: skip
        yield made
        yield from self._placed(taught, made, ctx)

    def _kinds(
        self, taught: Sequence[tuple[User, list[Comparison]]], crowd: Crowd, ctx: Context
    ) -> Mapping[tuple[str, ...], Kind]:
        """Learn each kind of question that anybody answered: texts, and every list of labels."""
        assert ctx.embedder is not None
        folds = [key(user.id) % FOLDS for user, _ in taught]
        found = dict[tuple[str, ...], Kind]()
        for labels in sorted({kind_of(one) for _, own in taught for one in own}):
            people = [[one for one in own if kind_of(one) == labels] for _, own in taught]
            read = reader(ctx.embedder, [one.question for own in people for one in own], labels, ctx.check)
            found[labels] = learn(people, folds, crowd, read, labels)
        return found

    def place(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Yield what each person weighs under what was learnt from everybody already; milliseconds each."""
        for user in users:
            shared = self._shared(user, ctx)
            if shared is None or shared.body is None:
                continue
            own = self._comparisons(user, Shared.read(shared.body).labels, ctx)
            if own:
                yield from self._placed([(user, own)], shared, ctx)

    def _placed(
        self, taught: Sequence[tuple[User, list[Comparison]]], shared: Artifact, ctx: Context
    ) -> Iterator[Artifact]:
        assert ctx.embedder is not None
        assert shared.body is not None
        read = Shared.read(shared.body)
        for user, own in taught:
            if ctx.check is not None:
                ctx.check()
            payload, body = keep(read, shared.id, own, ctx.embedder, *_place(user.id, shared))
            yield Artifact.new(
                user.id, OWN, method=NAME, settings=self._learnt, payload=payload,
                record_ids=dict.fromkeys(one.record.id for one in own),
                time=max(shared.time, *(one.record.time for one in own)), base_model=shared.base_model,
                people={*shared.people} - {user.id}, body=body,
            )  # fmt: skip

    def stale(self, user: User) -> bool:
        """Whether the person has chosen something since, or was not placed yet."""
        mine = [a for a in user.artifacts if a.method == NAME and a.settings == self._learnt]
        shared = next((a for a in mine if a.user_id == EVERYONE and a.body is not None), None)
        if shared is None or shared.body is None:
            return False
        own = next((a for a in mine if a.user_id == user.id and Kept.fits(a, shared)), None)
        labels = Shared.read(shared.body).labels
        if own is None:
            return bool(comparisons(user.history, labels))
        seen = {*own.record_ids}
        return any(one.record.id not in seen for one in comparisons(user.since(own.time), labels))

    def _comparisons(self, user: User, labels: Sequence[str], ctx: Context) -> list[Comparison]:
        chosen = comparisons(user.history, labels)[-self.newest :]
        return [*over_drafts(user, ctx, self.replays), *chosen]


def _place(user_id: str, shared: Artifact) -> tuple[int, int]:
    """Return a person's place in the crowd and their fold, -1 each where they did not teach."""
    if user_id not in shared.people:
        return -1, -1
    return shared.people.index(user_id), key(user_id) % FOLDS
