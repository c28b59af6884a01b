"""How far somebody's training has come, and the form in which that is kept."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
import orjson

from idiolect.types import Floats

SAVE_SECONDS = 60.0
"""So often unfinished work is saved."""


@dataclass
class Unfinished:
    """Steps made, losses of the finished passes, and the sums of the one under way."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    total: float = 0.0
    weight: float = 0.0
    state: Floats = field(default_factory=lambda: np.zeros((3, 0), np.float32))
    best: Floats | None = None
    counts: list[int] = field(default_factory=list)
    """Steps that each person's own part was in, where not every step is in all."""
    bare: float | None = None
    """Held-out loss without what is trained, where it was measured."""

    def add(self, loss: float, weight: float) -> None:
        """Count a token's loss [nats]."""
        self.total += loss * weight
        self.weight += weight

    def end_epoch(self) -> None:
        """Note the mean loss of the pass that is complete."""
        self.losses.append(self.total / self.weight)
        self.total = self.weight = 0.0

    def dump(self, digest: str, state: Floats, best: Floats | None) -> bytes:
        """Serialise, with factors and moments ``[3, numbers]`` and the best factors so far ``[numbers]``."""
        head = {
            "digest": digest, "step": self.step, "losses": self.losses, "held": self.held, "total": self.total,
            "weight": self.weight, "counts": self.counts, "bare": self.bare,
        }  # fmt: skip
        out, arrays = io.BytesIO(), {"state": state} if best is None else {"state": state, "best": best}
        np.savez(out, head=np.frombuffer(orjson.dumps(head), np.uint8), **arrays)  # type: ignore[arg-type]
        return out.getvalue()

    @staticmethod
    def load(data: bytes | None, digest: str) -> Unfinished | None:
        """Inverse of :meth:`dump`; ``None`` for what was saved of other examples, another recipe or model."""
        if data is None:
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            head = orjson.loads(found["head"].tobytes())
            arrays = {name: found[name] for name in ("state", "best") if name in found.files}
        if head.pop("digest") != digest:
            return None
        return Unfinished(**head, **arrays)
