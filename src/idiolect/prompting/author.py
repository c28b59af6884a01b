"""Author features: how a person writes, counted and set against others, with examples of what they are not.

AP-Bots (arXiv:2504.08745). No model reads the history: the features are counted
(:mod:`idiolect.text.features`). In place of a tagger and a parser there are word lists, endings and neighbouring words;
polarity is left out, since a word list says little of it. Where enough people share, each number is told against their
mean, and words are ranked by how much more this person uses them than others do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import orjson

from idiolect.prompting.shared.learnt import due
from idiolect.registry import method
from idiolect.text.features import Features, features
from idiolect.text.rendering import shorten
from idiolect.text.terms import hash64
from idiolect.types import Artifact, Block, Call, Context, Floats, Item, Record, Used, User

_BUCKETS = 1024
"""Other people's words are compared as shares of texts in so many hash buckets; no word of theirs is held."""
_RARE = 0.02  # a share of texts that is as good as none
_NUMBERS = (
    ("Length", "{:.0f} words a text", "longer", "shorter", 1.0),
    ("Adverbs", "{:.1f} % of words", "more", "fewer", 100.0),
    ("Adjectives", "{:.1f} % of words", "more", "fewer", 100.0),
    ("Pronouns", "{:.1f} % of words", "more", "fewer", 100.0),
    ("Reading grade (SMOG)", "{:.0f}", "harder to read", "easier to read", 1.0),
)
"""Name, value, how it reads above and below others by a whole deviation, scale; ordered as `Features.numbers`."""
_TITLE = "How this person writes, counted over their texts (match it where you write for them):"
_CONTRAST = "Written by OTHER people, not by this person, and unlike them; shown so that you see what to avoid:"


@method("author", level="input", paper="arXiv:2504.08745", peers=True)
@dataclass(frozen=True)
class Author:
    """Put counted features of the person's writing before the question, and texts of people unlike them."""

    texts: int = 100
    """Features are counted over so many of the latest texts."""
    entries: int = 10
    """Words, word pairs and names: at most so many of each."""
    contrast: Literal["far", "near_random", "none"] = "far"
    """Whose texts are shown as contrast: the least similar people's, or (what the published ordering amounts to)
    almost random people's, or nobody's."""
    others: int = 3
    """So many other people."""
    examples: int = 1
    """So many texts of each, those that match the question best."""
    chars: int = 300
    """Cut a text of another person at so many characters."""
    seed: int = 0
    """Which people are drawn where ``contrast`` is ``near_random``."""
    refresh: int = 20
    """Count anew once so many records have come since."""
    share: float = 1.0
    """Part of the token budget relative to the other slots, for each of the two blocks."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the features as a stable block and the contrast after it."""
        artifact = self._current(user)
        if artifact is None:
            return call
        lines = self._lines(_read(artifact), self._others_mean(user, ctx))
        items = tuple(
            Item(f"- {text}", Used("artifact", artifact.id, "author", "author", 1.0), 1.0 - i / 1e3, order=i)
            for i, text in enumerate(lines)
        )
        call = call.add(Block("author", _TITLE, items, self.share, stable=True))
        return call.add(Block("author_contrast", _CONTRAST, self._contrast(call.query, user, ctx), self.share))

    def stale(self, user: User) -> bool:
        """Whether nothing is counted yet or ``refresh`` records have come since."""
        artifact = self._current(user)
        if artifact is None:
            return user.count > 0
        return due(user, int(orjson.loads(artifact.payload)["records"]), self.refresh)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Count each person's features; somebody without a word written has none."""
        for user in users:
            own = _written(user, self.texts)
            found = features([record.output for record in own])
            if not found.length:
                continue
            payload = orjson.dumps({"records": user.count, "features": asdict(found)})
            yield Artifact.new(
                user.id, "features", method="author", settings={"texts": self.texts}, payload=payload,
                record_ids=[record.id for record in own], time=max(record.time for record in own),
            )  # fmt: skip

    def _current(self, user: User) -> Artifact | None:
        wanted = {"texts": self.texts}
        return next((a for a in user.artifacts if a.method == "author" and a.settings == wanted), None)

    def _others_mean(self, user: User, ctx: Context) -> tuple[Floats, Floats] | None:
        """Return mean and deviation of others' numbers and word buckets, ``[5 + buckets]`` each."""
        if ctx.peers is None:
            return None
        found = ctx.peers.statistics(f"author/{self.texts}", self._measure, user)
        return None if found is None else (found.mean, found.std)

    def _measure(self, user: User) -> Floats | None:
        found = features([record.output for record in _written(user, self.texts)])
        if not found.length:
            return None
        buckets = np.zeros(_BUCKETS, np.float32)
        for word, part in found.words:
            buckets[hash64(word) % _BUCKETS] += part
        return np.concatenate([np.array(found.numbers, np.float32), buckets])

    def _lines(self, found: Features, others: tuple[Floats, Floats] | None) -> list[str]:
        mean, std = others or (None, None)
        lines = []
        for at, ((name, form, above, below, scale), value) in enumerate(zip(_NUMBERS, found.numbers, strict=True)):
            text = f"{name}: {form.format(value * scale)}"
            if mean is not None and std is not None:
                usual = form.format(float(mean[at]) * scale)
                near = abs(value - float(mean[at])) < float(std[at]) or form.format(value * scale) == usual
                how = "as most" if near else f"{above if value > mean[at] else below} than most"
                text += f"; {how}, others {usual.split(' ')[0]}"
            lines.append(text)
        words = found.words if mean is None else _distinctive(found.words, mean[len(_NUMBERS) :])
        named = ("Typical words", words), ("Frequent word pairs", found.pairs), ("Names", found.names)
        lists = [f"{name}: {', '.join(entry for entry, _ in some[: self.entries])}" for name, some in named if some]
        return [*lists, *lines]

    def _contrast(self, query: str, user: User, ctx: Context) -> tuple[Item, ...]:
        people = self._people(user, ctx)
        return tuple(
            Item(
                f"- {shorten(record.output, self.chars)}",
                Used("record", record.id, "author", "author_contrast", -similarity, owner=record.user_id),
                1.0 - place / 1e3,
                order=place,
            )
            for place, (other, similarity) in enumerate(people)
            for record in self._texts_of(other, query)
        )

    def _people(self, user: User, ctx: Context) -> list[tuple[User, float]]:
        if ctx.peers is None or self.contrast == "none":
            return []
        if self.contrast == "far":
            near = ctx.peers.near(user, self.others, farthest=True)
        else:
            everybody = ctx.peers.near(user, 1 << 30)
            near = sorted(everybody, key=lambda one: hash64(f"{self.seed}/{user.id}/{one.user.id}"))[: self.others]
        return [(one.user, one.similarity) for one in near]

    def _texts_of(self, other: User, query: str) -> Sequence[Record]:
        """Return what another person wrote nearest to the question; their newest texts where nothing matches."""
        hits = other.search(query, 4 * self.examples, kinds=("content", "dialogue", "interaction", "preference"))
        found = [hit.record for hit in hits if _own(hit.record)]
        newest = [record for record in reversed(other.history) if _own(record) and record.kind != "profile"]
        return (found or newest)[: self.examples]


def _own(record: Record) -> bool:
    return bool(record.output.strip()) and not record.meta.get("speaker")


def _written(user: User, n: int) -> list[Record]:
    """Return a person's latest texts, without what somebody else says in their records."""
    own = [record for record in user.history if _own(record)]
    return own[max(0, len(own) - n) :]


def _read(artifact: Artifact) -> Features:
    found = Features(**orjson.loads(artifact.payload)["features"])
    words, pairs, names = ([(e, part) for e, part in some] for some in (found.words, found.pairs, found.names))
    return replace(found, words=tuple(words), pairs=tuple(pairs), names=tuple(names))


def _distinctive(words: Sequence[tuple[str, float]], others: Floats) -> list[tuple[str, float]]:
    """Rank words by share of texts times the log of how much more this person uses them; the rest are left out."""
    scored = []
    for word, part in words:
        usual = float(others[hash64(word) % _BUCKETS])
        scored.append((word, part * float(np.log((part + _RARE) / (usual + _RARE)))))
    return [one for one in sorted(scored, key=lambda one: (-one[1], one[0])) if one[1] > 0]
