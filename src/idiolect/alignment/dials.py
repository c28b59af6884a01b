"""Dials: several objectives at once, each with a strength of its own, added while the answer is written.

One linear form covers linear alignment and Amulet (arXiv:2502.19148), context steering for several contexts
(arXiv:2405.01768, section 3.3) and multi-objective decoding over prompts (MOD, arXiv:2406.18853). Where a small model
reads the objectives it is Drift (arXiv:2502.14289): ``l = l_0 + sum_i w_i (s_i - s_0)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson

from idiolect.alignment.shared.choices import Doubles, latest, log_likelihoods
from idiolect.alignment.shared.comparisons import Comparison
from idiolect.alignment.shared.guiding import small_model
from idiolect.alignment.shared.objectives import INSTRUCTIONS
from idiolect.decoding.branches import dialled
from idiolect.errors import ConfigError
from idiolect.prompting.shared.learnt import due, newest
from idiolect.registry import method
from idiolect.types import Artifact, Backend, Branch, Call, Context, Record, Used, User

NAME = "dials"
SAFETY_FLOOR = 0.25
"""While any other objective counts, ``safe`` counts at least so much, and at least this part of the strongest one."""
_PRIOR = 2.0
"""Standard deviation of a dial before anything is known."""
_NAMED = tuple(INSTRUCTIONS)


@method(
    NAME, level="objective", paper="arXiv:2502.19148, arXiv:2406.18853, arXiv:2405.01768, arXiv:2502.14289",
    needs=("mix",), fit_needs=("logprobs", "mix"),
)  # fmt: skip
@dataclass(frozen=True)
class Dials:
    """Turn objectives (brief, formal, warm ...) up and down for one answer, and by default as the person likes it.

    Each objective is a standing instruction, and the model reads the prompt once without and once with each of them:
    ``l = l_0 + sum_i w_i (l_i - l_0)``. A strength ``w`` of 0 is none of it, 1 as much as the instruction in the prompt
    would do, more is beyond it, below 0 its opposite. Linear alignment is 3, Amulet in its own settings 5.65
    (:mod:`idiolect.decoding.weights`). What a request does not set comes from the person: from a pinned record that
    says so (``meta["dials"]``, objective to strength), else from what they chose before, where that was learnt.
    ``safe`` never counts less than a floor while anything else does.
    """

    helpful: float | None = None
    """Strength of "answer exactly what was asked"; ``null`` here and below is the person's own."""
    brief: float | None = None
    """Strength of "as briefly as possible"."""
    detailed: float | None = None
    """Strength of "in great detail"."""
    formal: float | None = None
    """Strength of "formal, polite and professional"."""
    casual: float | None = None
    """Strength of "casually, as to a close friend"."""
    simple: float | None = None
    """Strength of "simple words and short sentences"."""
    expert: float | None = None
    """Strength of "for an expert"."""
    warm: float | None = None
    """Strength of "warm, kind and encouraging"."""
    safe: float | None = None
    """Strength of "refuse what is harmful"; raised to a quarter of the strongest other one, and to 0.25 at least."""
    own: tuple[str, ...] = ()
    """More objectives, in words of one's own: each an instruction to the model."""
    own_strengths: tuple[float, ...] = ()
    """Their strengths, in order; 1 where none is given."""
    small: bool = False
    """Let the backend's small model read the objectives, and the large one the prompt alone (Drift): what is added is
    ``w_i (s_i - s_0)``, and what a person likes is learnt by the small model too."""
    infer: bool = True
    """Use what the person set or chose before for what is not set here."""
    plausibility: float = 0.01
    """Where strengths sum to more than 1 or one is below 0, leave only tokens with at least that part of the best
    token's probability without any objective."""
    learn: tuple[str, ...] = ("brief", "detailed", "formal", "casual", "simple", "warm")
    """The objectives that a person's choices are explained by."""
    grid: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """The strengths that are tried."""
    most: int = 2
    """At most so many objectives are learnt of a person: every one that counts is one more row to read."""
    beta: float = 0.1
    """How surely a person takes the text that the objectives make likelier (DPO's beta)."""
    comparisons: int = 16
    """So many of the person's latest choices are learnt from."""
    refresh: int = 10
    """Learn anew once so many records have come since."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Add each objective that counts as a branch of its own.

        Raises :class:`ConfigError` for strengths without an instruction, an unknown objective, or where a method before
        it mixes what is not the call's own prompt.
        """
        known, used = self._known(user, self._reader(ctx).fingerprint) if self.infer else ({}, ())
        named = {**known, **{name: value for name, value in self._set().items() if value is not None}}
        strengths = with_floor({**named, **self._own()})
        if not strengths:
            return call
        turned = dialled(call, _branches(strengths, self.small), self.plausibility, NAME)
        return replace(turned, used=(*turned.used, *used))

    def current(self, user: User, base_model: str = "") -> Artifact | None:
        """Return the newest dials learnt with these settings, and for that model where one is named."""
        return newest(user, NAME, self._learnt, base_model)

    def stale(self, user: User) -> bool:
        """Whether choices are there to learn from, and nothing was or ``refresh`` records have come since."""
        if not self.infer:
            return False
        artifact = self.current(user)
        if artifact is None:
            return bool(latest(user, 1))
        return due(user, int(orjson.loads(artifact.payload)["records"]), self.refresh)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Find the few dials under which each person's choices are the most probable; who chose nothing has none.

        Objectives are taken in one by one, each time the one with the strength that explains most, as long as that is
        more than its prior costs (a normal one around 0).
        """
        _check(self.learn)
        ctx = replace(ctx, model=self._reader(ctx))
        for user in users:
            asked = latest(user, self.comparisons)
            if asked:
                yield self._artifact(user, asked, ctx)

    @property
    def _learnt(self) -> dict[str, Any]:
        lists = {"learn": list(self.learn), "grid": list(self.grid)}
        read = {"small": True} if self.small else {}
        return {**lists, "most": self.most, "beta": self.beta, "comparisons": self.comparisons, **read}

    def _reader(self, ctx: Context) -> Backend:
        """Return the model that reads the objectives, which is the one that strengths are learnt for."""
        return small_model(ctx, NAME) if self.small else ctx.model

    def _set(self) -> dict[str, float | None]:
        return {name: getattr(self, name) for name in _NAMED}

    def _own(self) -> dict[str, float]:
        """Return the strengths of instructions in one's own words."""
        if len(self.own_strengths) > len(self.own):
            raise ConfigError(
                f"{NAME}: {len(self.own_strengths)} own_strengths for {len(self.own)} instructions in own; give as many"
            )
        given = (*self.own_strengths, *(1.0 for _ in self.own[len(self.own_strengths) :]))
        return {text: value for text, value in zip(self.own, given, strict=True) if text.strip()}

    def _known(self, user: User, base_model: str) -> tuple[dict[str, float], tuple[Used, ...]]:
        """Return the person's own strengths, and what they come from: what was learnt, then what was said."""
        strengths, used = dict[str, float](), list[Used]()
        artifact = self.current(user, base_model)
        if artifact is not None:
            strengths = {name: float(value) for name, value in orjson.loads(artifact.payload)["dials"].items()}
            used += [Used("artifact", artifact.id, NAME, NAME, 1.0)] if strengths else []
        for record in user.standing:
            said = _said(record)
            strengths |= said
            used += [Used("record", record.id, NAME, NAME, 1.0)] if said else []
        return strengths, tuple(used)

    def _artifact(self, user: User, asked: Sequence[Comparison], ctx: Context) -> Artifact:
        found, explained = self._explained(asked, ctx)
        payload = {"dials": found, "log_likelihoods": explained, "choices": len(asked), "records": user.count}
        return Artifact.new(
            user.id, "dials", method=NAME, settings=self._learnt, payload=orjson.dumps(payload),
            record_ids=dict.fromkeys(one.record.id for one in asked), time=max(one.record.time for one in asked),
            base_model=ctx.model.fingerprint,
        )  # fmt: skip

    def _explained(self, asked: Sequence[Comparison], ctx: Context) -> tuple[dict[str, float], list[float]]:
        """Return the dials, and the log likelihood of the choices [nats] without any and after each."""
        found = dict[str, float]()
        explained = [float(log_likelihoods(ctx, asked, [lambda call: call], self.beta)[0])]
        best = explained[0]
        while len(found) < self.most:
            tried = [{**found, name: w} for name in self.learn if name not in found for w in self.grid]
            if not tried:
                break
            likely = self._log_likelihoods(asked, tried, ctx)
            probable = likely - np.array([sum(w * w for w in one.values()) / (2 * _PRIOR**2) for one in tried])
            at = int(probable.argmax())
            if probable[at] <= best:
                break
            found, best = tried[at], float(probable[at])
            explained.append(float(likely[at]))
        return found, explained

    def _log_likelihoods(
        self, asked: Sequence[Comparison], tried: Sequence[Mapping[str, float]], ctx: Context
    ) -> Doubles:
        def change(strengths: Mapping[str, float], call: Call) -> Call:
            return dialled(call, _branches(strengths), 0.0, NAME)

        changes = [lambda call, one=one: change(one, call) for one in tried]
        return log_likelihoods(ctx, asked, changes, self.beta)


def with_floor(strengths: Mapping[str, float]) -> dict[str, float]:
    """Return the strengths that count, ``safe`` raised to its floor where any other does."""
    counted = {name: value for name, value in strengths.items() if value}
    strongest = max((abs(value) for name, value in counted.items() if name != "safe"), default=0.0)
    if strongest:
        counted["safe"] = max(counted.get("safe", 0.0), SAFETY_FLOOR * max(1.0, strongest))
    elif counted.get("safe", 0.0) < 0:
        del counted["safe"]
    return counted


def _branches(strengths: Mapping[str, float], small: bool = False) -> list[Branch]:
    told = [Branch(None, value, INSTRUCTIONS.get(name, name), proxy=small) for name, value in strengths.items()]
    return [*told, Branch(None, -sum(strengths.values()), proxy=True)] if small else told


def _said(record: Record) -> dict[str, float]:
    """Return the strengths that a person's record sets; what is no named objective or no number sets nothing."""
    given = record.meta.get("dials")
    if not isinstance(given, Mapping):
        return {}
    return {
        name: float(value)
        for name, value in given.items()
        if name in INSTRUCTIONS and isinstance(value, int | float) and np.isfinite(value)
    }


def _check(names: Iterable[str]) -> None:
    for name in names:
        if name not in INSTRUCTIONS:
            raise ConfigError(f"{NAME}: {name!r} is no objective with a name. There are: {', '.join(INSTRUCTIONS)}")
