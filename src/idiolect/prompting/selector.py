"""Selector: for each question the way of personalizing that will serve it best, none among them.

Retrieval selection of arXiv:2404.05970, section 4: ``before`` (RSPG-Pre) looks at the prompts that the candidates would
make and asks the model once; ``after`` (RSPG-Post) lets every candidate answer and keeps the draft it rates best.
Learnt from people's own latest records, asked again with every candidate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from idiolect import registry
from idiolect.errors import MalformedAnswer, UnsupportedCall
from idiolect.prompting.assembly import Named, assemble, fold
from idiolect.prompting.shared.distillation import hold_out, softmax
from idiolect.prompting.shared.known import Known
from idiolect.prompting.shared.replay import Replay, latest, utilities
from idiolect.prompting.shared.selection import (
    DRAFT,
    Chooser,
    Manner,
    Question,
    of_drafts,
    of_prompts,
    of_question,
    personal,
    pick,
)
from idiolect.registry import method
from idiolect.types import EVERYONE, Artifact, Call, Choose, Context, Embedder, Fits, Sampling, Used, User

DRAFT_TOKENS = 128
"""So long are the drafts that ``after`` learns from."""


@dataclass(frozen=True, eq=False)
class _Tried:
    # The candidates' calls for one question: as planned, and written with the personal text of the candidate alone.
    planned: list[Call]
    written: list[Call]
    there: list[bool]


@dataclass(frozen=True, eq=False)
class _Seen:
    """What is known of a question before any draft."""

    artifact: Artifact
    prompts: Any
    question: Any


@dataclass
class _Taught:
    # What came of letting candidates learn: whose records shaped it, and how often a model's answer was malformed.
    people: set[str] = field(default_factory=set)
    malformed: int = 0


@dataclass(frozen=True)
class Rating:
    """Rate drafts, one of each candidate that is there, by prompt and text; a value, so that calls can be compared."""

    artifact: Artifact
    place: tuple[int, ...]
    """Which candidate of the pool each draft is from."""
    prompts: tuple[tuple[float, ...], ...]
    question: tuple[float, ...]
    texts: tuple[str, ...]
    query: str
    manner: Manner
    embedder: Embedder | None = field(compare=False, repr=False)

    def __call__(self, drafts: Sequence[str]) -> list[float]:
        """Return a score for each draft."""
        chooser = Chooser.unpack(self.artifact.payload)
        seen = of_drafts(drafts, self.texts, self.query, self.manner, self.embedder)
        rows = np.zeros((1, len(chooser.parameters["bias"]), len(chooser.parameters["shared"])))
        rows[0, list(self.place)] = np.concatenate([np.array(self.prompts), seen], axis=1)
        scores = chooser.scores(rows, np.array([self.question]))[0]
        return [float(scores[place]) for place in self.place]


@method("selector", level="input", paper="arXiv:2404.05970 section 4", fit_needs=("logprobs",), together=True)
@dataclass(frozen=True)
class Selector:
    """Choose for each question among several methods, no personalization among them, by what served such questions."""

    pool: tuple[str, ...] = ("none", "retrieval", "profile")
    """Candidates as ``A+B`` or ``NAME:setting=value``; ``none`` asks the question bare. Fit those that learn, too."""
    when: Literal["before", "after"] = "before"
    """Choose by the prompts, with one answer; or by the drafts of all candidates (the backend must do ``choose``)."""
    replays: int = 8
    """So many of each person's latest records are asked again in learning, with every candidate."""
    temperature: float = 1.0
    """Divides the utilities, measured in their spread among candidates; lower trusts the best candidate more."""
    seed: int = 0
    """Of who is held out to stop early."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Return the call of the candidate expected to serve best; the same call where that is none."""
        found = self._learnt(user, ctx)
        if found is None:
            return call
        artifact, chooser = found
        tried = self._try(call, user, ctx)
        if not any(here and name != "none" for name, here in zip(self.pool, tried.there, strict=True)):
            return call
        prompts = of_prompts(tried.written, call.query, ctx)
        question = of_question(call.query, user, ctx.embedder)
        if self.when == "after":
            return self._draw(call, user, ctx, tried, _Seen(artifact, prompts, question))
        scores = chooser.scores(prompts[None], question[None])[0]
        best = pick(self.pool, scores.tolist(), tried.there)
        if best == "none":
            return call
        likely = softmax(scores, np.array(tried.there)).tolist()
        parts = {name: p for name, p, here in zip(self.pool, likely, tried.there, strict=True) if here}
        chosen = tried.planned[self.pool.index(best)]
        mark = Used("artifact", artifact.id, "selector", "selection", parts[best], parts)
        return replace(chosen, used=(*chosen.used, mark))

    def _draw(self, call: Call, user: User, ctx: Context, tried: _Tried, seen: _Seen) -> Call:
        """Return the call with every candidate's call as an alternative."""
        place = [n for n, here in enumerate(tried.there) if here]
        # Where drafts are rated alike the first is kept: none stands first.
        place.sort(key=lambda n: self.pool[n] != "none")
        rating = Rating(
            seen.artifact, tuple(place), tuple(tuple(seen.prompts[n].tolist()) for n in place),
            tuple(seen.question.tolist()), tuple(personal(tried.written[n]) for n in place), call.query,
            Manner.of(user, ctx.embedder), ctx.embedder,
        )  # fmt: skip
        mark = Used("artifact", seen.artifact.id, "selector", "selection")
        choose = Choose(1, rating, tuple(tried.planned[n] for n in place))
        return replace(call, choose=choose, used=(*call.used, mark))

    def _learnt(self, user: User, ctx: Context) -> tuple[Artifact, Chooser] | None:
        """Return the newest chooser for this pool, model and embedder."""
        wanted = {"pool": list(self.pool), "when": self.when}
        for artifact in user.artifacts:
            same = artifact.method == "selector" and all(artifact.settings.get(k) == v for k, v in wanted.items())
            if same and artifact.base_model == ctx.model.fingerprint:
                chooser = Chooser.unpack(artifact.payload)
                if chooser.embedder == _name(ctx.embedder):
                    return artifact, chooser
        return None

    def _try(self, call: Call, user: User, ctx: Context) -> _Tried:
        """Let every candidate of the pool personalize a call; one that changes nothing is not there."""
        planned, written, there = list[Call](), list[Call](), list[bool]()
        for candidate in self.pool:
            methods = registry.make_folded(candidate)
            one = fold(call, user, methods, ctx)
            if one.choose is not None and (self.when == "after" or call.choose is None):
                raise UnsupportedCall(candidate, type(ctx.model).__name__, "a choice among drafts within a choice", [])
            own = replace(one, context=one.context[len(call.context) :], used=one.used[len(call.used) :])
            planned.append(one)
            written.append(assemble(own, ctx.tokens, ctx.model.count_tokens))
            there.append(not methods or one != call)
        return _Tried(planned, written, there)

    # -- learning ----------------------------------------------------------------------------------------------

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Learn which candidate served which questions; nothing where no candidate makes a difference.

        Costs at most ``len(pool) * replays`` scored prompts a person, ``after`` as many answers besides.
        """
        past = [(user.id, *latest(user, ctx.template, self.replays)) for user in users]
        past = [(name, earlier, asked) for name, earlier, asked in past if asked]
        taught = _Taught()
        everyone = self._teach([earlier for _, earlier, _ in past], ctx, together=True, taught=taught)
        rows, owners = list[tuple[str, Question]](), set[str]()
        for done, (name, earlier, asked) in enumerate(past, 1):
            own = self._teach([earlier], ctx, together=False, taught=taught)
            made, others = self._rows(Known(earlier, (*own, *everyone)), asked, ctx)
            rows += [(name, row) for row in made if not row.flat]
            owners |= others
            if ctx.progress is not None:
                ctx.progress(done, len(past))
        if not rows:
            return
        held = hold_out([name for name, _ in rows], self.seed)
        chooser = Chooser.train(
            [row for name, row in rows if name not in held], [row for name, row in rows if name in held],
            self.temperature, _name(ctx.embedder),
        )  # fmt: skip
        yield Artifact.new(
            EVERYONE, "chooser", method="selector", settings={**asdict(self), "pool": list(self.pool)},
            payload=chooser.pack(), record_ids=(), time=max(one.record.time for _, _, asked in past for one in asked),
            base_model=ctx.model.fingerprint, people=[*(name for name, _, _ in past), *owners, *taught.people],
            scores={"questions": float(len(rows)), "malformed": float(taught.malformed)},
        )  # fmt: skip

    def _rows(self, user: User, asked: Sequence[Replay], ctx: Context) -> tuple[list[Question], set[str]]:
        """Ask a person's past questions with every candidate; return what came of it, and whose records were read."""
        tried = [self._try(replay.call, user, ctx) for replay in asked]
        pairs = [
            (one.written[n], replay)
            for one, replay in zip(tried, asked, strict=True)
            for n in np.flatnonzero(one.there)
        ]
        worth, drafts = iter(utilities(ctx, pairs)), iter(self._drafts([call for call, _ in pairs], ctx))
        manner = Manner.of(user, ctx.embedder)
        rows = []
        for one, replay in zip(tried, asked, strict=True):
            place, query = np.flatnonzero(one.there), replay.call.query
            gained = np.zeros(len(self.pool))
            gained[place] = [next(worth) for _ in place]
            seen = of_prompts(one.written, query, ctx)
            if self.when == "after":
                texts = [personal(one.written[n]) for n in place]
                said = np.zeros((len(self.pool), len(DRAFT)))
                said[place] = of_drafts([next(drafts) for _ in place], texts, query, manner, ctx.embedder)
                seen = np.concatenate([seen, said], axis=1)
            rows.append(Question(seen, of_question(query, user, ctx.embedder), np.array(one.there), gained))
        owners = {use.owner for call, _ in pairs for use in call.used if use.owner}
        return rows, owners

    def _drafts(self, calls: Sequence[Call], ctx: Context) -> list[str]:
        if self.when == "before":
            return []
        short = Sampling(temperature=0.0, max_tokens=DRAFT_TOKENS)
        return [made.text for made in ctx.model.generate([replace(call, sampling=short) for call in calls])]

    def _teach(self, views: Sequence[User], ctx: Context, *, together: bool, taught: _Taught) -> list[Artifact]:
        """Let the candidates that learn (one by one, or together) learn from people as they were."""
        out = []
        for name, one in self._learning():
            info = registry.methods.get(name).info
            if bool(info["together"]) != together or not views:
                continue
            for need in sorted({*info["fit_needs"]} - ctx.model.supports):
                raise UnsupportedCall(f"fit {name}", type(ctx.model).__name__, need, [])
            try:
                out += list(one.fit(views, replace(ctx, progress=None)))
            except MalformedAnswer:
                taught.malformed += 1
        taught.people |= {other for artifact in out for other in artifact.people}
        return out

    def _learning(self) -> list[tuple[str, Fits]]:
        """Return each method of the pool that learns, once."""
        named: dict[str, Named] = {repr(one): (name, one) for c in self.pool for name, one in registry.make_folded(c)}
        return [(name, one) for name, one in named.values() if isinstance(one, Fits)]


def _name(embedder: Embedder | None) -> str:
    return "" if embedder is None else embedder.fingerprint
