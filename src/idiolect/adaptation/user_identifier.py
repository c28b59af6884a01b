"""UserIdentifier: one adapter for everybody, each person told apart by a fixed string of tokens (arXiv:2110.00135).

The string is a keyed pseudo-random function of the person's id (a keyed hash, RFC 7693): nothing is stored of a person,
and who does not have the key can neither make somebody's string nor tell whose one is. It stands before the prompt as
token ids, not as text: a tokenizer would merge it with what follows, and names would bring their biases along.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import orjson

from idiolect import registry
from idiolect.adaptation.shared.attach import adapter_of, attached, plain
from idiolect.adaptation.shared.examples import Writer, newest, split
from idiolect.adaptation.shared.making import Asked, Lesson, told_of, trainable
from idiolect.inside import Inside
from idiolect.prompting.assembly import Named, fold
from idiolect.prompting.shared.effect import inside
from idiolect.registry import method
from idiolect.trainable import Example, Job, Recipe
from idiolect.training.prefixes import prefixed
from idiolect.types import EVERYONE, Artifact, Call, Context, Floats, User

NAME = "user_identifier"
_KEY = 32


@method(
    NAME, level="model", paper="arXiv:2110.00135", needs=("adapters", "soft_prompt"), fit_needs=("training", "inside"),
    together=True,
)  # fmt: skip
@dataclass(frozen=True)
class UserIdentifier:
    """Serve everybody with one adapter, and put before the prompt the tokens that stand for the person.

    Who did not take part in the training is served without tokens: part of the rows was learnt so.
    """

    length: int = 10
    """Tokens that stand for a person; they count against the token budget."""
    drop: float = 0.1
    """Part of the rows that is learnt without them."""
    context: tuple[str, ...] = ("none",)
    """Methods that personalize the prompts, those that are learnt from and those that are answered."""
    weight: float = 1.0
    """How much of the adapter is added when it is served."""
    rank: int = 16
    """Inner dimension of the change of a module."""
    alpha: float = 32.0
    """The change is scaled by ``alpha / rank``."""
    modules: tuple[str, ...] = ()
    """Linear modules by their last name; all of a layer without any."""
    rate: float = 1e-3
    """Highest rate of learning."""
    epochs: int = 3
    """Passes over the records."""
    batch: int = 16
    """Records in a step."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the rate falls after it rose over the first tenth."""
    newest: int = 200
    """So many of each person's newest records are learnt from."""
    hold_out: float = 0.1
    """Part of each person's, the newest, that tells which pass was best."""
    seed: int = 0
    """Of the first weights, of the order of records and of which are learnt without tokens."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Personalize the prompt, add everybody's adapter, and set the tokens of a person who took part."""
        if user.count == 0:
            return call
        planned = fold(call, user, self.parts, ctx)
        artifact = adapter_of(user, NAME, self._learnt, ctx.model.fingerprint, EVERYONE)
        if artifact is None or not self.weight or self.length > ctx.tokens:
            return planned
        planned = attached(planned, artifact, NAME, self.weight)
        if user.id not in artifact.people:
            return planned
        return prefixed(planned, self._marker(_key_of(artifact), user, inside(ctx, NAME)))

    @property
    def parts(self) -> tuple[Named, ...]:
        """The methods of the prompt, in order."""
        return registry.make_folded("+".join(self.context))

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train one adapter on the marked records of all these people; earlier markers of theirs stay as they are."""
        everybody = list(users)
        if not everybody:
            return
        model = inside(ctx, f"fit {NAME}")
        old = adapter_of(everybody[0], NAME, self._learnt, ctx.model.fingerprint, EVERYONE)
        key = secrets.token_bytes(_KEY) if old is None else _key_of(old)
        lesson = self._lesson(everybody, ctx, model, key)
        if not lesson.learnt:
            return
        recipe = Recipe(
            self.rank, self.alpha, self.modules, 0, self.rate, self.epochs, self.batch, schedule=self.schedule,
            patience=1 if lesson.held else 0, seed=self.seed,
        )  # fmt: skip
        asked: Asked = {EVERYONE: (everybody[0], lesson.read)}
        made = trainable(ctx.model).train(
            [Job(EVERYONE, lesson.learnt, lesson.held)], recipe,
            progress=told_of(ctx, [everybody[0]], asked, self.epochs), check=ctx.check, checkpoints=ctx.checkpoints,
        )  # fmt: skip
        told = {"records": len(lesson.read), "people": len(lesson.givers), "key": key.hex()}
        for one in made:
            yield lesson.artifact(one, NAME, self._learnt, ctx, told)

    @property
    def _learnt(self) -> dict[str, Any]:
        return plain(self, without=("weight",))

    def _lesson(self, users: list[User], ctx: Context, model: Inside, key: bytes) -> Lesson:
        writer, rng, lesson = Writer(self.parts, ctx), np.random.default_rng(self.seed), Lesson(users)
        for user in users:
            records = newest(user, self.newest)
            if not records:
                continue
            marker, parts = self._marker(key, user, model), split(records, self.hold_out)
            bare = writer.examples(user, parts[0])
            told = rng.random(len(bare)) >= self.drop
            lesson.learnt += [_with_marker(one, marker) if here else one for one, here in zip(bare, told, strict=True)]
            lesson.held += [_with_marker(one, marker) for one in writer.examples(user, parts[1])]
            lesson.read += records
        return lesson

    def _marker(self, key: bytes, user: User, model: Inside) -> Floats:
        return model.embeddings(identifier(key, user.id, self.length, model.vocabulary))


def identifier(key: bytes, user_id: str, length: int, vocabulary: int) -> list[int]:
    """Return the token ids that stand for a person, each uniform over the vocabulary."""
    name = user_id.encode("utf-8", "surrogatepass")
    words = (blake2b(n.to_bytes(4, "little") + name, key=key, digest_size=16).digest() for n in range(length))
    return [int.from_bytes(word, "little") % vocabulary for word in words]


def _with_marker(example: Example, marker: Floats) -> Example:
    return replace(example, call=prefixed(example.call, marker))


def _key_of(artifact: Artifact) -> bytes:
    return bytes.fromhex(orjson.loads(artifact.payload)["key"])
