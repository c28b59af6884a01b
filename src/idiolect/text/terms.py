"""Text to stemmed, hashed terms for BM25.

A term is the first 8 bytes of the BLAKE2b hash of a stem, so that an index holds numbers and no vocabulary. English is
stemmed with Snowball (Porter 2); words of scripts without spaces (Chinese, Japanese, Thai ...) become bigrams.
"""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Terms = npt.NDArray[np.uint64]

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")

STOP_WORDS = frozenset(
    "a an the and or but if then than that this these those of in on at to from for with by as is are was were be been"
    " being am it its i me my we our you your he she him her his hers they them their do does did doing have has had"
    " having will would can could should shall may might must not no so too very just about into over after before"
    " what which who whom whose when where why how there here s t d m ll re ve don".split()
)
"""Function words that carry no topic; left out of documents and queries alike."""

_CACHE_LIMIT = 1 << 18
_cache: dict[str, tuple[int, ...]] = {}
_lock = threading.Lock()
_stemmer = None


def _hash(stem: str) -> int:
    return int.from_bytes(blake2b(stem.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _learn(word: str) -> tuple[int, ...]:
    """Compute the term ids of one lower-case word and remember them."""
    global _stemmer
    with _lock:
        if _stemmer is None:
            import Stemmer

            _stemmer = Stemmer.Stemmer("english")
        if word in STOP_WORDS:
            ids: tuple[int, ...] = ()
        elif _UNSPACED.search(word):
            ids = tuple(_hash(word[i : i + 2]) for i in range(max(1, len(word) - 1)))
        else:
            ids = (_hash(_stemmer.stemWord(word)),)
        if len(_cache) >= _CACHE_LIMIT:
            _cache.clear()
        _cache[word] = ids
    return ids


def terms(text: str) -> list[int]:
    """Return the term ids of a text in order, repeats kept; a text of stop words alone gives an empty list."""
    out: list[int] = []
    for word in _WORD.findall(text.lower()):
        ids = _cache.get(word)
        if ids is None:
            ids = _learn(word)
        out += ids
    return out


def hash64(text: str) -> int:
    """Return a signed 64-bit hash, never 0; 0 for an empty text."""
    if not text:
        return 0
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True) or 1


@lru_cache(maxsize=1 << 16)
def speaker_hash(name: str) -> int:
    """Return the hash of a speaker's first name, in lower case; 0 for no name."""
    words = _WORD.findall(name.lower())
    return hash64(words[0]) if words else 0
