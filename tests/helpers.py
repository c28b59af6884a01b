"""Small shared pieces: a store in a folder, a fake embedder, records."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from idiolect.store.keys import MasterKey
from idiolect.store.store import Store
from idiolect.types import Floats, Record


class HashEmbedder:
    """Deterministic vectors: the sum of a fixed random vector per word, so that shared words mean nearness."""

    dim = 48

    def __init__(self, name: str = "hash-1") -> None:
        self.fingerprint = name
        self.calls = 0

    def _word(self, word: str) -> Floats:
        seed = int.from_bytes(hashlib.blake2b((self.fingerprint + word).encode(), digest_size=4).digest(), "little")
        return np.random.default_rng(seed).normal(size=self.dim).astype(np.float32)

    def embed(self, texts: Sequence[str]) -> Floats:
        self.calls += 1
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            words = text.lower().split()
            if words:
                out[row] = np.sum([self._word(w) for w in words], axis=0)
                out[row] /= np.linalg.norm(out[row])
        return out


def open_store(folder: Path, embedder: Any = None, **kwargs: Any) -> Store:
    master = MasterKey(f"file:{folder}/keys/master.key")
    return Store.open(folder / "data", folder / "keys", master, embedder, **kwargs)


def say(user: str, text: str, time: float, session: str = "", speaker: str = "", **more: Any) -> Record:
    meta = {k: v for k, v in (("session", session), ("speaker", speaker)) if v}
    return Record.new(
        user, text, time=time, kind=more.pop("kind", "dialogue"), meta={**meta, **more.pop("meta", {})}, **more
    )


def words(rng: np.random.Generator, n: int, vocabulary: int = 400) -> str:
    return " ".join(f"w{int(i)}" for i in rng.zipf(1.3, n) % vocabulary)
