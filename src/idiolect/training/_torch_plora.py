"""PLoRA (arXiv:2403.06208): one low-rank change for everybody, moved by a small vector of each person.

A changed module gives ``W x + s B (A x + P e)`` for a person's vector ``e`` ``[width]``. The person's part ``s B P e``
does not depend on ``x``: it is a bias, and is served as one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from idiolect.trainable import Checkpoints, Joint, Recipe, Trained, Vectors
from idiolect.training import unfinished
from idiolect.training._torch_adam import BETAS, EPSILON
from idiolect.training._torch_people import Passes, Person, Table, bias_of, body_of, over
from idiolect.training.factors import Factors, LowRank
from idiolect.training.modules import Site, chosen
from idiolect.training.plan import Plan
from idiolect.training.rows import TokenRow, passes
from idiolect.training.unfinished import Unfinished
from idiolect.types import EVERYONE, Floats


class Together:
    """The first stage: the shared factors, the projections, and the vectors of all who take part."""

    def __init__(
        self, model: Any, layers: Sequence[Any], people: Sequence[Person], recipe: Recipe, vectors: Vectors,
        tokens: int, under: LowRank | None,
    ) -> None:  # fmt: skip
        """Begin with no change of the model: ``B`` and all vectors are zero."""
        self._passes = Passes(model, layers, tokens, under)
        self._people, self._recipe, self._vectors = people, recipe, vectors
        self._scaling = recipe.alpha / recipe.rank
        wanted = chosen(self._passes.found, recipe.modules, recipe.layers, len(layers))
        self._weights = _initial(wanted, recipe, vectors.width, self._passes.device)
        self._table = Table(len(people), vectors.width, self._passes.device)
        self._rows = [(place, row) for place, (_, rows, _) in enumerate(people) for row in rows]
        self._held = [(place, row) for place, (_, _, held) in enumerate(people) for row in held]
        flat = [one for parts in self._weights.values() for one in parts]
        self._adam = torch.optim.AdamW(flat, recipe.rate, BETAS, EPSILON, recipe.decay)
        self._flat, self._best, self._at = [*flat, self._table.values], list[Any](), Unfinished()

    def run(
        self, fingerprint: str, digest: str, progress: Callable[[int], None] | None, check: Callable[[], None] | None,
        checkpoints: Checkpoints | None,
    ) -> Joint:  # fmt: skip
        """Train, and return the weights of the pass with the lowest held-out loss.

        What was saved last, the finished training too, stays until the caller drops it: what is made of it may be lost.
        """
        began, saved = time.perf_counter(), time.monotonic()
        plan = Plan(self._recipe, len(self._rows))
        of_vectors = Plan(replace(self._recipe, rate=self._vectors.rate), len(self._rows))
        before = None if checkpoints is None else Unfinished.load(checkpoints.load(EVERYONE), digest)
        if before is None:
            self._look()
        else:
            self._bring_back(before)
        at = self._at
        while at.step < plan.steps and not over(at.held, self._recipe.patience):
            if check is not None:
                check()
            batch = plan.batch(at.step)
            at.total += self._step(batch, at.step, plan.rate(at.step), of_vectors.rate(at.step))
            at.step += 1
            if progress is not None:
                progress(len(batch))
            if plan.ends_epoch(at.step - 1):
                at.losses.append(at.total / plan.per_epoch)
                at.total = 0.0
                self._look()
            if checkpoints is not None and time.monotonic() - saved > unfinished.SAVE_SECONDS:
                checkpoints.save(EVERYONE, self._dump(digest))
                saved = time.monotonic()
        if checkpoints is not None:
            checkpoints.save(EVERYONE, self._dump(digest))
        return self._made(fingerprint, time.perf_counter() - began)

    def _dump(self, digest: str) -> bytes:
        """Serialise how far it has come: shared weights, then all vectors, each with its moments."""
        self._at.counts = self._table.steps
        vectors = self._table.state(range(len(self._people)))
        moments = [self._adam.state.get(one, {}) for one in self._flat[:-1]]
        tables = [
            [one.detach() for one in self._flat[:-1]],
            *([state[name] for state in moments if state] for name in ("exp_avg", "exp_avg_sq")),
        ]
        rows = [_line([*table, part]) for table, part in zip(tables, vectors, strict=True)]
        return self._at.dump(digest, np.stack(rows), _line(self._best) if self._best else None)

    def _bring_back(self, before: Unfinished) -> None:
        self._at = before
        values, *moments = ([*self._parts(row)] for row in before.state)
        for one, value, first, second in zip(self._flat[:-1], values, *moments, strict=False):
            one.data.copy_(value)
            step = torch.tensor(float(before.step))
            self._adam.state[one] = {"step": step, "exp_avg": first.clone(), "exp_avg_sq": second.clone()}
        vectors = torch.stack([values[-1], *(part[-1] for part in moments)])
        self._table.bring_back(range(len(self._people)), vectors, before.counts)
        self._best = [] if before.best is None else [one.clone() for one in self._parts(before.best)]

    def _parts(self, line: Floats) -> Iterator[Any]:
        """Yield the tensors of a line of numbers, each in its shape."""
        sizes = [one.numel() for one in self._flat]
        for one, part in zip(self._flat, torch.from_numpy(line).to(self._passes.device).split(sizes), strict=True):
            yield part.view_as(one)

    def _step(self, batch: Sequence[int], step: int, rate: float, rate_of_vectors: float) -> float:
        """Make a step; return its mean loss a token."""
        asked = [self._rows[n] for n in batch]
        here = np.random.default_rng((self._recipe.seed, step)).random(len(asked)) >= self._vectors.drop
        weight = sum(row.weight * row.learnt for _, row in asked)
        loss = 0.0
        for part in passes([*range(len(asked))], [len(row) for _, row in asked], self._passes.tokens):
            with torch.enable_grad():
                some = self._loss([asked[n] for n in part], [bool(here[n]) for n in part], weight)
                some.backward()
            loss += float(some.detach())
        if self._recipe.clip:
            torch.nn.utils.clip_grad_norm_(self._flat[:-1], self._recipe.clip)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self._adam.zero_grad()
        told = sorted({place for (place, _), there in zip(asked, here, strict=True) if there})
        if told:
            self._table.step(told, [rate_of_vectors] * len(told), self._recipe.clip)
        return loss

    def _loss(self, asked: Sequence[tuple[int, TokenRow]], here: Sequence[bool], weight: float) -> Any:
        index = torch.tensor([place for place, _ in asked], device=self._passes.device)
        mask = torch.tensor(here, device=self._passes.device, dtype=torch.float32)
        vectors = self._table.values[index] * mask[:, None]  # [rows, width]
        added = {name: self._added(*parts, vectors) for name, parts in self._weights.items()}
        rows = [row for _, row in asked]
        return self._passes.loss(rows, [row.weight / weight for row in rows], added)[0]

    def _added(self, a: Any, b: Any, p: Any, vectors: Any) -> Callable[[Any], Any]:
        def added(x: Any) -> Any:
            down = functional.linear(x, a.to(x.dtype)) + functional.linear(vectors, p).to(x.dtype)[:, None]
            return self._scaling * functional.linear(down, b.to(x.dtype))

        return added

    def _look(self) -> None:
        if not self._held:
            return
        weight, total = sum(row.weight * row.learnt for _, row in self._held), 0.0
        for part in passes(self._held, [len(row) for _, row in self._held], self._passes.tokens):
            with torch.no_grad():
                total += float(self._loss(part, [True] * len(part), weight))
        self._at.held.append(total)
        if total <= min(self._at.held):
            self._best = [one.detach().clone() for one in self._flat]

    def _made(self, fingerprint: str, seconds: float) -> Joint:
        numbers = [one.detach().cpu().numpy() for one in self._best or self._flat]
        parts = {name: numbers[3 * n : 3 * n + 3] for n, name in enumerate(self._weights)}
        shared = LowRank({name: Factors(a, b) for name, (a, b, _) in parts.items()}, self._scaling, fingerprint)
        projection = LowRank({name: Factors(p, b) for name, (_, b, p) in parts.items()}, self._scaling, fingerprint)
        tokens = [sum(row.learnt for row in rows) for _, rows, _ in self._people]
        each = seconds / max(1, sum(tokens))
        people = (
            Trained(key, body_of(bias_of(projection, vector, shared), self._recipe), (), (), count, own, each * own)
            for (key, _, _), vector, count, own in zip(
                self._people, numbers[-1], self._table.steps, tokens, strict=True
            )
        )
        body, at = body_of(shared, self._recipe), self._at
        everyone = Trained("", body, tuple(at.losses), tuple(at.held), at.step, sum(tokens), seconds)
        return Joint(everyone, body_of(projection, self._recipe), tuple(people))


def _line(parts: Sequence[Any]) -> Floats:
    line: Floats = torch.cat([one.flatten() for one in parts]).cpu().numpy()
    return line


def _initial(wanted: Mapping[str, Site], recipe: Recipe, width: int, device: Any) -> dict[str, tuple[Any, Any, Any]]:
    # A and P uniform within 1 / sqrt(in) and 1 / sqrt(width), B zero; A as for one adapter alone.
    rng = np.random.default_rng(recipe.seed)

    def uniform(inputs: int) -> Any:
        bound = 1 / math.sqrt(inputs)
        drawn = rng.uniform(-bound, bound, (recipe.rank, inputs)).astype(np.float32)
        return torch.from_numpy(drawn).to(device).requires_grad_()

    first = {name: uniform(site.inputs) for name, site in wanted.items()}
    return {
        name: (a, torch.zeros(wanted[name].outputs, recipe.rank, device=device, requires_grad=True), uniform(width))
        for name, a in first.items()
    }
