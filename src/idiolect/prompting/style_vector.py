"""Style vector: one direction inside the model from generic answers to the person's (arXiv 2503.05213)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from idiolect.inside import Inside
from idiolect.prompting.assembly import assemble
from idiolect.prompting.shared.effect import inside, token_personalization_effects
from idiolect.prompting.shared.feedback import block, find
from idiolect.prompting.shared.learnt import due, newest
from idiolect.prompting.shared.vectors import Pair, layer_of, norm_of, pack, pairs, states, steer, unpack
from idiolect.registry import method
from idiolect.types import Artifact, Call, Context, Floats, Used, User

NAME = "style_vector"


@method(NAME, level="input", paper="arXiv:2503.05213", needs=("steering",), fit_needs=("inside",))
@dataclass(frozen=True)
class StyleVector:
    """Add the mean difference between the person's and generic answers to a layer while the answer is written.

    It costs no prompt tokens and is meant for style; facts need retrieval. Where the person's answers and the model's
    own are about different things, their topics get into the vector too.
    """

    strength: float = 0.1
    """Length of what is added, as a part of the usual length of the layer's states; 0 is off."""
    layer: int = -1
    """Which layer's output is steered, from 0; -1 is the middle one."""
    position: Literal["last", "mean", "effect"] = "last"
    """Where answers are read: at the last token, over all tokens, or (SteerX, arXiv:2510.22256) over those tokens of
    the person's that their other records make more likely by at least ``threshold``."""
    threshold: float = 0.5
    """Least effect of a token that counts with ``position = effect`` [nats]."""
    newest: int = 32
    """How many of the person's latest records are used."""
    tokens: int = 64
    """Longest generic answer."""
    refresh: int = 20
    """Learn it anew once so many records have come since."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Steer with the person's vector."""
        artifact = self.current(user, ctx.model.fingerprint) if self.strength else None
        if artifact is None:
            return call
        head, vector = unpack(artifact.payload)
        if not vector.any():
            return call
        steering = steer(head["layer"], vector, head["norm"], self.strength)
        used = Used("artifact", artifact.id, NAME, NAME, self.strength)
        return replace(call, steering=(*call.steering, steering), used=(*call.used, used))

    def current(self, user: User, base_model: str = "") -> Artifact | None:
        """Return the newest vector learnt with these settings, and inside that model where one is named."""
        return newest(user, NAME, self._learnt, base_model)

    @property
    def _learnt(self) -> dict[str, Any]:
        kept = {key: value for key, value in asdict(self).items() if key not in ("strength", "refresh")}
        return kept if self.position == "effect" else {**kept, "threshold": None}

    def stale(self, user: User) -> bool:
        """Whether there is no vector yet or ``refresh`` records have come since it was learnt."""
        artifact = self.current(user)
        if artifact is None:
            return user.count > 0
        return due(user, int(unpack(artifact.payload)[0]["records"]), self.refresh)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Learn each person's vector; it is zero and steers nothing where no answer differs from the model's own."""
        model = inside(ctx, f"fit {NAME}")
        layer = layer_of(model, self.layer)
        for user in users:
            found, empty = pairs(user, ctx, self.newest, self.tokens)
            if found:
                yield self._artifact(user, found, empty, layer, model, ctx)

    def _artifact(self, user: User, found: list[Pair], empty: int, layer: int, model: Inside, ctx: Context) -> Artifact:
        personal, generic = states(model, found, layer)
        context: list[str] = []
        kept = personal
        if self.position == "effect":
            masks, context = self._effective(user, found, ctx)
            kept = [state[mask] for state, mask in zip(personal, masks, strict=True)]
        differences = [self._pool(ours) - self._pool(its) for ours, its in zip(kept, generic, strict=True) if len(ours)]
        vector = np.stack(differences).mean(axis=0) if differences else np.zeros(model.hidden, np.float32)  # [hidden]
        head = {
            "layer": layer, "norm": norm_of(personal), "pairs": len(differences), "malformed": empty,
            "without_effect": len(found) - len(differences), "records": len(user.history),
        }  # fmt: skip
        return Artifact.new(
            user.id, "vector", method=NAME, settings=self._learnt, payload=pack(head, vector),
            record_ids=dict.fromkeys([*(pair.record.id for pair in found), *context]),
            time=max(pair.record.time for pair in found), base_model=ctx.model.fingerprint,
        )  # fmt: skip

    def _pool(self, outputs: Floats) -> Floats:
        pooled: Floats = outputs[-1] if self.position == "last" else outputs.mean(axis=0)
        return pooled

    def _effective(self, user: User, found: list[Pair], ctx: Context) -> tuple[list[Any], list[str]]:
        """Return which tokens of each answer the person's earlier records explain, and the ids of those records."""
        personal = []
        for pair in found:
            hits = find(user.before(pair.record.time), pair.call.query, self.newest)
            offered = pair.call.add(block(hits, NAME, NAME))
            personal.append(assemble(offered, ctx.tokens, ctx.model.count_tokens))
        effects = token_personalization_effects(
            ctx, personal, [pair.call for pair in found], [pair.personal for pair in found]
        )
        ids = [used.id for call in personal for used in call.used]
        return [effect >= self.threshold for effect in effects], ids
