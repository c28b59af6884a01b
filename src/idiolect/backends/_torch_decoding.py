"""Answers that grow token by token in padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from idiolect.backends._generation import TextOut, draw, processed
from idiolect.backends._torch_engine import Engine
from idiolect.decoding.mixture import mixture_of_tensors
from idiolect.types import Call, Chunk


class Answer:
    """One answer as it grows: the prompts of its branches, the ids drawn so far and the text that they make."""

    def __init__(self, call: Call, engine: Engine, max_tokens: int) -> None:
        sampling = call.sampling
        self.call, self.ids, self.done = call, list[int](), False
        self.rows = engine.rows(call)
        wanted = max_tokens if sampling.max_tokens is None else sampling.max_tokens
        self.limit = min(wanted, *(engine.of(row).limit - len(row) for row in self.rows))
        self._engine = engine
        self._rng = np.random.default_rng(sampling.seed)
        self._out, self._sent = TextOut(sampling.stop), ""

    def take(self, logits: Any, best: int) -> Chunk | None:
        """Draw one id from ``logits [branches, vocab]``, where ``best`` is the likeliest id of the first branch.

        The chunk is ``None`` while no whole character is there.
        """
        if len(self.ids) >= self.limit:
            return self._finish("length")
        token = self._draw(logits, best)
        if token in self._engine.ends:
            return self._finish("stop")
        self.ids.append(token)
        piece = self._out.feed(self._new_text().encode())
        if self._out.stopped:
            return self._finish("stop", piece)
        if len(self.ids) >= self.limit:
            return self._finish("length", piece)
        return Chunk(piece) if piece else None

    def _draw(self, logits: Any, best: int) -> int:
        call = self.call
        greedy = not call.sampling.temperature and not call.logits_processors
        if greedy and not call.mix:
            return best
        row = mixed(logits, call)
        if greedy:
            return int(row.argmax())
        values = processed(row.float().cpu().numpy(), call.logits_processors, self.ids)
        return draw(values, call.sampling, self._rng)

    def _new_text(self, last: bool = False) -> str:
        text = str(self._engine.tokenizer.decode(self.ids, skip_special_tokens=True))
        whole = text if last else text.rstrip("\ufffd")  # a character whose bytes are not all there yet
        new, self._sent = whole[len(self._sent) :], whole if len(whole) > len(self._sent) else self._sent
        return new

    def _finish(self, reason: str, piece: str = "") -> Chunk:
        self.done = True
        piece += self._out.feed(self._new_text(last=True).encode(), last=True)
        return Chunk(piece, reason, len(self.rows[0]), len(self.ids))


def mixed(logits: Any, call: Call) -> Any:
    """Return the mixed logits of a call's branches, ``[branches, ..., vocab] -> [..., vocab]`` in float32."""
    if not call.mix:
        return logits[0]
    log_probs = logits.float().log_softmax(-1)
    return mixture_of_tensors(log_probs, [branch.weight for branch in call.mix], call.plausibility)


def decode(engine: Engine, answers: Sequence[Answer], batch: int) -> Iterator[tuple[int, Chunk]]:
    """Yield ``(index, chunk)`` as the answers grow, at most ``batch`` rows at once, each group to its end.

    This is for models whose caches are of a kind of their own (sliding windows, states), which have no proxies; rows of
    others come and go one by one (:mod:`idiolect.backends._torch_batching`).
    """
    group, rows = list[int](), 0
    for n in by_length(answers):
        if group and rows + len(answers[n].rows) > batch:
            yield from _decode_group(engine, {m: answers[m] for m in group})
            group, rows = [], 0
        group.append(n)
        rows += len(answers[n].rows)
    if group:
        yield from _decode_group(engine, {m: answers[m] for m in group})


def by_length(answers: Sequence[Answer]) -> list[int]:
    """Return the indices of answers, those with short prompts first, so that like lengths are read together."""
    return sorted(range(len(answers)), key=lambda n: len(answers[n].rows[0]))


def _decode_group(engine: Engine, growing: dict[int, Answer]) -> Iterator[tuple[int, Chunk]]:
    torch = engine.torch
    rows = [row for answer in growing.values() for row in answer.rows]
    logits, (cache,), _ = engine.read(rows)
    mask = engine.inputs(rows)["attention_mask"]
    additions = engine.additions(rows)  # prompts are not steered, only what follows
    while True:
        best = logits.argmax(-1).tolist()
        at, kept, following = 0, list[int](), list[int]()
        for n, answer in list(growing.items()):
            own = range(at, at + len(answer.rows))
            at = own.stop
            with torch.inference_mode():
                chunk = answer.take(logits[own.start : at], best[own.start])
            if chunk is not None:
                yield n, chunk
            if answer.done:
                del growing[n]
            else:
                kept += own
                following += [answer.ids[-1]] * len(own)
        if not growing:
            return
        if len(kept) < at:
            index = torch.tensor(kept, device=engine.device)
            cache.batch_select_indices(index)
            mask, rows = mask[index], [rows[n] for n in kept]
            additions = {layer: addition.of(index) for layer, addition in additions.items()}
        mask = torch.cat([mask, mask.new_ones(len(kept), 1)], dim=1)
        logits = engine.step(following, rows, mask, cache, additions)
