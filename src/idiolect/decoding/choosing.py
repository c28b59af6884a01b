"""Choosing among drafts: any backend that answers calls can draw several and keep the best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from idiolect.types import Call, Chunk, Completion

TEMPERATURE = 0.7
"""Where several drafts of one call are wanted and it sets no temperature; greedy drafts would all be one."""


def drafts_of(call: Call) -> list[Call]:
    """Return the calls whose answers are the drafts; seeds differ, so that drafts do.

    From two on, those of few drafts are among those of many: more drafts never lose the best.
    """
    assert call.choose is not None
    if call.choose.given:
        return []
    plain = replace(call, choose=None)
    out = []
    for one in call.choose.alternatives or (plain,):
        for number in range(max(1, call.choose.n)):
            sampling = replace(call.sampling, seed=(call.sampling.seed or 0) + number)
            if call.choose.n > 1 and not sampling.temperature:
                sampling = replace(sampling, temperature=TEMPERATURE)
            out.append(replace(one, choose=None, extra=call.extra, sampling=sampling))
    return out


def generate_chosen(calls: Sequence[Call], generate: Callable[[Sequence[Call]], list[Completion]]) -> list[Completion]:
    """Answer calls with ``generate``, drafts in one batch, and keep the best of each call's drafts.

    The tokens of all drafts are counted. Where two are equally good the earlier one is kept. Where texts are given,
    nothing is generated. Raises ``ValueError`` where the scorer does not give one number for each draft.
    """
    asked = [[call] if call.choose is None else drafts_of(call) for call in calls]
    made = iter(generate(drafts) if (drafts := [one for part in asked for one in part]) else [])
    out = []
    for call, part in zip(calls, asked, strict=True):
        found = [next(made) for _ in part]
        out.append(found[0] if call.choose is None else _best(call, found))
    return out


def whole(made: Completion) -> Iterator[Chunk]:
    """Yield a chosen answer as one chunk: nothing can be shown before all drafts are there."""
    yield Chunk(made.text, made.finish_reason, made.tokens_in, made.tokens_out)


def _best(call: Call, drafts: Sequence[Completion]) -> Completion:
    assert call.choose is not None
    drafts = drafts or [Completion(text) for text in call.choose.given]
    scores = call.choose.score([draft.text for draft in drafts])
    best, _ = max(zip(drafts, scores, strict=True), key=lambda rated: rated[1])
    return replace(best, tokens_in=sum(d.tokens_in for d in drafts), tokens_out=sum(d.tokens_out for d in drafts))
