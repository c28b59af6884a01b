"""A persona as entries, each with the records it rests on (Persona-DB, arXiv:2402.11060, section 3.2).

``distilled`` entries are read off records, ``induced`` ones follow from several of those. A model writes them as JSON
objects; what does not have that form is counted. Without a model that can, words and choices are counted instead.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import orjson

from idiolect.text.rendering import shorten
from idiolect.text.terms import STOP_WORDS
from idiolect.types import Floats, Record

PLAIN = ("values", "topics", "beliefs", "profession", "roles", "patterns")
SENSITIVE = ("ideology", "morals")
"""What is not inferred unless it is asked for."""
_OBJECT = re.compile(r"\{[^{}]*\}")
_WORD = re.compile(r"[^\W\d_]{3,}")
_KEY_CHARS, _VALUE_CHARS = 60, 200


@dataclass(frozen=True)
class Entry:
    """One thing said about a person, and the ids of the records it rests on."""

    layer: Literal["distilled", "induced"]
    category: str
    key: str
    value: str
    record_ids: tuple[str, ...]

    @property
    def text(self) -> str:
        """What is shown, and what it is found by."""
        return f"{self.key}: {self.value}"

    @property
    def name(self) -> str:
        """The key in a form in which the same keys are equal."""
        return " ".join(re.findall(r"\w+", self.key.casefold()))


@dataclass(frozen=True)
class Parsed:
    """Usable entries, and how many were malformed, of a category not asked for, or there already."""

    entries: tuple[Entry, ...]
    malformed: int = 0
    refused: int = 0
    repeated: int = 0


def parse(
    answer: str,
    evidence: Sequence[Sequence[str]],
    allowed: Sequence[str],
    layer: Literal["distilled", "induced"] = "distilled",
    known: Iterable[Entry] = (),
) -> Parsed:
    """Read the JSON objects of an answer; the numbers in ``records`` count the ``evidence`` from 1.

    Entries whose key is among the ``known`` ones are dropped: the layers do not repeat each other.
    """
    names = {entry.name for entry in known}
    found: list[Entry] = []
    counts: Counter[str] = Counter()
    texts = _OBJECT.findall(answer)
    for text in texts:
        entry = _entry(text, evidence, layer)
        if entry is None:
            counts["malformed"] += 1
        elif entry.category not in allowed:
            counts["refused" if entry.category in SENSITIVE else "malformed"] += 1
        elif entry.name in names:
            counts["repeated"] += 1
        else:
            names.add(entry.name)
            found.append(entry)
    return Parsed(tuple(found), counts["malformed"] or int(not texts), counts["refused"], counts["repeated"])


def _entry(text: str, evidence: Sequence[Sequence[str]], layer: Literal["distilled", "induced"]) -> Entry | None:
    try:
        row = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    category, key, value, numbers = (row.get(name) for name in ("category", "key", "value", "records"))
    if not all(isinstance(part, str) and part.strip() for part in (category, key, value)):
        return None
    if not isinstance(numbers, list) or not numbers:
        return None
    if not all(type(n) is int and 1 <= n <= len(evidence) for n in numbers):
        return None
    ids = tuple(dict.fromkeys(rid for n in numbers for rid in evidence[n - 1]))
    entry = Entry(layer, category.strip().casefold(), shorten(key, _KEY_CHARS), shorten(value, _VALUE_CHARS), ids)
    return entry if entry.name else None


def counted(history: Sequence[Record], most: int) -> tuple[Entry, ...]:
    """Return entries made by counting: what the person chooses again and again, and words that come back."""
    given = [record for record in history if record.input and 0 < len(record.output.strip()) <= 40]
    choices = Counter(record.output for record in given)
    entries = [
        Entry(
            "distilled", "patterns", f"often gives {shorten(output, 40)}", f"{n} of {len(given)} times",
            tuple(record.id for record in given if record.output == output),
        )
        for output, n in choices.most_common(3)
        if n >= 2
    ]  # fmt: skip
    where: dict[str, list[str]] = {}
    for record in history:
        for word in dict.fromkeys(w for w in _WORD.findall(record.output.lower()) if w not in STOP_WORDS):
            where.setdefault(word, []).append(record.id)
    often = sorted((word for word, ids in where.items() if len(ids) >= 2), key=lambda w: (-len(where[w]), w))
    for word in often[: max(0, most - len(entries))]:
        ids = tuple(where[word])
        entries.append(Entry("distilled", "topics", word, f"in {len(ids)} of {len(history)} records", ids))
    return tuple(entries[:most])


@dataclass(frozen=True, eq=False)
class Persona:
    """All entries about one person, the vectors of their texts ``[entries, dim]``, and how they were made."""

    entries: tuple[Entry, ...]
    vectors: Floats | None = None
    embedder: str = ""
    records: int = 0
    malformed: int = 0
    refused: int = 0
    repeated: int = 0

    def dump(self) -> bytes:
        """Return a JSON line and the vectors as float32."""
        head: dict[str, Any] = {
            name: getattr(self, name) for name in ("embedder", "records", "malformed", "refused", "repeated")
        }
        head["entries"] = [asdict(entry) for entry in self.entries]
        data = b"" if self.vectors is None else self.vectors.astype("<f4").tobytes()
        return orjson.dumps(head) + b"\n" + data

    @staticmethod
    def load(payload: bytes) -> Persona:
        """Inverse of :meth:`dump`."""
        line, _, data = payload.partition(b"\n")
        head = orjson.loads(line)
        entries = tuple(Entry(**{**row, "record_ids": tuple(row["record_ids"])}) for row in head.pop("entries"))
        vectors = np.frombuffer(data, "<f4").reshape(len(entries), -1) if data else None
        return Persona(entries, vectors, **head)

    def without(self, categories: Sequence[str]) -> Persona:
        """Return it without the entries of some categories."""
        rows = [n for n, entry in enumerate(self.entries) if entry.category not in categories]
        vectors = None if self.vectors is None else self.vectors[rows]
        return replace(self, entries=tuple(self.entries[n] for n in rows), vectors=vectors)

    def centre(self, embedder: str) -> Floats | None:
        """Return the unit mean ``[dim]`` of the vectors of an embedder; ``None`` where there are none of it."""
        if self.vectors is None or self.embedder != embedder:
            return None
        mean = self.vectors.mean(axis=0)
        norm = float(np.linalg.norm(mean))
        return None if norm == 0 else np.asarray(mean / norm, np.float32)
