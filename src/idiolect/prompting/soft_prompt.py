"""Soft prompt: the person as a few vectors before the prompt, made by one encoder that was trained over many people.

The encoder (:mod:`idiolect.training.user_encoder`) learns from people's own later records: what stood before them is
asked again with the earlier ones as history, the language model's weights stay as they are. What people who share look
like to the encoder is kept beside it, so that answering them embeds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import cast

import numpy as np

from idiolect.errors import ConfigError
from idiolect.prompting.shared.learnt import due
from idiolect.prompting.shared.replay import latest
from idiolect.registry import method
from idiolect.training.difference import differences
from idiolect.training.soft_prompts import Example, Fitted, Model, Training, fit
from idiolect.training.user_encoder import HeadName, Person, UserEncoder, items_of, pack, unpack
from idiolect.types import EVERYONE, Artifact, Call, Context, Embedder, Floats, Record, Used, User

HISTORY = 64
"""So many of the newest records are read."""
EVERY = 5
"""Every fifth person is not fitted to but tells when to stop."""
_ENCODER, _TOKENS = "encoder", "soft_tokens"
_NEAREST, _OF_A_PEER, _KNOWN = 8, 16, 1000


@method(
    "soft_prompt", level="input", needs=("soft_prompt",), fit_needs=("inside",), peers=True, together=True,
    paper="arXiv:2409.11901, arXiv:2408.00960, arXiv:2402.13598, arXiv:2507.20849, arXiv:2501.03276",
)  # fmt: skip
@dataclass(frozen=True)
class SoftPrompt:
    """Put the person before the prompt as a few vectors that a trained encoder makes of their newest records."""

    head: HeadName = "attention"
    """How records become vectors: ``attention`` weighs them by the question (PPlug), ``mean`` (PERSOMA) and
    ``resampler`` (User-LLM) do not, ``compressed`` compresses each by itself (ComMer), ``difference`` also tells what
    sets the person apart from others (DEP)."""
    tokens: int = 4
    """Soft tokens; they count against the token budget."""
    steps: int = 100
    """Most steps of training; it ends earlier once people it was not fitted to are no longer served better."""
    rate: float = 3e-3
    """Rate of learning."""
    batch: int = 8
    """Examples in a step."""
    replays: int = 4
    """So many of each person's latest records are what is learnt."""
    refresh: int = 20
    """What was kept of a person serves until so many records have come since; then the records are read again."""
    seed: int = 0
    """Of the first weights and of what is left out at random."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Set the person's soft prompt, behind one that is there already."""
        encoder = self._encoder(user, ctx)
        if encoder is None or not 0 < self.tokens <= ctx.tokens or user.count == 0:
            return call
        soft, used = self._kept(user, encoder) or self._encoded(call, user, ctx, encoder)
        if soft is None:
            return call
        whole = soft if call.soft_prompt is None else np.concatenate([call.soft_prompt, soft])
        return replace(call, soft_prompt=whole, used=(*call.used, *used, _used("artifact", encoder.id)))

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train the encoder over all users; yield it, then what it makes of each of them."""
        if ctx.embedder is None:
            raise ConfigError("soft_prompt reads records through an embedder; set embedder to 'minilm' or 'static'")
        everybody, reader = list(users), _Reader(ctx, self.head == "difference", ctx.embedder)
        asked = self._asked(everybody, ctx, reader)
        if not asked.examples:
            return
        model = cast("Model", ctx.model)
        start = UserEncoder.new(
            self.head, ctx.embedder.dim, self.tokens, model.hidden, model.embedding_norm, seed=self.seed
        )
        made = self._train(model, start, asked, ctx)
        settings = {**asdict(self), "embedder": ctx.embedder.fingerprint}
        held = {} if made.plain is None or made.held is None else {"plain": made.plain, "held": made.held}
        encoder = Artifact.new(
            EVERYONE, _ENCODER, method="soft_prompt", settings=settings, payload=made.encoder.to_bytes(), record_ids=(),
            time=asked.time, base_model=ctx.model.fingerprint, people=asked.people | reader.people,
            scores={"steps": len(made.losses), **held},
        )  # fmt: skip
        yield encoder
        if self.head != "attention":
            yield from self._each(everybody, encoder, reader)

    def _asked(self, users: Sequence[User], ctx: Context, reader: _Reader) -> _Asked:
        asked = _Asked()
        for user in users:
            earlier, replays = latest(user, ctx.template, self.replays)
            seen = newest(earlier)
            if not seen or not replays:
                continue
            asked.examples += [(len(asked.persons), replay.call, replay.gold) for replay in replays]
            asked.persons.append(reader.person(earlier, seen)[0])
            asked.people.add(user.id)
            asked.time = max(asked.time, *(replay.record.time for replay in replays))
        return asked

    def _train(self, model: Model, start: UserEncoder, asked: _Asked, ctx: Context) -> Fitted:
        assert ctx.embedder is not None
        fitted = [example for example in asked.examples if example[0] % EVERY != EVERY - 1]
        held = [example for example in asked.examples if example[0] % EVERY == EVERY - 1]
        queries = [list(_queries(part, ctx.embedder)) for part in (fitted, held)]
        training = Training(steps=self.steps, rate=self.rate, batch=self.batch, seed=self.seed)
        return fit(
            model, start, asked.persons, fitted, training,
            queries=queries[0], held=held, held_queries=queries[1], progress=ctx.progress,
        )  # fmt: skip

    def _each(self, users: Sequence[User], encoder: Artifact, reader: _Reader) -> Iterator[Artifact]:
        """Yield what an encoder that knows no question makes of each person."""
        coder = UserEncoder.from_bytes(encoder.payload)
        for user in users:
            seen = newest(user)
            if not seen:
                continue
            person, others = reader.person(user, seen)
            tokens = _short(coder.encode(person))
            yield Artifact.new(
                user.id, _TOKENS, method="soft_prompt", settings=encoder.settings,
                payload=pack({"tokens": tokens}, {"encoder": encoder.id, "records": user.count}),
                record_ids=(record.id for record in seen), time=max(encoder.time, *(r.time for r in (*seen, *others))),
                base_model=encoder.base_model, people={*encoder.people, *(r.user_id for r in others)} - {user.id},
            )  # fmt: skip

    def _encoder(self, user: User, ctx: Context) -> Artifact | None:
        """Return the newest encoder of this head for this language model and embedder."""
        if ctx.embedder is None:
            return None
        wanted = {"head": self.head, "tokens": self.tokens, "embedder": ctx.embedder.fingerprint}
        mine = (
            a for a in user.artifacts
            if a.method == "soft_prompt" and a.kind == _ENCODER and a.base_model == ctx.model.fingerprint
            and wanted.items() <= a.settings.items()
        )  # fmt: skip
        return next(mine, None)

    def _kept(self, user: User, encoder: Artifact) -> tuple[Floats | None, list[Used]] | None:
        """Return what was kept of a person, while it still stands for them."""
        for artifact in user.artifacts:
            if artifact.kind != _TOKENS or artifact.method != "soft_prompt":
                continue
            arrays, meta = unpack(artifact.payload)
            if meta["encoder"] == encoder.id and not due(user, int(meta["records"]), self.refresh):
                return arrays["tokens"], [_used("artifact", artifact.id)]
        return None

    def _encoded(self, call: Call, user: User, ctx: Context, encoder: Artifact) -> tuple[Floats | None, list[Used]]:
        """Encode the newest records now."""
        seen = newest(user)
        if not seen:
            return None, []
        assert ctx.embedder is not None
        person, others = _Reader(ctx, self.head == "difference", ctx.embedder).person(user, seen)
        query = ctx.embedder.embed([call.query])[0] if self.head == "attention" else None
        coder = UserEncoder.from_bytes(encoder.payload)
        weighing = coder.weighing(person, query)
        used = [_used("record", r.id, float(weight)) for r, weight in zip(seen, weighing, strict=True)]
        used += [replace(_used("record", r.id), owner=r.user_id) for r in others]
        return _short(coder.encode(person, query)), used


@dataclass
class _Asked:
    # What the encoder learns from: people as they were, and what each of them gave later.
    persons: list[Person] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    people: set[str] = field(default_factory=set)
    time: float = -np.inf


@dataclass
class _Reader:
    # People as the encoder sees them; each record is embedded once.
    ctx: Context
    compares: bool
    embedder: Embedder
    people: set[str] = field(default_factory=set)  # whose records people were compared with
    _vectors: dict[str, Floats] = field(default_factory=dict)

    def person(self, user: User, seen: Sequence[Record]) -> tuple[Person, list[Record]]:
        """Return a person and the records of others that they were compared with."""
        vectors = self._of(seen)
        if not self.compares or self.ctx.peers is None:
            return Person(items_of(seen, vectors)), []
        apart, others = self._apart(user, seen, vectors)
        self.people |= {record.user_id for record in others}
        return Person(items_of(seen, vectors), apart), others

    def _apart(self, user: User, seen: Sequence[Record], vectors: Floats) -> tuple[Floats, list[Record]]:
        """Compare each record with others' about the same item, or, without any, with the means of people alike."""
        peers = self.ctx.peers
        assert peers is not None
        near = peers.near(user, _KNOWN)
        away = {one.user.id: (2 - 2 * min(1.0, one.similarity)) ** 0.5 for one in near}
        farthest = max(away.values(), default=0.0)
        about = [peers.about(str(record.meta.get("item", "")), user) for record in seen]
        read = {(one.user_id, one.id): one for found in about for one in found}
        of_alike = [newest(one.user, _OF_A_PEER) for one in near[:_NEAREST]] if not all(about) else []
        of_alike = [records for records in of_alike if records]
        read |= {(one.user_id, one.id): one for records in of_alike for one in records}
        means = np.zeros((len(of_alike), vectors.shape[1]), np.float32)
        for row, records in enumerate(of_alike):
            means[row] = self._of(records).mean(axis=0)
        alike = np.array([away[records[0].user_id] for records in of_alike])
        others = [self._of(found) if found else means for found in about]
        distances = [np.array([away.get(r.user_id, farthest) for r in found]) if found else alike for found in about]
        return differences(vectors, others, distances), list(read.values())

    def _of(self, records: Sequence[Record]) -> Floats:
        new = {record.id: record.text for record in records if record.id not in self._vectors}
        if new:
            self._vectors.update(zip(new, self.embedder.embed(list(new.values())), strict=True))
        return np.stack([self._vectors[record.id] for record in records])


def newest(user: User, count: int = HISTORY) -> list[Record]:
    """Return a person's newest records that say something, oldest first."""
    return [record for record in user.history[-count:] if record.text.strip()]


def _short(tokens: Floats) -> Floats:
    """Round to half precision, so that what was kept of a person equals what is encoded now."""
    return tokens.astype(np.float16).astype(np.float32)


def _queries(examples: Sequence[Example], embedder: Embedder) -> Floats:
    return (
        embedder.embed([call.query for _, call, _ in examples]) if examples else np.zeros((0, embedder.dim), np.float32)
    )


def _used(what: str, id: str, score: float = 1.0) -> Used:
    return Used("artifact" if what == "artifact" else "record", id, "soft_prompt", "soft_prompt", score)
