"""Numbers for (question, record) and (question, draft): what the scorers of :mod:`.heads` read.

A record is labelled by what it did to the person's own past questions (HYDRA, arXiv 2406.02888, section 3.2, softly).
Of drafts the person's own answer is told apart from what they answered to other questions and what others answered to
theirs: against texts of the model one would only learn who is human.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from idiolect.errors import ConfigError
from idiolect.measure.style import style_distance
from idiolect.prompting.shared.distillation import sigmoid
from idiolect.prompting.shared.feedback import Row, block, find
from idiolect.prompting.shared.heads import Weights, score
from idiolect.text.clusters import kmeans
from idiolect.types import Artifact, Call, Choose, Context, Embedder, Hit, Record, Used, User

Doubles = npt.NDArray[np.float64]

PROJECTED = 16
"""Numbers kept of a product or a difference of two vectors."""
PARTS = ("bm25", "dense", "session", "recency")
OWN, OTHERS = 3, 4
"""False answers to a past question: to other questions of the same person, and of other people."""
CHARS = 400
"""So much of a text is embedded: a request waits for it."""
COUNTED = 1000
"""So many of the newest records are counted for how often an output was given."""
_LATER = ("k", "share", "pool", "clusters", "drafts")
_DAY = 86400.0


@dataclass(frozen=True, eq=False)
class Person:
    """A person as the scorers see them: their ``latest`` newest records (there is at least one) and what they chose."""

    records: tuple[Record, ...]
    counts: Counter[str]
    """How often they gave each output."""
    embedder: Embedder

    @staticmethod
    def of(user: User, embedder: Embedder, latest: int) -> Person:
        """Look at somebody with a history."""
        history = user.history
        counts = Counter(_plain(record.output) for record in history[-COUNTED:])
        return Person(tuple(history[-max(1, latest) :]), counts, embedder)

    @cached_property
    def vector(self) -> Doubles:
        """Mean of the newest records' unit vectors, as a unit vector ``[dim]``."""
        mean = embedded(self.embedder, [record.text for record in self.records]).mean(axis=0)
        unit: Doubles = mean / max(float(np.linalg.norm(mean)), 1e-9)
        return unit

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """What they wrote or chose last."""
        return tuple(record.output for record in self.records if record.output.strip())

    @cached_property
    def written(self) -> Doubles:
        """Unit vectors of the outputs ``[outputs, dim]``."""
        return embedded(self.embedder, self.outputs)


@dataclass(frozen=True, eq=False)
class Seen:
    """One person's part of the table as numbers: ``(features, targets)`` of records and of drafts."""

    user: User
    person: Person
    ranking: tuple[Doubles, Doubles]
    drafting: tuple[Doubles, Doubles]
    records: tuple[Record, ...]
    """All that shaped them."""


@dataclass(frozen=True, eq=False)
class Net:
    """A scorer as it counts for one person; ``mixing`` ``[heads]``."""

    weights: Weights
    mixing: Doubles

    def __call__(self, features: Doubles) -> Doubles:
        """Return scores ``[n]`` for features ``[n, features]``."""
        return score(self.weights, features, self.mixing)


@dataclass(frozen=True)
class Search:
    """How candidates are found, and what is made of them."""

    name: str
    k: int
    pool: int
    clusters: int
    share: float
    drafts: int


def embedder_of(ctx: Context, name: str) -> Embedder:
    """Return the embedder; :class:`ConfigError` without one."""
    if ctx.embedder is None:
        raise ConfigError(f"method {name!r} reads vectors of records; set an embedder (minilm or static)")
    return ctx.embedder


def embedded(embedder: Embedder, texts: Sequence[str]) -> Doubles:
    """Return the texts' unit vectors ``[texts, dim]``; one at a time, because embedders remember single texts."""
    if not texts:
        return np.zeros((0, embedder.dim))
    return np.concatenate([embedder.embed([text[:CHARS]]) for text in texts]).astype(np.float64)


def offer(call: Call, user: User, person: Person, nets: tuple[Net, Net], how: Search, used: tuple[Used, ...]) -> Call:
    """Offer the best candidates by the first scorer and, with drafts, choose among them by the second.

    Raises :class:`ConfigError` where another method chooses among drafts already.
    """
    hits, vectors = spread_hits(user, call.query, person.embedder, pool=how.pool, clusters=how.clusters)
    if not hits and how.drafts <= 1:
        return call
    ranking, drafting = nets
    if hits:
        found = ranking(record_features(person, call.query, hits, vectors))
        order = np.argsort(-found, kind="stable")[: how.k]
        best = [Hit(hits[n].record, float(found[n]), {**hits[n].parts, "search": hits[n].score}) for n in order]
        call = call.add(block(best, how.name, how.name, how.share))
    if how.drafts > 1:
        if call.choose is not None:
            raise ConfigError(f"{how.name!r} and a method before it both choose among drafts; leave one of them out")
        call = replace(call, choose=Choose(how.drafts, partial(rate, drafting, person, call.query)))
    return replace(call, used=(*call.used, *used))


def rate(net: Net, person: Person, query: str, drafts: Sequence[str]) -> list[float]:
    """Return how much each draft is like an answer of the person's own to the question; an empty one comes last."""
    rated = net(draft_features(person, query, drafts))
    return [float(one) if draft.strip() else -1e9 for one, draft in zip(rated, drafts, strict=True)]


def spread_hits(user: User, query: str, embedder: Embedder, *, pool: int, clusters: int) -> tuple[list[Hit], Doubles]:
    """Return the best record of each of ``clusters`` groups of those found, best first, and vectors ``[hits, dim]``.

    Records that say the same again do not crowd out the others. Where they are fewer all come back.
    """
    hits = find(user, query, pool)
    vectors = embedded(embedder, [hit.record.text for hit in hits])
    if len(hits) <= clusters:
        return hits, vectors
    labels, _ = kmeans(vectors.astype(np.float32), clusters)
    firsts = sorted(int(np.flatnonzero(labels == label)[0]) for label in range(clusters))
    return [hits[place] for place in firsts], vectors[firsts]


def record_features(person: Person, query: str, hits: Sequence[Hit], vectors: Doubles) -> Doubles:
    """Return ``[hits, features]``: vectors' product and difference, the search's parts, age, length, frequency."""
    asked = embedded(person.embedder, [query])[0]
    parts = [[hit.score, *(hit.parts.get(name, 0.0) for name in PARTS)] for hit in hits]
    total = sum(person.counts.values())
    plain = [
        [
            np.log1p(max(0.0, person.records[-1].time - hit.record.time) / _DAY),
            np.log1p(len(hit.record.text)),
            person.counts[_plain(hit.record.output)] / max(1, total),
        ]
        for hit in hits
    ]
    near = (vectors @ asked)[:, None]
    products, differences = _projected(vectors * asked), _projected(vectors - asked)
    return np.concatenate([products, differences, near, np.array(parts), np.array(plain)], axis=1)


def draft_features(person: Person, query: str, drafts: Sequence[str]) -> Doubles:
    """Return ``[drafts, features]``: nearness to question and own outputs, and how far length and style are off."""
    asked = embedded(person.embedder, [query])[0]
    vectors = embedded(person.embedder, drafts)
    return np.array([_draft(person, asked, v, draft) for v, draft in zip(vectors, drafts, strict=True)])


def seen(table: Sequence[tuple[User, list[Row]]], ctx: Context, name: str, latest: int) -> list[Seen]:
    """Turn a feedback table into examples, people without rows left out, by their ids.

    The target of a record is the sigmoid of its gain over the mean absolute gain, so that nats for a label and nats for
    a byte weigh alike. Raises :class:`ConfigError` for fewer people than the operator asks for.
    """
    embedder = embedder_of(ctx, name)
    people = sorted(((user, rows) for user, rows in table if rows), key=lambda pair: pair[0].id)
    least = max(1, 1 if ctx.peers is None else ctx.peers.least)
    if len(people) < least:
        raise ConfigError(
            f"method {name!r} learns from many people's past questions: {len(people)} of {len(table)} have any, "
            f"at least {least} are needed"
        )
    unit = float(np.mean(np.concatenate([np.abs(row.gains) for _, rows in people for row in rows])))
    golds = [[row.replay.gold for row in rows] for _, rows in people]
    out = []
    for place, (user, rows) in enumerate(people):
        person = Person.of(user, embedder, latest)
        others = [gold for n, part in enumerate(golds) if n != place for gold in part]
        ranked, drafted = [], []
        for n, row in enumerate(rows):
            vectors = embedded(embedder, [hit.record.text for hit in row.hits])
            ranked.append(record_features(person, row.replay.call.query, row.hits, vectors))
            rng = np.random.default_rng([place, n])
            drafted.append(_told_apart(person, row, golds[place], others, rng))
        targets = [sigmoid(row.gains.astype(np.float64) / max(unit, 1e-9)) for row in rows]
        ranking = np.concatenate(ranked), np.concatenate(targets)
        drafting = np.concatenate([f for f, _ in drafted]), np.concatenate([t for _, t in drafted])
        out.append(Seen(user, person, ranking, drafting, _records(user, rows, latest)))
    return out


def find_made(user: User, owner: str, name: str, settings: dict[str, object], ctx: Context) -> Artifact | None:
    """Return the newest artifact of a method that was learnt with these settings, this model and this embedder."""
    wanted = learnt_settings(settings, ctx)
    fits = (a for a in user.artifacts if a.method == name and a.user_id == owner and a.settings == wanted)
    return next((a for a in fits if a.base_model == ctx.model.fingerprint), None)


def learnt_settings(settings: dict[str, object], ctx: Context) -> dict[str, object]:
    """Return settings with the embedder's fingerprint and without those that learning does not depend on."""
    fingerprint = "" if ctx.embedder is None else ctx.embedder.fingerprint
    kept = {key: value for key, value in settings.items() if key not in _LATER}
    return {**kept, "embedder": fingerprint}


def _records(user: User, rows: Sequence[Row], latest: int) -> tuple[Record, ...]:
    used = [*user.history[-latest:], *(row.replay.record for row in rows), *(r for row in rows for r in row.candidates)]
    return tuple(sorted({record.id: record for record in used}.values(), key=lambda record: (record.time, record.id)))


def _told_apart(
    person: Person, row: Row, own: Sequence[str], others: Sequence[str], rng: np.random.Generator
) -> tuple[Doubles, Doubles]:
    gold = row.replay.gold
    wrong = [
        str(text)
        for pool, n in ((own, OWN), (others, OTHERS))
        for text in _drawn(sorted({text for text in pool if _plain(text) != _plain(gold)}), n, rng)
    ]
    features = draft_features(person, row.replay.call.query, [gold, *dict.fromkeys(wrong)])
    targets = np.zeros(len(features))
    targets[0] = 1.0
    return features, targets


def _drawn(texts: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    return [texts[place] for place in rng.permutation(len(texts))[:n]]


def _draft(person: Person, asked: Doubles, vector: Doubles, draft: str) -> list[float]:
    cosines = person.written @ vector if len(person.written) else np.zeros(1)
    lengths = [np.log1p(len(text)) for text in person.outputs] or [0.0]
    return [
        float(vector @ asked),
        float(vector @ person.vector),
        float(cosines.max()),
        float(cosines.mean()),
        float(abs(np.log1p(len(draft)) - np.mean(lengths))),
        style_distance([draft], person.outputs),
        person.counts[_plain(draft)] / max(1, sum(person.counts.values())),
    ]


def _projected(values: Doubles) -> Doubles:
    """Project ``[n, dim]`` to ``[n, PROJECTED]`` by fixed random directions: too few people would teach better ones."""
    directions = np.random.default_rng(0).normal(size=(values.shape[1], PROJECTED))
    return values @ directions


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
