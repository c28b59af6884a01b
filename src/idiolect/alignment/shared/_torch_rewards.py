"""Training of reward models that see a person's choices in context, over many people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from idiolect.alignment.shared.packing import Array
from idiolect.alignment.shared.posterior import Places
from idiolect.alignment.shared.rewarding import Check, Taken

HELD, EVERY = 5, 5
"""From ten people on one in ``HELD`` is held out; they are asked after every ``EVERY`` passes which state was best."""
TARGETS = 16
"""So many of a person's choices are asked of them in a step at most."""
WARMUP = 0.1


@dataclass(frozen=True)
class Training:
    """How long and how fast it is learnt."""

    passes: int
    """Times that every person is seen."""
    rate: float
    context: int
    """So many choices stand in a person's context at most."""
    batch: int = 16
    """People in a step."""


@dataclass(frozen=True)
class Table:
    """People's choices side by side: ``x [n, options, dim]``, ``there`` and ``taken`` ``[n, options]``."""

    x: Any
    there: Any
    taken: Any
    rows: Sequence[Places]
    """The rows of each person, oldest first."""

    @staticmethod
    def of(people: Sequence[Taken], scale: float) -> Table:
        """Put people's choices into one table, options multiplied by ``scale``."""
        flat = [(options, best) for own in people for options, best in zip(own.options, own.chosen, strict=True)]
        width = max(len(options) for options, _ in flat)
        x = np.zeros((len(flat), width, flat[0][0].shape[1]), np.float32)
        there, taken = np.zeros((len(flat), width), bool), np.zeros((len(flat), width), bool)
        for row, (options, best) in enumerate(flat):
            x[row, : len(options)] = options * scale
            there[row, : len(options)] = True
            taken[row, best] = True
        ends = np.cumsum([len(own) for own in people])
        rows = [np.arange(end - len(own), end) for own, end in zip(people, ends, strict=True)]
        return Table(torch.from_numpy(x), torch.from_numpy(there), torch.from_numpy(taken), rows)

    def at(self, rows: Sequence[Places]) -> Choices:
        """Return the choices at some rows of each of some people, padded to the longest."""
        width = max(1, max(len(own) for own in rows))
        index = torch.zeros((len(rows), width), dtype=torch.long)
        real = torch.zeros((len(rows), width), dtype=torch.bool)
        for place, own in enumerate(rows):
            index[place, : len(own)] = torch.from_numpy(own)
            real[place, : len(own)] = True
        return Choices(self.x[index], self.there[index] & real[:, :, None], self.taken[index] & real[:, :, None])


@dataclass(frozen=True)
class Choices:
    """Choices of several people: ``x [people, choices, options, dim]``, ``there`` and ``taken`` without ``dim``."""

    x: Any
    there: Any
    taken: Any

    @property
    def real(self) -> Any:
        """Which choices are none of the padding, ``[people, choices]``."""
        return self.taken.any(2)


def train(model: Any, people: Sequence[Taken], scale: float, how: Training, check: Check) -> dict[str, Array]:
    """Return the weights of the best pass.

    ``model.remembered(choices)`` is what it keeps of each person, ``model(kept, x) -> [people, choices, options]`` the
    rewards, ``model.penalty(kept, done)`` is added to the loss (``done`` from 0 to 1 tells how far training is).
    """
    table = Table.of(people, scale)
    held = [n for n in range(len(people)) if len(people) >= 2 * HELD and n % HELD == HELD - 1]
    learnt = [n for n in range(len(people)) if n not in held]
    rng = np.random.default_rng(0)
    steps = how.passes * math.ceil(len(learnt) / how.batch)
    best, least = _state(model), math.inf
    done = 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=how.rate, weight_decay=0.01)
    for number in range(how.passes):
        if check is not None:
            check()
        for some in _batches(learnt, how.batch, rng):
            for group in optimizer.param_groups:
                group["lr"] = how.rate * _schedule(done / steps)
            optimizer.zero_grad()
            _loss(model, table, [_drawn(table.rows[n], how.context, rng) for n in some], done / steps).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            done += 1
        if held and (number % EVERY == EVERY - 1 or number == how.passes - 1):
            with torch.no_grad():
                lost = float(_loss(model, table, [_halves(table.rows[n], how.context) for n in held], None))
            if lost < least:
                best, least = _state(model), lost
    return best if held else _state(model)


Split = tuple[Places, Places]


def _loss(model: Any, table: Table, splits: Sequence[Split], done: float | None) -> Any:
    """Return the mean negative log probability of what was chosen, with the penalty while training."""
    context, asked = table.at([one for one, _ in splits]), table.at([one for _, one in splits])
    kept = model.remembered(context)
    rewards = model(kept, asked.x, done is not None).masked_fill(~asked.there, -1e4)
    likely = torch.log_softmax(rewards, dim=2)
    loss = -likely[asked.taken].mean()
    return loss if done is None else loss + model.penalty(kept, done)


def _drawn(rows: Places, most: int, rng: np.random.Generator) -> Split:
    """Return some of a person's choices as context, none included, and others to be asked."""
    mixed = rng.permutation(rows)
    size = int(rng.integers(0, min(len(rows) - 1, most) + 1))
    return mixed[:size], mixed[size : size + TARGETS]


def _halves(rows: Places, most: int) -> Split:
    middle = min(len(rows) // 2, most)
    return rows[:middle], rows[middle : middle + TARGETS]


def _batches(people: Sequence[int], size: int, rng: np.random.Generator) -> Iterator[Sequence[int]]:
    order: list[int] = rng.permutation(people).tolist()
    yield from (order[start : start + size] for start in range(0, len(order), size))


def _schedule(done: float) -> float:
    """Rise over a tenth of the steps, then fall as a cosine."""
    if done < WARMUP:
        return (done + 0.01) / (WARMUP + 0.01)
    return 0.5 * (1.0 + math.cos(math.pi * (done - WARMUP) / (1.0 - WARMUP)))


def _state(model: Any) -> dict[str, Array]:
    return {name: value.detach().cpu().numpy().copy() for name, value in model.state_dict().items()}
