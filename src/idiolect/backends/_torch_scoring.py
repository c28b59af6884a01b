"""Texts read instead of written: log probabilities, hidden states and gradients of continuations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from idiolect.backends._generation import log_softmax, processed
from idiolect.backends._torch_decoding import mixed
from idiolect.backends._torch_engine import Engine, Row, partition
from idiolect.decoding.steering import Addition, watched
from idiolect.errors import InputError
from idiolect.types import Call, Floats

_LOGITS = 1 << 26
"""The most logits of one pass: 256 MiB in float32."""
_GRADIENTS = 1 << 24
"""The most logits of one pass with gradients, which keeps several copies of them and all that led to them."""

Doubles = npt.NDArray[np.float64]
Ids = tuple[int, ...]


@dataclass(slots=True)
class _Family:
    # Calls that read the same prompts, whatever they make of the logits, and the texts asked for after them.
    rows: list[Row]  # one for each branch
    asked: dict[Ids, list[int]]  # token ids of a text: which jobs want it


def score(engine: Engine, calls: Sequence[Call], texts: Sequence[str], batch: int, alone: bool) -> list[Doubles]:
    """Return the log probability of each token of each text after its call, ``[tokens]`` for each.

    What several calls read alike is read once: their prompt where texts differ, all where only the weights of a
    mixture differ. ``batch`` is the largest number of rows in one pass. ``alone`` reads every prompt in a pass of its
    own, followed by no other texts than those that stand with it in ``texts``.
    """
    scores = [np.zeros(0) for _ in calls]
    families = _families(engine, calls, texts, alone)
    shared = [f for f in families if engine.attends_to_all and (alone or len(f.asked) > 1)]
    single = [f for f in families if not (engine.attends_to_all and (alone or len(f.asked) > 1))]
    for ids, jobs, logits in itertools.chain(_singly(engine, single, batch), _sharing(engine, shared)):
        for job in jobs:
            scores[job] = _values(engine, calls[job], ids, logits)
    return scores


def _families(engine: Engine, calls: Sequence[Call], texts: Sequence[str], alone: bool) -> list[_Family]:
    families: dict[object, _Family] = {}
    for call, jobs in itertools.groupby(range(len(calls)), key=calls.__getitem__):
        rows = engine.rows(call)
        run = [(job, tuple(engine.tokens(texts[job]))) for job in jobs]
        engine.check_rows(rows, max(len(ids) for _, ids in run))
        # What shares a pass moves a score in the last digits: alone, only what was asked for together does.
        together = tuple(ids for _, ids in run) if alone else ()
        family = families.setdefault((tuple(row.key for row in rows), together), _Family(rows, {}))
        for job, ids in run:
            if ids:
                family.asked.setdefault(ids, []).append(job)
    return [family for family in families.values() if family.asked]


def _values(engine: Engine, call: Call, ids: Ids, logits: Any) -> Doubles:
    # logits [branches, tokens, vocab] -> log probability of each token
    with engine.torch.inference_mode():
        rows = mixed(logits, call)
        if not call.logits_processors:
            wanted = engine.torch.tensor(ids, device=rows.device)[:, None]
            found: Doubles = rows.double().log_softmax(-1).gather(1, wanted)[:, 0].cpu().numpy()
            return found
        plain = rows.float().cpu().numpy()
    steps = (log_softmax(processed(row.copy(), call.logits_processors, ids[:at])) for at, row in enumerate(plain))
    return np.array([row[token] for row, token in zip(steps, ids, strict=True)], np.float64)


def _singly(engine: Engine, families: Sequence[_Family], batch: int) -> Iterator[tuple[Ids, list[int], Any]]:
    # Prompt and text in one row, many rows in a pass.
    jobs = sorted(
        ((family, ids, wanted) for family in families for ids, wanted in family.asked.items()),
        key=lambda job: (len(job[1]), len(job[0].rows[0])),
    )
    while jobs:
        sizes = [(len(family.rows), len(ids)) for family, ids, _ in jobs]
        part, jobs = _cut(jobs, _fit(sizes, batch, _LOGITS // engine.vocabulary))
        # The last id needs no pass: logits at position p speak of the id at p + 1.
        rows = [(row.followed(ids[:-1]), len(ids)) for family, ids, _ in part for row in family.rows]
        found = iter(_read(engine, rows))
        for family, ids, wanted in part:
            yield ids, wanted, engine.stacked([next(found) for _ in family.rows])


def _read(engine: Engine, rows: Sequence[tuple[Row, int]]) -> list[Any]:
    # The logits of the last so many positions of each row, [count, vocab] for each.
    out: list[Any] = [None] * len(rows)
    for proxy in sorted({row.proxy for row, _ in rows}):
        places = [n for n, (row, _) in enumerate(rows) if row.proxy == proxy]
        reader = engine.of(rows[places[0]][0])
        for group in partition([len(rows[n][0]) for n in places], reader.overhead):
            part, counts = [rows[places[n]][0] for n in group], [rows[places[n]][1] for n in group]
            additions = reader.spread(reader.additions(part), [count - 1 for count in counts])
            with reader.torch.inference_mode():
                logits = _pass(reader, part, reader.inputs(part), additions, max(counts))
            for n, count, found in zip(group, counts, logits, strict=True):
                out[places[n]] = found[-count:]
    return out


def _sharing(engine: Engine, families: Sequence[_Family]) -> Iterator[tuple[Ids, list[int], Any]]:
    # Every prompt is read once, the texts follow in one row.
    torch = engine.torch
    room = _LOGITS // engine.vocabulary
    for family in families:
        with torch.inference_mode():
            reads = [_prompt(engine.of(row), row) for row in family.rows]
        jobs = list(family.asked.items())
        while jobs:
            taken = itertools.accumulate(len(ids) * len(reads) for ids, _ in jobs)
            part, jobs = _cut(jobs, max(1, sum(total <= room for total in taken)))
            texts = [ids for ids, _ in part]
            with torch.inference_mode():
                read_by = [(engine.of(row), row, read) for row, read in zip(family.rows, reads, strict=True)]
                found = [_following(reader, row, read, texts) for reader, row, read in read_by]
            for (ids, wanted), *branches in zip(part, *found, strict=True):
                yield ids, wanted, engine.stacked(branches)


def _prompt(engine: Engine, row: Row) -> Any:
    with engine.changed([row]):
        return engine.model(**engine.inputs([row]), use_cache=True, logits_to_keep=1)


def _following(engine: Engine, row: Row, read: Any, texts: Sequence[Ids]) -> list[Any]:
    # The logits of every id of each text after a prompt that was read, [tokens, vocab] for each. All texts stand in one
    # row behind the prompt; each sees the prompt and itself, at the places that it would have alone.
    torch, cache, seen = engine.torch, read.past_key_values, len(row)
    first = read.logits[0, -1:]
    lengths = [len(ids) - 1 for ids in texts]
    if not any(lengths):
        return [first] * len(texts)
    owner = torch.repeat_interleave(torch.arange(len(texts)), torch.tensor(lengths))  # [row]
    place = torch.cat([torch.arange(length) for length in lengths])
    own = (owner[:, None] == owner[None, :]) & (place[:, None] >= place[None, :])
    seeing = torch.cat([torch.ones(len(owner), seen, dtype=torch.bool), own], dim=1).to(engine.device)
    mask = torch.zeros(seeing.shape, dtype=engine.model.dtype, device=engine.device)
    mask.masked_fill_(~seeing, torch.finfo(engine.model.dtype).min)
    given = {
        "input_ids": torch.tensor([[token for ids in texts for token in ids[:-1]]], device=engine.device),
        "attention_mask": mask[None, None],  # [1, 1, row, seen + row]
        "position_ids": (seen + place)[None].to(engine.device),
        "past_key_values": cache,
        "use_cache": True,
    }
    logits = _pass(engine, [row], given, engine.spread(engine.additions([row]), [len(owner)]), 0)[0]
    cache.crop(-len(owner))
    return [torch.cat([first, part]) for part in logits.split(lengths)]


def activations(engine: Engine, calls: Sequence[Call], texts: Sequence[str], layer: int, batch: int) -> list[Floats]:
    """Return the outputs of ``layer`` at the tokens of each text after its call's own prompt, ``[tokens, hidden]``.

    Raises :class:`InputError` for a layer that the model does not have.
    """
    if not 0 <= layer < len(engine.layers):
        raise InputError(f"there is no layer {layer}; the model has layers 0 to {len(engine.layers) - 1}")
    torch, out = engine.torch, [np.zeros((0, engine.hidden), np.float32) for _ in calls]
    jobs = [(n, *_own(engine, call, text)) for n, (call, text) in enumerate(zip(calls, texts, strict=True))]
    jobs = sorted((job for job in jobs if job[2]), key=lambda job: len(job[1]))
    while jobs:
        part, jobs = _cut(jobs, batch)
        rows, counts = [row for _, row, _ in part], [count for _, _, count in part]
        additions = engine.spread(engine.additions(rows), counts)
        with torch.inference_mode(), engine.changed(rows, additions), watched(engine.layers, layer) as seen:
            engine.model(**engine.inputs(rows), use_cache=False, logits_to_keep=1)
        for (n, _, count), states in zip(part, seen[0], strict=True):
            out[n] = states[-count:].float().cpu().numpy()
    return out


def soft_gradients(
    engine: Engine, calls: Sequence[Call], texts: Sequence[str], weights: Sequence[float], batch: int
) -> tuple[Floats, list[Floats]]:
    """Return each text's log probability ``[calls]`` and ``weight`` times its gradient by the call's soft prompt.

    Raises :class:`InputError` for a call without one, and for one whose logits are mixed or processed.
    """
    for call in calls:
        if call.soft_prompt is None or call.mix or call.logits_processors:
            raise InputError("gradients are for calls with a soft prompt, and without a mixture or logits processors")

    def reading(rows: Sequence[Row], leaves: Sequence[Any]) -> tuple[Mapping[str, Any], Mapping[int, Addition]]:
        return engine.inputs(rows, leaves), engine.additions(rows)

    variables = [np.asarray(call.soft_prompt, np.float32) for call in calls]
    return _gradients(engine, calls, texts, weights, batch, variables, reading)


def steer_gradients(
    engine: Engine, calls: Sequence[Call], texts: Sequence[str], weights: Sequence[float], batch: int
) -> tuple[Floats, list[Floats]]:
    """Return each text's log probability ``[calls]`` and ``weight`` times its gradient by the call's steering vector.

    Raises :class:`InputError` for a call without exactly one that is added as it is, and for one whose logits are mixed
    or processed.
    """
    for call in calls:
        if len(call.steering) != 1 or call.steering[0].along or call.mix or call.logits_processors:
            raise InputError(
                f"gradients are for calls with one steering vector that is added as it is, and without a mixture or "
                f"logits processors; this call has {len(call.steering)}"
            )

    def reading(rows: Sequence[Row], leaves: Sequence[Any]) -> tuple[Mapping[str, Any], Mapping[int, Addition]]:
        layers = [row.steering[0].layer for row in rows]
        added = [row.steering[0].strength * leaf for row, leaf in zip(rows, leaves, strict=True)]
        stacked = engine.torch.stack(added).to(engine.model.dtype)[:, None]  # [rows, 1, hidden]
        places = engine.torch.tensor(layers, device=engine.device)[:, None, None]
        return engine.inputs(rows), {layer: Addition(stacked * (places == layer)) for layer in sorted(set(layers))}

    variables = [np.asarray(call.steering[0].vector, np.float32) for call in calls]
    return _gradients(engine, calls, texts, weights, batch, variables, reading)


Reading = Callable[[Sequence[Row], Sequence[Any]], tuple[Mapping[str, Any], Mapping[int, Addition]]]
"""What the model is given for rows, and what is added at one generated position, as a function of the variables."""


def _gradients(
    engine: Engine, calls: Sequence[Call], texts: Sequence[str], weights: Sequence[float], batch: int,
    variables: Sequence[Floats], reading: Reading,
) -> tuple[Floats, list[Floats]]:  # fmt: skip
    scores, found = np.zeros(len(calls), np.float32), [np.zeros_like(variable) for variable in variables]
    jobs = [(n, *_own(engine, call, text)) for n, (call, text) in enumerate(zip(calls, texts, strict=True))]
    jobs = sorted((job for job in jobs if job[2]), key=lambda job: (job[2], len(job[1])))
    while jobs:
        sizes = [(1, count) for _, _, count in jobs]
        part, jobs = _cut(jobs, _fit(sizes, batch, _GRADIENTS // engine.vocabulary))
        asked = [(row, count, weights[n]) for n, row, count in part]
        values, slopes = _slopes(engine, asked, [variables[n] for n, _, _ in part], reading)
        for (n, _, _), value, slope in zip(part, values, slopes, strict=True):
            scores[n], found[n] = value, slope
    return scores, found


def _slopes(
    engine: Engine, jobs: Sequence[tuple[Row, int, float]], variables: Sequence[Floats], reading: Reading
) -> tuple[list[float], list[Floats]]:
    torch = engine.torch
    rows = [replace(row, ids=row.ids[:-1]) for row, _, _ in jobs]
    counts = [count for _, count, _ in jobs]
    with torch.enable_grad():
        leaves = [torch.tensor(variable, device=engine.device, requires_grad=True) for variable in variables]
        given, additions = reading(rows, leaves)
        additions = engine.spread(additions, [count - 1 for count in counts])
        logits = _pass(engine, rows, given, additions, max(counts))
        sums = []
        for (row, count, _), seen in zip(jobs, logits, strict=True):
            wanted = torch.tensor(row.ids[-count:], device=engine.device)[:, None]
            sums.append(seen[-count:].float().log_softmax(-1).gather(1, wanted).sum())
        values = [float(value.detach()) for value in sums]
        total = sum(weight * value for (_, _, weight), value in zip(jobs, sums, strict=True))
        if not total.requires_grad:  # texts of one token each: nothing after them is steered
            return values, [np.zeros_like(variable) for variable in variables]
        slopes = torch.autograd.grad(total, leaves)
    return values, [slope.cpu().numpy() for slope in slopes]


def _own(engine: Engine, call: Call, text: str) -> tuple[Row, int]:
    # The call's own prompt with the text after it, and how many tokens that is.
    row, ids = engine.rows(replace(call, mix=()))[0], engine.tokens(text)
    engine.check_length(len(row) + len(ids))
    return row.followed(ids), len(ids)


def _pass(
    engine: Engine, rows: Sequence[Row], given: Mapping[str, Any], additions: Mapping[int, Addition], keep: int
) -> Any:
    with engine.changed(rows, additions):
        return engine.model(**{"use_cache": False, **given}, logits_to_keep=keep).logits


def _fit(sizes: Sequence[tuple[int, int]], batch: int, room: int) -> int:
    # How many of the jobs (rows, tokens), in order of growing tokens, go into one pass; at least one.
    rows = 0
    for count, (more, tokens) in enumerate(sizes):
        rows += more
        if count and (rows > batch or rows * tokens > room):
            return count
    return len(sizes)


def _cut(jobs: list[Any], count: int) -> tuple[list[Any], list[Any]]:
    return jobs[:count], jobs[count:]
