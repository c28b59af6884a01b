"""PLoRA's second stage: vectors of people who did not take part in the first, all shared weights as they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.nn import functional

from idiolect.trainable import Checkpoints, Recipe, Trained, Vectors
from idiolect.training import unfinished
from idiolect.training._torch_people import Passes, Table, bias_of, body_of, over
from idiolect.training.factors import LowRank
from idiolect.training.plan import Plan
from idiolect.training.rows import TokenRow, passes
from idiolect.training.unfinished import Unfinished

Newcomer = tuple[str, list[TokenRow], list[TokenRow], str]
"""A key, the rows to learn, those that are held out, and a digest of all that a training depends on."""


@dataclass
class _Newcomer:
    # Somebody's training, as far as it has come.
    key: str
    rows: list[TokenRow]
    held: list[TokenRow]
    digest: str
    plan: Plan
    best: Any
    at: Unfinished = field(default_factory=Unfinished)
    seconds: float = 0.0


class Newcomers:
    """The second stage: vectors of people who did not take part, over shared weights that stay as they are."""

    def __init__(
        self, model: Any, layers: Sequence[Any], recipe: Recipe, vectors: Vectors, places: int, tokens: int,
        beneath: LowRank, projection: LowRank,
    ) -> None:  # fmt: skip
        """Prepare ``places`` people at a time; ``beneath`` holds the shared adapter and what lies under it."""
        self._passes, self._recipe = Passes(model, layers, tokens, beneath), replace(recipe, rate=vectors.rate)
        self._beneath, self._projection, device = beneath, projection, self._passes.device
        self._deltas = {name: torch.from_numpy(projection.delta(name)).to(device) for name in projection.modules}
        width = next(iter(self._deltas.values())).shape[1]
        self._table, self._places = Table(places, width, device), list[_Newcomer | None]([None] * places)

    def run(
        self, people: Iterable[Newcomer], progress: Callable[[int], None] | None, check: Callable[[], None] | None,
        checkpoints: Checkpoints | None,
    ) -> Iterator[Trained]:  # fmt: skip
        """Train until nobody is left; yield each person's bias as it is finished."""
        waiting, saved = iter(people), time.monotonic()
        while True:
            self._fill(waiting, checkpoints)
            active = [(place, one) for place, one in enumerate(self._places) if one is not None]
            if not active:
                return
            if check is not None:
                check()
            count = self._step(active)
            if progress is not None:
                progress(count)
            if checkpoints is not None and time.monotonic() - saved > unfinished.SAVE_SECONDS:
                self._save(active, checkpoints)
                saved = time.monotonic()
            for place, one in active:
                if one.at.step >= one.plan.steps or over(one.at.held, self._recipe.patience):
                    self._places[place] = None
                    yield self._made(one)
                    if checkpoints is not None:
                        checkpoints.drop(one.key)

    def _save(self, active: Sequence[tuple[int, _Newcomer]], checkpoints: Checkpoints) -> None:
        for place, one in active:
            one.at.counts = [self._table.steps[place]]
            state = self._table.state([place])[:, 0].cpu().numpy()
            checkpoints.save(one.key, one.at.dump(one.digest, state, one.best.cpu().numpy()))

    def _fill(self, waiting: Iterator[Newcomer], kept: Checkpoints | None) -> None:
        for place, there in enumerate(self._places):
            given = next(waiting, None) if there is None else None
            if given is not None:
                self._table.reset(place)
                vector = self._table.values.data[place].clone()
                one = self._places[place] = _Newcomer(*given, Plan(self._recipe, len(given[1])), vector)
                before = None if kept is None else Unfinished.load(kept.load(one.key), one.digest)
                if before is None:
                    self._look(place, one)
                else:
                    one.at, device = before, self._passes.device
                    self._table.bring_back([place], torch.from_numpy(before.state).to(device)[:, None], before.counts)
                    one.best = torch.from_numpy(before.best).to(device)

    def _step(self, active: Sequence[tuple[int, _Newcomer]]) -> int:
        asked = list[tuple[int, TokenRow, float]]()
        for place, one in active:
            rows = [one.rows[n] for n in one.plan.batch(one.at.step)]
            weight = sum(row.weight * row.learnt for row in rows)
            asked += [(place, row, row.weight / weight) for row in rows]
        for part in passes(asked, [len(row) for _, row, _ in asked], self._passes.tokens):
            self._learn(part)
        rates = [one.plan.rate(one.at.step) for _, one in active]
        self._table.step([place for place, _ in active], rates, self._recipe.clip)
        for place, one in active:
            one.at.step += 1
            if one.plan.ends_epoch(one.at.step - 1):
                one.at.losses.append(one.at.total / one.plan.per_epoch)
                one.at.total = 0.0
                self._look(place, one)
        return len(asked)

    def _learn(self, part: Sequence[tuple[int, TokenRow, float]]) -> None:
        began = time.perf_counter()
        with torch.enable_grad():
            total, losses = self._loss(part)
            total.backward()
        each = (time.perf_counter() - began) / sum(len(row) for _, row, _ in part)
        at = 0
        for place, row, weight in part:
            one = self._places[place]
            assert one is not None
            one.seconds += each * len(row)
            one.at.total += weight * float(losses[at : at + row.learnt].sum())
            at += row.learnt

    def _look(self, place: int, one: _Newcomer) -> None:
        vector = self._table.values.data[place].clone()
        if not one.held:
            one.best = vector
            return
        weight, total = sum(row.weight * row.learnt for row in one.held), 0.0
        asked = [(place, row, row.weight / weight) for row in one.held]
        for part in passes(asked, [len(row) for _, row, _ in asked], self._passes.tokens):
            with torch.no_grad():
                total += float(self._loss(part)[0])
        one.at.held.append(total)
        if total <= min(one.at.held):
            one.best = vector

    def _loss(self, part: Sequence[tuple[int, TokenRow, float]]) -> tuple[Any, Any]:
        index = torch.tensor([place for place, _, _ in part], device=self._passes.device)
        vectors = self._table.values[index]

        def added(delta: Any) -> Callable[[Any], Any]:
            return lambda x: functional.linear(vectors, delta).to(x.dtype)[:, None]

        more = {name: added(delta) for name, delta in self._deltas.items()}
        return self._passes.loss([row for _, row, _ in part], [weight for _, _, weight in part], more)

    def _made(self, one: _Newcomer) -> Trained:
        bias = bias_of(self._projection, one.best.cpu().numpy(), self._beneath)
        tokens = sum(row.learnt for row in one.rows)
        losses, held = tuple(one.at.losses), tuple(one.at.held)
        return Trained(one.key, body_of(bias, self._recipe), losses, held, one.at.step, tokens, one.seconds)
