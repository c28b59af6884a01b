"""CHAMELEON: a layer's states are stretched along what is the person's and flattened along what is not.

arXiv:2503.01048: ``h + alpha <h, p> p - beta <h, n> n``. It needs no choices of the person. The paper has
the model imagine personal and neutral answers from a summary of the person; here the pairs are the person's own texts
and what the model writes to the same questions when it knows nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from idiolect.adaptation.shared.attach import plain
from idiolect.errors import ConfigError
from idiolect.inside import Inside
from idiolect.prompting.shared.effect import inside
from idiolect.prompting.shared.learnt import due, newest
from idiolect.prompting.shared.vectors import Pair, layer_of, pack, pairs, states, unpack
from idiolect.registry import method
from idiolect.types import Artifact, Call, Context, Floats, Steer, Used, User

NAME = "chameleon"


@method(NAME, level="objective", paper="arXiv:2503.01048", needs=("steering",), fit_needs=("inside",))
@dataclass(frozen=True)
class Chameleon:
    """Strengthen in the model's states what sets the person's texts apart, and weaken what does not.

    A text is the mean state of its tokens. What all of the person's texts have before the model's own is the personal
    direction; the neutral one is that in which the pairs differ whatever they are about.
    """

    alpha: float = 0.5
    """How much of the part along the personal direction is added to it; 0 leaves it."""
    beta: float = 0.5
    """How much of the part along the neutral direction is taken away, 1 for all of it; 0 leaves it."""
    layers: tuple[int, ...] = (-1,)
    """Which layers' outputs are edited, from 0; -1 is the middle one."""
    newest: int = 16
    """How many of the person's latest records are used."""
    tokens: int = 64
    """Longest neutral text."""
    refresh: int = 20
    """Find the directions anew once so many records have come since."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Edit the states along the person's directions."""
        artifact = self.current(user, ctx.model.fingerprint) if self.alpha or self.beta else None
        if artifact is None:
            return call
        head, directions = unpack(artifact.payload)  # [layers, 2, hidden]
        steering = tuple(
            Steer(layer, vector, strength, along=True)
            for layer, both in zip(head["layers"], directions, strict=True)
            for vector, strength in zip(both, (self.alpha, -self.beta), strict=True)
            if strength and vector.any()
        )
        if not steering:
            return call
        used = Used("artifact", artifact.id, NAME, NAME, self.alpha)
        return replace(call, steering=(*call.steering, *steering), used=(*call.used, used))

    def current(self, user: User, base_model: str = "") -> Artifact | None:
        """Return the newest directions found with these settings, and inside that model where one is named."""
        return newest(user, NAME, self._learnt, base_model)

    @property
    def _learnt(self) -> dict[str, Any]:
        return plain(self, without=("alpha", "beta", "refresh"))

    def stale(self, user: User) -> bool:
        """Whether there are no directions yet or ``refresh`` records have come since they were found."""
        artifact = self.current(user)
        if artifact is None:
            return user.count > 0
        return due(user, int(unpack(artifact.payload)[0]["records"]), self.refresh)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Find each person's directions; those of somebody who writes as the model does are zero and edit nothing."""
        model = inside(ctx, f"fit {NAME}")
        layers = list(dict.fromkeys(layer_of(model, layer) for layer in self.layers))
        if not layers:
            raise ConfigError("chameleon.layers is empty; name the layers to edit, or -1 for the middle one")
        for user in users:
            found, empty = pairs(user, ctx, self.newest, self.tokens)
            if found:
                yield self._artifact(user, found, empty, layers, model, ctx)

    def _artifact(
        self, user: User, found: list[Pair], empty: int, layers: list[int], model: Inside, ctx: Context
    ) -> Artifact:
        both = np.stack([directions(*map(_means, states(model, found, layer))) for layer in layers])
        head = {"layers": layers, "pairs": len(found), "malformed": empty, "records": len(user.history)}
        return Artifact.new(
            user.id, "vectors", method=NAME, settings=self._learnt, payload=pack(head, both, half=True),
            record_ids=[pair.record.id for pair in found], time=max(pair.record.time for pair in found),
            base_model=ctx.model.fingerprint,
        )  # fmt: skip


def directions(personal: Floats, neutral: Floats) -> Floats:
    """Return the personal and the neutral direction, ``[2, hidden]``, at right angles and of length 1 or 0.

    ``personal`` and ``neutral`` are the states of the pairs' texts, ``[pairs, hidden]``. The personal direction is the
    first right singular vector of their differences: the one that all of them have most of. The neutral one is found
    without telling which text of a pair is whose. The paper searches it by gradient (contrast-consistent search,
    arXiv:2212.03827). Here it is that work's closed form, the first principal direction of the differences once either
    side's mean is taken from it: with a handful of pairs in hundreds of dimensions nearly any direction satisfies the
    search's loss, and where it ends is its random start; this one is unique, and needs no start. What it has of the
    personal direction is left out, or the one edit would undo the other and their order count.
    """
    apart = personal.astype(np.float64) - neutral.astype(np.float64)
    own = _first(apart)
    own = own if (apart @ own).sum() >= 0 else -own
    left = apart - apart.mean(axis=0)
    other = _first(left - np.outer(left @ own, own))
    return np.stack([own, other]).astype(np.float32)


def _first(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the first right singular vector, its largest number positive; zeros for rows that are nothing."""
    if np.abs(rows).max() < 1e-6:
        return np.zeros(rows.shape[1])
    found: npt.NDArray[np.float64] = np.linalg.svd(rows, full_matrices=False)[2][0]
    return found if found[np.abs(found).argmax()] > 0 else -found


def _means(outputs: Sequence[Floats]) -> Floats:
    means: Floats = np.stack([one.mean(axis=0) for one in outputs])
    return means
