"""From calls and texts to token rows, and a training over them in the engine's own weights."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from idiolect.backends._torch_engine import Engine
from idiolect.errors import InputError
from idiolect.trainable import Checkpoints, Example, Job, Recipe, Trained
from idiolect.training import factors, peft_format
from idiolect.training.factors import LowRank
from idiolect.training.rows import TokenRow
from idiolect.types import Adapter, Body

TOKENS, TOKENS_ON_GPU = 1024, 1 << 15
"""Tokens of a pass. On a CPU more of them no longer fit its caches."""
Prepared = tuple[Job, list[TokenRow], list[TokenRow], str]


def train(
    engine: Engine,
    fingerprint: str,
    jobs: Iterable[Job],
    recipe: Recipe,
    places: int,
    progress: Callable[[int], None] | None,
    check: Callable[[], None] | None,
    checkpoints: Checkpoints | None,
) -> Iterator[Trained]:
    """Train an adapter for each job, at most ``places`` at a time; :class:`InputError` for what cannot be learnt."""
    from idiolect.training._torch_trainer import Trainer

    waiting = iter(jobs)
    first = next(waiting, None)
    if first is None:
        return
    under = next((one.call.adapters for one in (*first.examples, *first.held)), ())
    tokens = TOKENS if engine.device.type == "cpu" else TOKENS_ON_GPU
    trainer = Trainer(engine.model, engine.layers, recipe, places, tokens, _beneath(under, fingerprint))
    prepared = (_prepared(engine, fingerprint, job, recipe, under) for job in itertools.chain([first], waiting))
    yield from trainer.run(prepared, fingerprint, progress, check, checkpoints)


def rows_of(engine: Engine, examples: Sequence[Example], under: tuple[Adapter, ...]) -> list[TokenRow]:
    """Return examples as token rows: the chat prompt, the text, and the end of the turn unless the text was cut."""
    out = []
    for example in examples:
        call = example.call
        if call.soft_prompt is not None or call.steering:
            raise InputError("adapters are trained on calls without soft prompts and steering; leave those methods out")
        if call.adapters != under:
            raise InputError("all examples of a training must carry the same adapters under the trained one")
        prompt = engine.rows(replace(call, mix=(), adapters=()))[0].ids
        text = [*engine.tokens(example.text), *([engine.end] if example.ends else [])]
        if not text:
            raise InputError("an example has no text to learn; leave it out")
        engine.check_length(len(prompt) + len(text))
        out.append(TokenRow((*prompt, *text), len(prompt), example.weight))
    return out


def _prepared(engine: Engine, fingerprint: str, job: Job, recipe: Recipe, under: tuple[Adapter, ...]) -> Prepared:
    rows, held = rows_of(engine, job.examples, under), rows_of(engine, job.held, under)
    if job.start is not None:
        _own(job.start, fingerprint)
    parts = (recipe, fingerprint, rows, held, under, job.start)
    return job, rows, held, hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _beneath(under: tuple[Adapter, ...], fingerprint: str) -> LowRank | None:
    if not under:
        return None
    return factors.cat([_own(one.body, fingerprint) for one in under], [one.weight for one in under])


def _own(body: Body, fingerprint: str) -> LowRank:
    """Read an adapter to train on or above; :class:`InputError` for one of another model."""
    read = peft_format.load(body.read())
    if read.base_model not in ("", fingerprint):
        raise InputError(
            f"an adapter of {read.base_model} is no ground to train on for {fingerprint}; learn it again for this model"
        )
    return read
