"""From calls and texts to token rows, and a training over them in the engine's own weights."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from idiolect.backends._torch_engine import Engine
from idiolect.errors import InputError
from idiolect.trainable import Checkpoints, Example, Job, Joint, Recipe, Trained, Vectors
from idiolect.training import factors, peft_format
from idiolect.training.factors import Factors, LowRank
from idiolect.training.generator import Stacked
from idiolect.training.modules import Place, chosen, places, sites
from idiolect.training.pieces import Chosen, Gating, Pieces
from idiolect.training.rows import Learnable, TokenPair, TokenRow
from idiolect.types import Adapter, Body, Floats

TOKENS, TOKENS_ON_GPU = 1024, 1 << 15
"""Tokens of a pass. On a CPU more of them no longer fit its caches."""
Prepared = tuple[Job, list[Learnable], list[Learnable], str]


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

    _check(recipe)
    waiting = iter(jobs)
    first = next(waiting, None)
    if first is None:
        return
    under, tokens = _under([first]), tokens_of(engine)
    trainer = Trainer(engine.model, engine.layers, recipe, places, tokens, _beneath(under, fingerprint))
    prepared = (_prepared(engine, fingerprint, job, recipe, under) for job in itertools.chain([first], waiting))
    yield from trainer.run(prepared, fingerprint, progress, check, checkpoints)


def train_jointly(
    engine: Engine,
    fingerprint: str,
    jobs: Sequence[Job],
    recipe: Recipe,
    vectors: Vectors,
    progress: Callable[[int], None] | None,
    check: Callable[[], None] | None,
    checkpoints: Checkpoints | None,
) -> Joint:
    """Train one adapter and each person's vector; :class:`InputError` for what cannot be learnt."""
    from idiolect.training._torch_plora import Together

    _texts_alone(recipe)
    if not any(job.examples for job in jobs):
        raise InputError("nobody has an example to learn from")
    under = _under(jobs)
    people = [(job.key, rows_of(engine, job.examples, under), rows_of(engine, job.held, under)) for job in jobs]
    beneath, tokens = _beneath(under, fingerprint), tokens_of(engine)
    together = Together(engine.model, engine.layers, people, recipe, vectors, tokens, beneath)
    digest = _digest((recipe, vectors, fingerprint, under), people)
    return together.run(fingerprint, digest, progress, check, checkpoints)


def train_vectors(
    engine: Engine,
    fingerprint: str,
    jobs: Iterable[Job],
    learnt: tuple[Body, Body],
    recipe: Recipe,
    vectors: Vectors,
    places: int,
    progress: Callable[[int], None] | None,
    check: Callable[[], None] | None,
    checkpoints: Checkpoints | None,
) -> Iterator[Trained]:
    """Train vectors of other people over ``learnt``, a shared adapter and its projection, ``places`` at a time."""
    from idiolect.training._torch_newcomers import Newcomers

    _texts_alone(recipe)
    waiting = (job for job in jobs if job.examples)
    first = next(waiting, None)
    if first is None:
        return
    under, shared = _under([first]), peft_format.load(learnt[0].read())
    below = _beneath(under, fingerprint)
    beneath = shared if below is None else factors.cat([below, shared], [1.0, 1.0])
    people = (
        (*one, _digest((recipe, vectors, fingerprint, under, learnt), [one]))
        for job in itertools.chain([first], waiting)
        for one in [(job.key, rows_of(engine, job.examples, under), rows_of(engine, job.held, under))]
    )
    projection = peft_format.load(learnt[1].read())
    newcomers = Newcomers(
        engine.model, engine.layers, recipe, vectors, places, tokens_of(engine), beneath, projection
    )  # fmt: skip
    yield from newcomers.run(people, progress, check, checkpoints)


def train_gates(
    engine: Engine, jobs: Sequence[Gating], recipe: Recipe, count: int, check: Callable[[], None] | None
) -> Iterator[tuple[str, Pieces]]:
    """Train the gates of each job's adapter, ``count`` adapters at a time."""
    from idiolect.training import _torch_pieces

    for start in range(0, len(jobs), count):
        asked = [
            (job.key, peft_format.load(job.adapter.read()), rows_of(engine, job.examples, ()))
            for job in jobs[start : start + count]
        ]
        yield from _torch_pieces.train_gates(engine.model, engine.layers, asked, recipe, tokens_of(engine), check)


def choose_pieces(
    engine: Engine, examples: Sequence[Example], pieces: Sequence[Pieces], k: int, temperature: float
) -> dict[str, Chosen]:
    """Choose pieces for what somebody gave, in one pass over all of it."""
    from idiolect.training import _torch_pieces

    rows = rows_of(engine, examples, ())
    return _torch_pieces.choose_pieces(engine.model, engine.layers, rows, pieces, k, temperature)


def linear_places(engine: Engine, modules: Sequence[str]) -> list[Place]:
    """Return the linear modules with these last names, in all layers."""
    found = sites(engine.model, engine.layers)
    return places(chosen(found, modules, 0, len(engine.layers)))


def factor_losses(
    engine: Engine, examples: Sequence[Example], owners: Sequence[int], factors: Stacked, scaling: float,
    gradients: bool,
) -> tuple[Floats, dict[str, Factors]]:  # fmt: skip
    """Return each example's loss under its owner's factors, and the gradients by these where they are asked for."""
    from idiolect.training._torch_factors import FactorPass

    one = FactorPass(engine.model, engine.layers, factors, scaling)
    losses = one.losses(rows_of(engine, examples, ()), owners, tokens_of(engine), gradients)
    return losses, dict(one.gradients()) if gradients else {}


def tokens_of(engine: Engine) -> int:
    """Return how many tokens a pass is to have."""
    return TOKENS if engine.device.type == "cpu" else TOKENS_ON_GPU


def rows_of(engine: Engine, examples: Sequence[Example], under: tuple[Adapter, ...]) -> list[TokenRow]:
    """Return examples as token rows: the chat prompt, the text, and the end of the turn unless the text was cut."""
    out = []
    for example in examples:
        call = example.call
        if call.steering:
            raise InputError("adapters are trained on calls without steering; leave those methods out")
        if call.adapters != under:
            raise InputError("all examples of a training must carry the same adapters under the trained one")
        read = engine.rows(replace(call, mix=(), adapters=()))[0]
        text = [*engine.tokens(example.text), *([engine.end] if example.ends else [])]
        if not text or not len(read):
            what = "text to learn" if len(read) else "prompt: the chat template wrote nothing"
            raise InputError(f"an example has no {what}; leave it out")
        engine.check_length(len(read) + len(text))
        out.append(TokenRow((*read.ids, *text), len(read.ids), example.weight, read.soft))
    return out


def pairs_of(
    engine: Engine, examples: Sequence[Example], under: tuple[Adapter, ...], recipe: Recipe
) -> list[TokenPair]:
    """Return comparisons as pairs of token rows, with what the other objectives say for the chosen one."""
    for one in examples:
        if one.rejected is None:
            raise InputError(
                "preferences are learnt from comparisons, and an example has no rejected text; leave it out"
            )
        if len(one.margins) != len(recipe.weights) - 1:
            raise InputError(
                f"an example has {len(one.margins)} margins, but the recipe weighs {len(recipe.weights) - 1} other "
                "objectives; give one margin for each"
            )
    chosen = rows_of(engine, examples, under)
    over = [replace(one, text=one.rejected or "", ends=one.rejected_ends) for one in examples]
    margins = [sum(w * m for w, m in zip(recipe.weights[1:], one.margins, strict=True)) for one in examples]
    return [TokenPair(*both) for both in zip(chosen, rows_of(engine, over, under), margins, strict=True)]


def _check(recipe: Recipe) -> None:
    if recipe.objective == "likelihood":
        return
    if recipe.beta <= 0:
        raise InputError(f"beta is {recipe.beta}; preferences are learnt with one above 0, such as 0.1")
    if not recipe.weights or recipe.weights[0] <= 0:
        raise InputError(
            f"the weights of the objectives are {recipe.weights}; the first, of comparisons, must be above 0"
        )


def _texts_alone(recipe: Recipe) -> None:
    if recipe.objective != "likelihood":
        raise InputError(
            f"objective={recipe.objective!r} is for adapters of single people; learn texts together instead"
        )


def _learnable(
    engine: Engine, examples: Sequence[Example], under: tuple[Adapter, ...], recipe: Recipe
) -> list[Learnable]:
    if recipe.objective == "preference":
        return [*pairs_of(engine, examples, under, recipe)]
    return [*rows_of(engine, examples, under)]


def _prepared(engine: Engine, fingerprint: str, job: Job, recipe: Recipe, under: tuple[Adapter, ...]) -> Prepared:
    rows, held = (_learnable(engine, part, under, recipe) for part in (job.examples, job.held))
    if job.start is not None:
        _own(job.start, fingerprint)
    return job, rows, held, _digest((recipe, fingerprint, under, job.start), [(job.key, rows, held)])


def _digest(given: object, people: Iterable[tuple[str, list[TokenRow], list[TokenRow]]]) -> str:
    """Return a digest of all that a training depends on: unfinished work of another one is not gone on with."""
    digest = hashlib.blake2b(repr(given).encode(), digest_size=16)
    for key, rows, held in people:
        digest.update(f"\x1e{key}\x1f{len(rows)}\x1f".encode("utf-8", "surrogatepass"))
        for row in (*rows, *held):
            digest.update(row.key)
    return digest.hexdigest()


def _under(jobs: Iterable[Job]) -> tuple[Adapter, ...]:
    return next((one.call.adapters for job in jobs for one in (*job.examples, *job.held)), ())


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
