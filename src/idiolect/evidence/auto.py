"""Auto: for each person the method that foresees their own latest records best, or none.

Each candidate is measured on what the person really did: their latest records are held out, asked again, and foreseen
from the earlier ones with the candidate and without. Few measurements are weighed against those of all people who
share (:mod:`.shrinkage`); where neither says that a candidate helps, the person is served without personalization.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np

from idiolect import registry
from idiolect.errors import InputError, MalformedAnswer, UnsupportedCall
from idiolect.evidence.measuring import served
from idiolect.evidence.shrinkage import Measured, Prior, choose, nothing_known, pool, posterior
from idiolect.evidence.verdict import Population, Verdict, population_of, verdict_of
from idiolect.evidence.weights import LEAST, RIVAL, owns_weights, train, trained, with_rival
from idiolect.prompting.assembly import Named, fold, personalize
from idiolect.prompting.shared.known import Known
from idiolect.prompting.shared.replay import Replay, latest
from idiolect.registry import method
from idiolect.types import (
    EVERYONE,
    Artifact,
    Call,
    Context,
    Fits,
    Learnt,
    Observes,
    Turn,
    Used,
    User,
    text_of,
)

log = logging.getLogger("idiolect")
_REFUSED = (UnsupportedCall, MalformedAnswer, InputError)
"""What keeps one candidate from being measured and no other."""
_SIDE_BY_SIDE = 32
"""So many people are measured together, those weights are trained in one go."""


@dataclass(frozen=True)
class _Asked:
    # A person as they were before their latest records, and these as questions.
    user: User
    earlier: User
    replays: list[Replay]
    shared: tuple[Artifact, ...]

    @property
    def then(self) -> Known:
        return Known(self.earlier, self.shared)


@dataclass(frozen=True)
class _Tried:
    # What one person's past says of each candidate; the verdict in it is not judged yet.
    user: User
    found: Verdict
    record_ids: tuple[str, ...]
    time: float
    seconds: dict[str, float] = field(default_factory=dict)
    fresh: bool = True


@method("auto", level="input", paper="doi:10.1080/01621459.1975.10479864 (shrinkage); the gate is our own")
@dataclass(frozen=True)
class Auto:
    """Serve each person by the method that their own latest records speak for, or by none."""

    candidates: tuple[str, ...] = ("profile+memory+retrieval", "retrieval", "profile", "memory")
    """Methods as ``A+B`` or ``NAME:setting=value``; the first serves people of whom nothing is known yet."""
    hold_out: int = 8
    """So many of a person's latest records are asked again, never more than a third."""
    least: int = 4
    """With fewer of them a person is judged only together with people who share."""
    refresh: int = 30
    """Measure again once so many records have come since."""
    caution: float = 0.25
    """A candidate must gain by so many standard deviations of what is not known."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Apply the methods of the candidate that serves this person, and say on what grounds."""
        chosen, artifact, gain = self.verdict(user, ctx.model.fingerprint)
        planned = fold(call, user, registry.make_folded(chosen), ctx)
        if planned == call or artifact is None:
            return planned
        used = Used("artifact", artifact.id, "auto", "gate", gain, {chosen: gain})
        return replace(planned, used=(*planned.used, used))

    def verdict(self, user: User, model: str) -> tuple[str, Artifact | None, float]:
        """Return the candidate that serves a person, the artifact it rests on, and the expected gain."""
        own = verdict_of(user.artifacts, user.id, model)
        if own is not None and (own[1].chosen in self.candidates or own[1].chosen == "none"):
            artifact, found = own
            gain = 0.0 if found.chosen == "none" else found.mean[found.measured.index(found.chosen)]
            return found.chosen, artifact, gain
        known = population_of(user.artifacts, model)
        if known is not None and user.count:
            artifact, population = known
            names = [name for name in self.candidates if name in population.measured]
            prior = population.over(names)
            if prior is not None and names:
                mean, sd = posterior(None, replace(prior, between=0.0 * prior.between))
                best = choose(mean, sd, self.caution)
                return ("none", artifact, 0.0) if best < 0 else (names[best], artifact, float(mean[best]))
        return self.candidates[0], None, 0.0

    # -- what the candidates learn -----------------------------------------------------------------------------

    def stale(self, user: User) -> bool:
        """Whether what a candidate learns about a person should be learnt again."""
        return any(_is_stale(learning, user) for learning in self._learning())

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Let the candidates learn about each person; those that learn from many people at once are fitted apart.

        Weights of a person's own are trained by :meth:`prove`, for those alone whom they serve.
        """
        learning = [one for one in self._learning() if _able(one, ctx)]
        for user in users:
            for name, one in learning:
                if _is_stale((name, one), user) and isinstance(one, Fits):
                    yield from one.fit([user], ctx)

    def _dress(self, users: Sequence[User], served: Sequence[str], ctx: Context) -> Iterator[Artifact]:
        """Train the weights of those whom a candidate with weights serves, where they are stale; side by side."""
        waiting: dict[str, tuple[Named, list[User]]] = {}
        for user, candidate in zip(users, served, strict=True):
            for name, one in trained(candidate) if candidate != "none" else ():
                if _able((name, one), ctx) and _is_stale((name, one), user):
                    waiting.setdefault(repr(one), ((name, one), []))[1].append(user)
        for (_, one), people in waiting.values():
            if isinstance(one, Fits):
                yield from one.fit(people, ctx)

    def observe(self, turn: Turn, user: User, ctx: Context) -> Learnt:
        """Let every candidate learn from a turn, whichever served it: the next measurement may choose another."""
        observing = (one for _, one in self._methods() if isinstance(one, Observes))
        return reduce(Learnt.plus, (one.observe(turn, user, ctx) for one in observing), Learnt())

    def _methods(self) -> list[Named]:
        """Return each distinct method of the candidates once."""
        return registry.with_parts(one for candidate in self.candidates for one in registry.make_folded(candidate))

    def _learning(self) -> list[Named]:
        return [(name, one) for name, one in self._methods() if _fits_alone(name, one)]

    # -- measuring ---------------------------------------------------------------------------------------------

    def due(self, user: User, model: str) -> bool:
        """Whether a person has enough records and was not measured with this model since ``refresh`` more came."""
        own = verdict_of(user.artifacts, user.id, model)
        return user.count - (own[1].records if own else 0) >= (self.refresh if own else 3 * self.least)

    def prove(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Measure each person who is due, pool those who share, and yield what is known of people, then the verdicts.

        Costs ``(candidates + 1) * hold_out`` scored prompts a person. Each person's measurements are yielded as soon as
        they are there, so that a killed job goes on with the next person.
        """
        people, tried = list(users), list[_Tried]()
        before = population_of(people[0].artifacts, ctx.model.fingerprint) if people else None
        known, verdicts = None if before is None else before[1], dict[str, Artifact]()
        for start in range(0, len(people), _SIDE_BY_SIDE):
            part = people[start : start + _SIDE_BY_SIDE]
            for done, found in enumerate(self._try_all(part, known, ctx), start + 1):
                if found is not None:
                    tried.append(found)
                    if found.fresh and len(found.record_ids) >= self.least:
                        yield verdicts.setdefault(found.user.id, self._judge(found, known, ctx))
                if ctx.progress is not None:
                    ctx.progress(done, len(people))
        pooled = self._population(tried, ctx)
        if pooled is not None:
            yield pooled[0]
            verdicts |= {one.user.id: self._judge(one, pooled[1], ctx) for one in tried}
            yield from verdicts.values()
        chosen = [Verdict.read(verdicts[user.id]).chosen if user.id in verdicts else "none" for user in people]
        yield from self._dress(people, chosen, ctx)

    def _try_all(self, people: Sequence[User], known: Population | None, ctx: Context) -> Iterator[_Tried | None]:
        """Yield what is known of each person: kept measurements, or new ones; ``None`` for too little to say."""
        kept = {user.id: found for user in people if (found := self._kept(user, ctx)) is not None}
        asked = {user.id: one for user in people if user.id not in kept and (one := self._asked(user, ctx)) is not None}
        owning = [one for one in self.candidates if trained(one)]
        tempted = [one for one in asked.values() if self._worth(one.user, known)]
        able = all(_able(named, ctx) for one in owning for named in trained(one))
        weights = train(owning, [one.then for one in tempted], ctx) if tempted and owning and able else {}
        for user in people:
            if user.id in asked:
                yield self._try(asked[user.id], weights, known, ctx)
            else:
                yield kept.get(user.id)

    def _worth(self, user: User, known: Population | None) -> bool:
        """Whether weights of a person's own are tried: they have enough records, or people in general gain."""
        if user.count >= LEAST:
            return True
        owning = [] if known is None else [one for one in self.candidates if trained(one) and one in known.measured]
        if known is None or not owning or RIVAL not in known.measured:
            return False
        prior = known.over([*owning, RIVAL])
        assert prior is not None
        mean, sd = posterior(None, replace(prior, between=0.0 * prior.between))
        low = mean - self.caution * sd
        return bool(low[:-1].max() > max(0.0, float(mean[-1])))

    def _asked(self, user: User, ctx: Context) -> _Asked | None:
        """Hold out a person's latest records; ``None`` for too few to say anything, or to add to."""
        earlier, replays = latest(user, ctx.template, self.hold_out)
        shares = ctx.peers is not None and ctx.peers.shares(user)
        if len(replays) < (1 if shares else self.least):
            return None
        shared = tuple(a for a in user.artifacts if a.user_id == EVERYONE and a.kind != "verdict")
        return _Asked(user, earlier, replays, shared)

    def _kept(self, user: User, ctx: Context) -> _Tried | None:
        """Return a person's measurements where they were made with these settings and model and are not old."""
        own = verdict_of(user.artifacts, user.id, ctx.model.fingerprint)
        if own is None or self.due(user, ctx.model.fingerprint):
            return None
        artifact, found = own
        if artifact.settings != _plain(self):
            return None
        seconds = {name.removeprefix("seconds:"): value for name, value in artifact.scores.items()}
        return _Tried(user, found, artifact.record_ids, artifact.time, seconds, fresh=False)

    def _try(
        self, asked: _Asked, weights: Mapping[tuple[str, str], list[Artifact]], known: Population | None, ctx: Context
    ) -> _Tried:
        """Score every candidate on a person's latest records."""
        user, replays = asked.user, asked.replays
        kind = "likelihood" if ctx.template is None else ctx.template.measure
        base = served(ctx, [(one.call, one) for one in replays], kind)
        gains, tokens = dict[str, tuple[float, ...]](), dict[str, float]()
        seconds, skipped = dict[str, float](), dict[str, str]()
        for candidate in with_rival(self.candidates):
            start = time.perf_counter()
            if trained(candidate) and not self._worth(user, known):
                skipped[candidate] = f"{user.count} records; own weights are tried from {LEAST} on"
                continue
            try:
                calls = _written(candidate, asked, weights, ctx)
                scores = _scores(ctx, calls, replays, base, kind)
            except _REFUSED as error:
                skipped[candidate] = f"{type(error).__name__}: {error}"
                log.info("candidate %s is not measured: %s", candidate, type(error).__name__)
                continue
            gains[candidate] = tuple(score - bare for score, bare in zip(scores, base, strict=True))
            added = sum(_length(call, ctx) - _length(one.call, ctx) for call, one in zip(calls, replays, strict=True))
            tokens[candidate] = added / len(calls)
            seconds[candidate] = (time.perf_counter() - start) / len(replays)
        found = Verdict(
            tuple(gains), "none", tuple(gains.values()), tuple(base), (), (), tuple(tokens.values()), user.count, 0,
            kind, skipped,
        )  # fmt: skip
        return _Tried(user, found, tuple(one.record.id for one in replays), replays[-1].record.time, seconds)

    def _population(self, tried: Sequence[_Tried], ctx: Context) -> tuple[Artifact, Population] | None:
        """Pool the people who share; ``None`` for too few."""
        sharing = [] if ctx.peers is None else [one for one in tried if ctx.peers.shares(one.user)]
        names = [name for name in with_rival(self.candidates) if _known_of_most(name, sharing)]
        sharing = [one for one in sharing if all(name in one.found.measured for name in names)]
        if ctx.peers is None or len(sharing) < max(2, ctx.peers.least) or not names:
            return None
        population = Population(tuple(names), pool([one.found.own(names) for one in sharing]))
        artifact = Artifact.new(
            EVERYONE, "verdict", method="auto", settings=_plain(self), payload=population.payload(), record_ids=(),
            time=max(one.time for one in sharing), base_model=ctx.model.fingerprint,
            people=[one.user.id for one in sharing],
        )  # fmt: skip
        return artifact, population

    def _judge(self, one: _Tried, population: Population | None, ctx: Context) -> Artifact:
        names = one.found.measured
        own = one.found.own(names)
        prior = _prior(names, own, population)
        mean, sd = posterior(own, prior)
        best = choose(np.where(self._may_serve(one.found), mean, -np.inf), sd, self.caution) if names else -1
        verdict = replace(
            one.found, chosen=names[best] if best >= 0 else "none", mean=tuple(mean.tolist()), sd=tuple(sd.tolist()),
            others=prior.people,
        )  # fmt: skip
        return Artifact.new(
            one.user.id, "verdict", method="auto", settings=_plain(self), payload=verdict.payload(),
            record_ids=one.record_ids, time=one.time, base_model=ctx.model.fingerprint,
            scores={f"seconds:{name}": s for name, s in one.seconds.items()},
        )  # fmt: skip

    def _may_serve(self, found: Verdict) -> list[bool]:
        """Whether each measured candidate may serve: one of the settings, own weights only if they won.

        They must beat no personalization and retrieval on the person's own latest records, whatever helps others.
        """
        own = {name: sum(gains) for name, gains in zip(found.measured, found.gains, strict=True)}
        bar = max(0.0, own.get(RIVAL, 0.0))
        return [name in self.candidates and (not trained(name) or own[name] > bar) for name in found.measured]


def _prior(names: Sequence[str], own: Measured, population: Population | None) -> Prior:
    """Return what is known beforehand of some candidates; of one that was not measured on others, nothing."""
    prior = nothing_known(len(names), own.variance)
    common = [] if population is None else [name for name in names if name in population.measured]
    known = population.over(common) if population is not None and common else None
    if known is None:
        return prior
    at = [names.index(name) for name in common]
    arrays = {}
    for part in ("mean", "between", "within", "error"):
        arrays[part] = np.array(getattr(prior, part), np.float64)
        arrays[part][at] = getattr(known, part)
    return Prior(people=known.people, **arrays)


def _known_of_most(name: str, people: Sequence[_Tried]) -> bool:
    """Whether a candidate was measured on all people, or, where it is tried on some alone, on at least half."""
    count = sum(name in one.found.measured for one in people)
    return count == len(people) or (bool(trained(name)) and 2 * count >= len(people))


def _scores(
    ctx: Context, calls: Sequence[Call], replays: Sequence[Replay], base: Sequence[float], kind: str
) -> list[float]:
    """Score calls; where a candidate had nothing to say the score is that of no personalization."""
    changed = [n for n, (call, one) in enumerate(zip(calls, replays, strict=True)) if call != one.call]
    made = dict(zip(changed, served(ctx, [(calls[n], replays[n]) for n in changed], kind), strict=True))
    return [made.get(n, bare) for n, bare in enumerate(base)]


def _written(
    candidate: str, asked: _Asked, weights: Mapping[tuple[str, str], list[Artifact]], ctx: Context
) -> list[Call]:
    """Write the replays' calls as a candidate would, from what it learns of the person as they were before."""
    methods = registry.make_folded(candidate)
    every = registry.with_parts(methods)
    fitting = [one for name, one in every if _fits_alone(name, one) and _able((name, one), ctx)]
    learnt = [a for one in fitting if isinstance(one, Fits) for a in one.fit([asked.then], ctx)]
    learnt += [a for _, one in trained(candidate) for a in weights.get((repr(one), asked.user.id), ())]
    known = Known(asked.then, tuple(learnt))
    calls = [personalize(one.call, known, methods, ctx)[0] for one in asked.replays]
    if any(call.choose is not None for call in calls):
        raise UnsupportedCall(candidate, type(ctx.model).__name__, "scoring a choice among drafts", [])
    return calls


def _plain(method: Auto) -> dict[str, Any]:
    """Return the settings as they come back from the store."""
    return {**asdict(method), "candidates": list(method.candidates)}


def _fits_alone(name: str, one: object) -> bool:
    together = registry.methods.get(name).info["together"]
    return isinstance(one, Fits) and not together and not owns_weights(name)


def _able(named: Named, ctx: Context) -> bool:
    return {*registry.methods.get(named[0]).info["fit_needs"]} <= ctx.model.supports


def _is_stale(named: Named, user: User) -> bool:
    """Whether a method says so; one that does not say is stale while nothing it learnt is there."""
    stale = getattr(named[1], "stale", None)
    if stale is not None:
        return bool(stale(user))
    return user.count > 0 and not any(a.method == named[0] and a.user_id == user.id for a in user.artifacts)


def _length(call: Call, ctx: Context) -> int:
    return sum(ctx.model.count_tokens(text_of(message)) for message in call.messages)
