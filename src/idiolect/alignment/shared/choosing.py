"""What all methods share that learn from everybody's comparisons, place each person, and choose for them.

One artifact of everyone holds what was learnt; one of each person says what they get of it. Somebody without choices
has none and is judged as everybody is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from idiolect.alignment.shared.comparisons import Comparison, comparisons
from idiolect.alignment.shared.judging import Kept, Labels
from idiolect.alignment.shared.replaying import over_drafts
from idiolect.errors import ConfigError
from idiolect.registry import settings_of
from idiolect.types import EVERYONE, Artifact, Body, Call, Choose, Context, Used, User

OWN = "choices"
Taught = Sequence[tuple[User, list[Comparison]]]
"""People with their comparisons, in the order of their ids; everybody has some."""
Score = Callable[[Sequence[str]], Sequence[float]]


@dataclass(frozen=True)
class Chooser:
    """A method that chooses among options or drafts; a subclass says what is learnt, kept and how it judges."""

    n: int = 4
    """So many drafts are drawn where the call gives no options."""
    newest: int = 200
    """So many of each person's newest choices are read."""
    replays: int = 0
    """So many of each person's latest texts count as chosen over what the model writes in their place."""

    name: ClassVar[str]

    def learn(self, taught: Taught, labels: Labels, ctx: Context) -> Body | None:
        """Return what was learnt from everybody, ``None`` where nothing can be; ``labels`` are the template's."""
        raise NotImplementedError

    def keep(self, user_id: str, own: Sequence[Comparison], shared: Artifact, ctx: Context) -> tuple[bytes, Body]:
        """Return payload and body of one person's artifact; the payload begins with the mark of ``shared``."""
        raise NotImplementedError

    def judge_of(self, call: Call, user: User, ctx: Context) -> Score | None:
        """Return what judges the call's options, or drafts, for the person; ``None`` where nothing was learnt."""
        raise NotImplementedError

    @staticmethod
    def labels_of(body: Body) -> Labels:
        """Return the labels that :meth:`learn` was told."""
        raise NotImplementedError

    # -- choosing ----------------------------------------------------------------------------------------------

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Choose among the call's options; without any, among drafts.

        Nothing where nobody's choices of the kind were learnt. Raises :class:`ConfigError` where another method
        chooses already.
        """
        judge = self.judge_of(call, user, ctx) if user.count else None
        if judge is None:
            return call
        if call.choose is not None:
            raise ConfigError(f"{self.name!r} and a method before it both choose; leave one of them out")
        given = tuple(option.label for option in call.options)
        shared = self.shared(user, ctx)
        found = (shared, None if shared is None else self.own(user, shared))
        used = (Used("artifact", artifact.id, self.name, self.name) for artifact in found if artifact is not None)
        return replace(call, choose=Choose(0 if given else self.n, judge, given=given), used=(*call.used, *used))

    def shared(self, user: User, ctx: Context) -> Artifact | None:
        """Return what was learnt from everybody with these settings and this embedder."""
        fingerprint = "" if ctx.embedder is None else ctx.embedder.fingerprint
        mine = (a for a in user.artifacts if a.method == self.name and a.user_id == EVERYONE and a.body is not None)
        return next((a for a in mine if a.settings == self.learnt and a.base_model == fingerprint), None)

    def own(self, user: User, shared: Artifact) -> Artifact | None:
        """Return what the person has over what was learnt from everybody."""
        mine = (a for a in user.artifacts if a.method == self.name and a.user_id == user.id and a.kind == OWN)
        return next((a for a in mine if Kept.fits(a, shared)), None)

    @property
    def learnt(self) -> dict[str, Any]:
        """The settings that what is learnt depends on."""
        return {name: value for name, value in settings_of(self).items() if name != "n"}

    # -- learning ----------------------------------------------------------------------------------------------

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Learn from everybody's choices, then place each of them; :class:`ConfigError` without an embedder."""
        labels = () if ctx.template is None else tuple(ctx.template.options)
        everybody = sorted(users, key=lambda user: user.id)
        chosen = [self._comparisons(user, labels, ctx) for user in everybody]
        taught = [(user, own) for user, own in zip(everybody, chosen, strict=True) if own]
        if not taught:
            return
        if ctx.embedder is None:
            raise ConfigError(f'{self.name!r} reads texts by their vectors; set embedder = "minilm" or "static"')
        body = self.learn(taught, labels, ctx)
        if body is None:
            return
        made = Artifact.new(
            EVERYONE, self.name, method=self.name, settings=self.learnt, payload=b"", record_ids=(),
            time=max(one.record.time for _, own in taught for one in own), base_model=ctx.embedder.fingerprint,
            people=[user.id for user, _ in taught], body=body,
        )  # fmt: skip
        yield made
        yield from self._placed(taught, made, ctx)

    def place(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Yield what each person gets of what was learnt from everybody already; milliseconds each."""
        for user in users:
            shared = self.shared(user, ctx)
            if shared is None or shared.body is None:
                continue
            own = self._comparisons(user, self.labels_of(shared.body), ctx)
            if own:
                yield from self._placed([(user, own)], shared, ctx)

    def _placed(self, taught: Taught, shared: Artifact, ctx: Context) -> Iterator[Artifact]:
        for user, own in taught:
            if ctx.check is not None:
                ctx.check()
            payload, body = self.keep(user.id, own, shared, ctx)
            yield Artifact.new(
                user.id, OWN, method=self.name, settings=self.learnt, payload=payload,
                record_ids=dict.fromkeys(one.record.id for one in own),
                time=max(shared.time, *(one.record.time for one in own)), base_model=shared.base_model,
                people={*shared.people} - {user.id}, body=body,
            )  # fmt: skip

    def stale(self, user: User) -> bool:
        """Whether the person has chosen something since, or was not placed yet."""
        mine = [a for a in user.artifacts if a.method == self.name and a.settings == self.learnt]
        shared = next((a for a in mine if a.user_id == EVERYONE and a.body is not None), None)
        if shared is None or shared.body is None:
            return False
        own = self.own(user, shared)
        labels = self.labels_of(shared.body)
        if own is None:
            return bool(comparisons(user.history, labels))
        seen = {*own.record_ids}
        return any(one.record.id not in seen for one in comparisons(user.since(own.time), labels))

    def _comparisons(self, user: User, labels: Sequence[str], ctx: Context) -> list[Comparison]:
        chosen = comparisons(user.history, labels)[-self.newest :]
        return [*over_drafts(user, ctx, self.replays), *chosen]
