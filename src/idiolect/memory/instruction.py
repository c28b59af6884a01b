"""Instruction: one short text on how to answer a person, refined on their turns and accepted only where it serves.

Test-time alignment of PersonaAgent (arXiv 2506.06254): answers under the instruction are set beside what the person
wanted, a model says what in the instruction caused the gap, and rewrites it. The gate is our own: a rewritten text is
shown only once it foresees later turns, which its writer never saw, better than the one before it and than none.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson

from idiolect.errors import UnsupportedCall
from idiolect.measure.overlap import token_f1
from idiolect.memory.critique import capped, critique, rewrite, says_something, sentences
from idiolect.memory.wanted import Case, Material, material
from idiolect.prompting.shared.learnt import due, newest
from idiolect.prompting.shared.optimizer import block, describe, written
from idiolect.prompting.shared.replay import CHARS, utilities
from idiolect.registry import method
from idiolect.text.rendering import shorten
from idiolect.types import Artifact, Call, Context, Record, Sampling, Used, User

_NAME = "instruction"
_TITLE = "How to answer this person:"
_COMMENTS, _COMMENT_CHARS = 3, 120
_ANSWER_TOKENS = 80
"""So long are answers that are tried, about as long as what they are held against."""
_CRITIQUE_TOKENS = 200

Doubles = npt.NDArray[np.float64]
Measure = Literal["likelihood", "text"]


@dataclass
class _Search:
    """One person's refinement under way: the texts tried, oldest first, and what it took."""

    texts: list[str]
    learnt: list[float] = field(default_factory=list)
    """The mean score of each text where it was learnt; empty where there was nothing to choose, or to choose by."""
    calls: Counter[str] = field(default_factory=Counter)
    malformed: int = 0
    cut: int = 0


@method(_NAME, level="input", paper="arXiv:2506.06254, with a gate of our own")
@dataclass(frozen=True)
class Instruction:
    """Put a short standing instruction, refined on the person's turns and proven on later ones, before the question."""

    rounds: int = 3
    """At most so often the instruction is criticised and rewritten: two calls of the writing model each."""
    turns: int = 6
    """So many of the latest turns are learnt from: each is answered once a round and scored under every text."""
    held: int = 6
    """So many turns after those judge, never more than a third of all: scored bare, under the old and the new text."""
    least: int = 3
    """With fewer turns to judge by nothing is learnt."""
    words: int = 80
    """Length of an instruction; what is longer is cut after a sentence."""
    kept: int = 5
    """So many accepted versions are kept, to go back to."""
    version: int = 0
    """Show the accepted version of this number, 0 the newest that still serves."""
    refresh: int = 20
    """Refine it anew once so many records have come since."""
    share: float = 1.0
    """Part of the token budget relative to the other slots."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the accepted version as a stable block; without one the call itself comes back."""
        artifact = self.current(user, ctx.model.fingerprint)
        if artifact is None:
            return call
        state = orjson.loads(artifact.payload)
        found = _version(state, self.version or state["shown"])
        if found is None:
            return call
        return call.add(block(found["text"], _TITLE, Used("artifact", artifact.id, _NAME, _NAME), self.share))

    def current(self, user: User, model: str = "") -> Artifact | None:
        """Return the newest of what was learnt with these settings, for this model where one is named."""
        return newest(user, _NAME, self._learning(), model)

    def stale(self, user: User) -> bool:
        """Whether there is enough to begin with, or ``refresh`` records have come since the last time."""
        artifact = self.current(user)
        if artifact is None:
            return user.count >= 3 * self.least
        return due(user, int(orjson.loads(artifact.payload)["records"]), self.refresh)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Refine each person's instruction and judge it; over the very same records it is not done again.

        A person costs at most ``rounds`` times ``turns`` answers and two texts, and scores for ``turns`` times
        ``rounds + 1`` and three times ``held`` prompts (times the options, where there are any). Where a model gives no
        log probabilities, or the task is judged by text, a score is an answer of at most 80 tokens.
        """
        for user in users:
            old = self.current(user, ctx.model.fingerprint)
            state: dict[str, Any] = {"versions": [], "shown": 0} if old is None else orjson.loads(old.payload)
            if state.get("history") == _digest(user.history):
                continue
            shown = _version(state, state["shown"])
            found = material(user, ctx.template, self.turns, self.held, self.least)
            # A turn that the text shown now was written from cannot judge it.
            seen = set() if shown is None else set(shown["record_ids"])
            found = replace(found, held=tuple(case for case in found.held if case.record.id not in seen))
            if len(found.held) >= self.least:
                yield self._artifact(user, state, shown, found, ctx)

    def _learning(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name not in ("version", "share")}

    # -- refining ----------------------------------------------------------------------------------------------

    def _artifact(
        self, user: User, state: dict[str, Any], shown: dict[str, Any] | None, found: Material, ctx: Context
    ) -> Artifact:
        current = "" if shown is None else str(shown["text"])
        first, evidence = (current, tuple(shown["record_ids"])) if shown else self._first(found)
        kind: Measure = "likelihood"
        if "logprobs" not in ctx.model.supports or (ctx.template is not None and ctx.template.measure == "text"):
            kind = "text"
        try:
            search, scores = self._refine(first, current, found, kind, ctx)
        except UnsupportedCall:  # an endpoint may say only when it is asked that it gives no log probabilities
            if kind == "text":
                raise
            kind = "text"
            search, scores = self._refine(first, current, found, kind, ctx)
        evidence = tuple(dict.fromkeys([*evidence, *(case.record.id for case in found.learn)]))
        payload = self._judged(state, scores, evidence)
        payload |= {
            "tried": search.texts, "learnt": search.learnt,
            "malformed": search.malformed, "cut": search.cut, "calls": dict(search.calls), "measure": kind,
            "held": [case.record.id for case in found.held], "records": user.count, "history": _digest(user.history),
        }  # fmt: skip
        rests = [*evidence, *payload["held"], *(rid for one in payload["versions"] for rid in one["record_ids"])]
        return Artifact.new(
            user.id, _NAME, method=_NAME, settings=self._learning(), payload=orjson.dumps(payload),
            record_ids=dict.fromkeys(rests), time=max(case.record.time for case in found.held),
            base_model=ctx.model.fingerprint, scores={name: value for name, (_, value) in scores.items()},
        )  # fmt: skip

    def _first(self, found: Material) -> tuple[str, tuple[str, ...]]:
        """Return what to begin with, by rules, and the records it rests on: comments on answers, then a description."""
        told = [case for case in found.learn if case.said is not None and case.said.feedback.comment.strip()]
        told = told[-_COMMENTS:]
        lines = [f'Said of an answer: "{shorten(c.said.feedback.comment, _COMMENT_CHARS)}"' for c in told if c.said]
        text, evidence = describe(found.rest)
        return capped([*lines, *text.splitlines()], self.words), (*(c.record.id for c in told), *evidence)

    def _refine(
        self, first: str, current: str, found: Material, kind: Measure, ctx: Context
    ) -> tuple[_Search, dict[str, tuple[str, float]]]:
        """Rewrite, choose among the texts by what was learnt from, and score the choice on the turns held out.

        Returns for ``none``, ``current`` and ``new`` the text and its mean score; what is not there is left out.
        """
        search = _Search([first])
        old = {"none": "", **({"current": current} if current else {})}
        rows = self._scores(list(old.values()), found.held, kind, search, ctx)
        scores = {name: (text, float(row.mean())) for (name, text), row in zip(old.items(), rows, strict=True)}
        for _ in range(self.rounds if found.learn else 0):
            text = self._rewritten(search.texts[-1], found.learn, search, ctx)
            if not text or text in search.texts:  # the same question would get the same answer
                break
            search.texts.append(text)
        best = self._best(search, [case for case in found.learn if case.gold], kind, ctx)
        if best and best != current:
            scores["new"] = best, float(self._scores([best], found.held, kind, search, ctx).mean())
        return search, scores

    def _best(self, search: _Search, scored: Sequence[Case], kind: Measure, ctx: Context) -> str:
        """Return the text that serves best where it was learnt, the older of equals; the last where none can tell."""
        if not scored or len(search.texts) == 1:
            return search.texts[-1]
        search.learnt = [float(row.mean()) for row in self._scores(search.texts, scored, kind, search, ctx)]
        return search.texts[int(np.argmax(search.learnt))]

    def _judged(
        self, state: dict[str, Any], scores: dict[str, tuple[str, float]], evidence: Sequence[str]
    ) -> dict[str, Any]:
        """Accept the new text, keep the one before it, or show nothing: whatever foresees the held-out turns best."""
        values = {name: value for name, (_, value) in scores.items()}
        versions, refused, number = list(state["versions"]), [], int(state["shown"])
        if "new" in scores:
            mark = {"text": scores["new"][0], "scores": values, "record_ids": list(evidence)}
            if values["new"] > max(value for name, value in values.items() if name != "new"):
                number = 1 + max((one["number"] for one in versions), default=0)
                versions.append({"number": number, **mark})
            else:
                refused.append(mark)
        if number == state["shown"] and "current" in values and values["current"] < values["none"]:
            number = 0
        return {"shown": number, "versions": versions[-self.kept :], "refused": refused}

    # -- the model ---------------------------------------------------------------------------------------------

    def _scores(
        self, texts: Sequence[str], cases: Sequence[Case], kind: Measure, search: _Search, ctx: Context
    ) -> Doubles:
        """Return ``[texts, cases]`` how well each text foresees what was wanted, in one batch.

        By likelihood in nats (a byte, or among the options), else as the F1 of words of an answer.
        """
        pairs = [(written(c.asked.call, text, _TITLE, _NAME, ctx), c.asked) for text in texts for c in cases]
        search.calls["scored"] += sum(max(1, len(asked.options)) if kind == "likelihood" else 1 for _, asked in pairs)
        if kind == "likelihood":
            found = utilities(ctx, pairs)
        else:
            drafts = ctx.model.generate([_greedy(call, _ANSWER_TOKENS) for call, _ in pairs])
            found = [token_f1(a.gold, made.text[:CHARS]) for (_, a), made in zip(pairs, drafts, strict=True)]
        return np.array(found, np.float64).reshape(len(texts), len(cases))

    def _rewritten(self, text: str, learn: Sequence[Case], search: _Search, ctx: Context) -> str:
        """Answer the turns under a text, let the writer say what is wrong with it, then write it anew."""
        if ctx.check is not None:
            ctx.check()
        calls = [_greedy(written(c.asked.call, text, _TITLE, _NAME, ctx), _ANSWER_TOKENS) for c in learn]
        answers = [made.text for made in ctx.model.generate(calls)]
        search.calls["answered"] += len(calls)
        said = self._ask(critique(text, learn, answers), _CRITIQUE_TOKENS, search, ctx)
        if not says_something(said):
            search.malformed += 1
            return ""
        lines = sentences(self._ask(rewrite(text, said, self.words), 2 * self.words + 40, search, ctx))
        made = capped(lines, self.words)
        search.malformed += not made
        search.cut += bool(made) and len(" ".join(lines).split()) > self.words
        return made

    def _ask(self, prompt: str, tokens: int, search: _Search, ctx: Context) -> str:
        search.calls["written"] += 1
        call = Call(({"role": "user", "content": prompt},))
        return (ctx.helper or ctx.model).generate([_greedy(call, tokens)])[0].text


def _greedy(call: Call, tokens: int) -> Call:
    return replace(call, sampling=Sampling(temperature=0.0, max_tokens=tokens))


def _digest(history: Sequence[Record]) -> str:
    return hashlib.blake2b("".join(record.id for record in history).encode(), digest_size=8).hexdigest()


def _version(state: dict[str, Any], number: int) -> dict[str, Any] | None:
    return next((one for one in state["versions"] if one["number"] == number), None)
