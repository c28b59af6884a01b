"""A person as a vector: the mean of what an embedder makes of their records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from idiolect.errors import ConfigError
from idiolect.types import Context, Floats, Record, User


def readable(user: User, most: int) -> list[Record]:
    """Return a person's newest records that say something, oldest first."""
    return [record for record in user.history[-most:] if record.text.strip()]


def vectors_of(user: User, records: Sequence[Record], ctx: Context, method: str) -> Floats:
    """Return the vectors ``[records, dim]`` of some of a person's records; those that the store keeps cost nothing.

    Raises :class:`ConfigError` without an embedder.
    """
    if ctx.embedder is None:
        raise ConfigError(f"{method} reads records through an embedder; set embedder to 'minilm' or 'static'")
    found = user.embedded([record.id for record in records])
    vectors = np.zeros((len(records), ctx.embedder.dim), np.float32) if found is None else found
    missing = np.flatnonzero(~vectors.any(axis=1))
    if len(missing):
        vectors[missing] = ctx.embedder.embed([records[int(n)].text for n in missing])
    return vectors
