"""Context steering: a dial for how much personal text counts (CoS, arXiv 2405.01768)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from idiolect.errors import ConfigError
from idiolect.prompting.assembly import assemble
from idiolect.prompting.shared.contrast import log_likelihoods, posterior, steered
from idiolect.prompting.shared.feedback import block, find
from idiolect.prompting.shared.learnt import due, newest
from idiolect.prompting.shared.replay import Replay, latest
from idiolect.registry import method
from idiolect.types import Artifact, Call, Context, Record, Used, User

NAME = "context_steering"


@method(NAME, level="input", paper="arXiv:2405.01768", needs=("mix",), fit_needs=("logprobs", "mix"))
@dataclass(frozen=True)
class ContextSteering:
    """Amplify or soften what the person's records change in the next token.

    The model reads the question twice, with and without personal text, and the difference of the two log probabilities
    is added ``strength`` times: ``l_c + strength (l_c - l_nc)``. All personal text of the call counts as context, other
    methods' too. CoSteer and Amulet do the same with strengths of 0.78 and 4.65 in their own settings
    (:mod:`idiolect.decoding.weights`). CoSteer's two models, where a small one that alone sees the context steers a
    large one, are ``proxy_tuning``.
    """

    strength: float = 1.0
    """0 is the context as it is, -1 none of it, above 0 more than the model would give it."""
    infer: bool = True
    """Use the strength that best explains the person's own texts, where it was learnt; else ``strength``."""
    plausibility: float = 0.1
    """Above 0, leave only tokens with at least that part of the best token's probability in context."""
    k: int = 32
    """Candidates; how many of them enter is decided by the token budget."""
    share: float = 3.0
    """Part of the token budget relative to the other slots."""
    grid: tuple[float, ...] = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
    """The strengths that are tried when it is learnt."""
    replays: int = 8
    """How many of the person's latest records it is learnt from."""
    refresh: int = 20
    """Learn it anew once so many records have come since."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the found records and mix the prompts with and without personal text.

        Raises :class:`ConfigError` where another method mixes already.
        """
        artifact = self.current(user, ctx.model.fingerprint) if self.infer else None
        strength = self.strength if artifact is None else float(orjson.loads(artifact.payload)["strength"])
        if strength == -1:
            return call
        offered = call.add(block(find(user, call.query, self.k), NAME, NAME, self.share))
        if offered is call:
            return call
        if call.mix:
            raise ConfigError(f"{NAME!r} and a method before it both mix prompts; leave one of them out")
        mixed = steered(offered, call.messages, strength, self.plausibility)
        if artifact is None:
            return mixed
        return replace(mixed, used=(*mixed.used, Used("artifact", artifact.id, NAME, NAME, strength)))

    def current(self, user: User, base_model: str = "") -> Artifact | None:
        """Return the newest strength learnt with these settings, and by that model where one is named."""
        return newest(user, NAME, self._learnt, base_model)

    @property
    def _learnt(self) -> dict[str, Any]:
        return {"k": self.k, "grid": list(self.grid), "replays": self.replays}

    def stale(self, user: User) -> bool:
        """Whether no strength was learnt yet or ``refresh`` records have come since."""
        if not self.infer:
            return False
        artifact = self.current(user)
        if artifact is None:
            return user.count > 0
        return due(user, int(orjson.loads(artifact.payload)["records"]), self.refresh)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Infer each person's strength: ``P(strength | their texts)`` over the grid, the most probable one is used."""
        for user in users:
            earlier, held = latest(user, ctx.template, self.replays)
            asked: list[tuple[Call, Replay]] = []
            context: list[str] = []
            for one in held:
                offered = one.call.add(block(find(earlier, one.call.query, self.k), NAME, NAME))
                written = assemble(offered, ctx.tokens, ctx.model.count_tokens)
                if written.used:
                    asked.append((written, one))
                    context += [used.id for used in written.used]
            if asked:
                yield self._artifact(user, asked, context, ctx)

    def _artifact(self, user: User, asked: list[tuple[Call, Replay]], context: list[str], ctx: Context) -> Artifact:
        probable = posterior(log_likelihoods(ctx, asked, self.grid))
        records: list[Record] = [one.record for _, one in asked]
        payload = {
            "grid": list(self.grid),
            "posterior": probable.tolist(),
            "strength": self.grid[int(probable.argmax())],
            "mean": float(probable @ self.grid),
            "records": len(user.history),
        }
        return Artifact.new(
            user.id, "strength", method=NAME, settings=self._learnt, payload=orjson.dumps(payload),
            record_ids=dict.fromkeys([*(record.id for record in records), *context]),
            time=max(record.time for record in records), base_model=ctx.model.fingerprint,
        )  # fmt: skip
