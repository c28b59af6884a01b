"""What separates a person's answers from generic ones inside the model: the material of steering vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson

from idiolect.errors import ConfigError, MalformedAnswer
from idiolect.inside import Inside
from idiolect.prompting.shared.replay import CHARS, replay
from idiolect.types import Call, Context, Floats, Record, Sampling, Steer, User


@dataclass(frozen=True, eq=False)
class Pair:
    """A past question with the person's answer and the model's own to the bare question."""

    record: Record
    call: Call
    personal: str
    generic: str


def pairs(user: User, ctx: Context, newest: int, tokens: int) -> tuple[list[Pair], int]:
    """Ask the person's ``newest`` records of the bare model again, greedily and in one batch.

    Returns the pairs and how many records got no answer; raises :class:`MalformedAnswer` where none did. What people
    say of themselves and what others said are left out.
    """
    own = [r for r in user.history if r.output.strip() and r.kind != "profile" and _said_by(r, user)]
    asked = [replay(record, ctx.template) for record in own[-newest:]]
    if not asked:
        return [], 0
    sampling = Sampling(temperature=0.0, max_tokens=tokens)
    made = ctx.model.generate([replace(one.call, sampling=sampling) for one in asked])
    found = [
        Pair(one.record, one.call, one.gold, answer.text[:CHARS])
        for one, answer in zip(asked, made, strict=True)
        if answer.text.strip()
    ]
    if not found:
        raise MalformedAnswer(f"the model wrote nothing to any of {len(asked)} past questions; use another model")
    return found, len(asked) - len(found)


def _said_by(record: Record, user: User) -> bool:
    return record.meta.get("speaker") in (None, "", user.id)


def layer_of(model: Inside, layer: int) -> int:
    """Return the layer meant, -1 the middle one; raises :class:`ConfigError` for one that the model has not."""
    if not -1 <= layer < model.layers:
        raise ConfigError(f"layer {layer}: the model has layers 0 to {model.layers - 1}; -1 is the middle one")
    return model.layers // 2 if layer == -1 else layer


def states(model: Inside, found: Sequence[Pair], layer: int) -> tuple[list[Floats], list[Floats]]:
    """Return the layer's outputs at the tokens of the person's answers and of the generic ones, in one batch.

    Both are ``[tokens, hidden]`` for each pair, read after the same bare question.
    """
    calls = [pair.call for pair in found]
    texts = [pair.personal for pair in found] + [pair.generic for pair in found]
    made = model.activations([*calls, *calls], texts, layer)
    return made[: len(found)], made[len(found) :]


def norm_of(outputs: Sequence[Floats]) -> float:
    """Return the mean Euclidean norm of all tokens' states ``[tokens, hidden]``."""
    return float(np.mean(np.concatenate([np.linalg.norm(one.astype(np.float64), axis=1) for one in outputs])))


def steer(layer: int, vector: Floats, norm: float, strength: float) -> Steer:
    """Return a steering that adds ``strength`` times ``norm`` in the vector's direction.

    ``norm`` is the usual length of a state of that layer, so that one strength means the same at every layer, for every
    model and for every person, whatever the length of their vector.
    """
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return Steer(layer, vector, strength * norm / length)


def pack(head: dict[str, Any], vectors: Floats, *, half: bool = False) -> bytes:
    """Return a line of JSON and the numbers behind it as little-endian float32, or as float16."""
    shape = {"shape": list(vectors.shape), **({"half": True} if half else {})}
    return orjson.dumps(head | shape) + b"\n" + np.ascontiguousarray(vectors, "<f2" if half else "<f4").tobytes()


def unpack(payload: bytes) -> tuple[dict[str, Any], Floats]:
    """Read what :func:`pack` wrote; the numbers are float32."""
    line, _, data = payload.partition(b"\n")
    head = orjson.loads(line)
    numbers = np.frombuffer(data, "<f2" if head.pop("half", False) else "<f4")
    return head, numbers.reshape(head.pop("shape")).astype(np.float32, copy=False)
