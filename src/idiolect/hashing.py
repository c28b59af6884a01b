"""What stands for a call or an example: equal where a backend is given the same, in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import orjson

from idiolect.trainable import Example
from idiolect.types import Call


def digest(*parts: str | bytes) -> bytes:
    """Return a hash of parts."""
    made = hashlib.blake2b(digest_size=20)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        made.update(len(data).to_bytes(8, "little") + data)
    return made.digest()


def prompt_hash(call: Call) -> str:
    """Return 20 hex digits that stand for everything a backend is given."""
    return digest(*content(call)).hex()[:20]


def content(call: Call) -> Iterator[bytes]:
    """Yield everything a backend is given, in parts."""
    yield orjson.dumps([list(call.messages), dict(call.extra)], default=repr, option=orjson.OPT_SORT_KEYS)
    sampling = call.sampling
    yield repr((sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.seed, sampling.stop)).encode()
    mix = [
        # what was kept before a source had these fields stays what it was
        (
            one.messages,
            one.weight,
            *((one.instruction, one.adapters) if one.instruction or one.adapters is not None else ()),
            *(("proxy",) if one.proxy else ()),
        )
        for one in call.mix
    ]
    yield repr((mix, call.plausibility) if call.plausibility else mix).encode()
    yield repr(call.adapters).encode()
    yield b"" if call.soft_prompt is None else call.soft_prompt.tobytes()
    for steer in call.steering:
        form = (steer.layer, steer.strength, "along") if steer.along else (steer.layer, steer.strength)
        yield repr(form).encode() + steer.vector.tobytes()


def identity(example: Example) -> tuple[object, ...]:
    """Return what stands for an example to learn from."""
    # what was kept before there were comparisons stays what it was
    rival = () if example.rejected is None else (example.rejected, example.rejected_ends, example.margins)
    return (prompt_hash(example.call), example.text, example.weight, example.ends, *rival)
