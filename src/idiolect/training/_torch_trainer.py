"""Many people's adapters trained at once over one frozen model.

A step takes a few examples of each person who is in training; the rows of all of them go through the model together,
in passes of like lengths, each row with its own person's factors. Losses are means within a person, gradients are cut
and steps made person by person: an adapter is the same whatever is trained beside it. When somebody's is finished the
next one takes the place. What comparisons are measured against, the model without the adapter, is read once, in the
same way without factors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch

from idiolect.trainable import Checkpoints, Job, Recipe, Trained
from idiolect.training import peft_format, unfinished
from idiolect.training._torch_loss import learnt_losses
from idiolect.training._torch_lowrank import Batch, Change, beneath_of, changed
from idiolect.training._torch_objective import Noted, log_ratios, objective_of
from idiolect.training._torch_rows import head_of, inputs_of
from idiolect.training._torch_stack import Stack
from idiolect.training._torch_trunk import Decoder
from idiolect.training.factors import LowRank
from idiolect.training.modules import chosen, sites
from idiolect.training.plan import Plan
from idiolect.training.rows import Learnable, TokenPair, TokenRow, passes
from idiolect.training.unfinished import Unfinished
from idiolect.types import Body, Floats


@dataclass
class _Place:
    # Somebody's training, as far as it has come.
    job: Job
    examples: list[Learnable]
    held: list[Learnable]
    plan: Plan
    digest: str
    at: Unfinished = field(default_factory=Unfinished)
    best: Any = None
    seconds: float = 0.0
    states: dict[tuple[int, int], Any] = field(default_factory=dict)  # what the trunk makes of a row

    @property
    def done(self) -> bool:
        """Whether all steps are made, or the held-out loss has not fallen for long enough."""
        return self.plan.done(self.at.step, self.at.held)

    @property
    def better(self) -> bool:
        """Whether no held-out loss was lower than the last one."""
        return self.at.held[-1] <= min(self.at.held)


class _Asked(NamedTuple):
    # An example in a pass: whose it is, its number (below 0 for what is held out), and its part of the person's mean.
    place: int
    number: int
    example: Learnable
    share: float


Given = tuple[Job, list[Learnable], list[Learnable], str]
"""A job, what is learnt and what is held out, and a digest of all that its weights depend on."""


class Trainer:
    """One training run over a model: its sites, the stack of factors, and the passes."""

    def __init__(
        self, model: Any, layers: Sequence[Any], recipe: Recipe, places: int, tokens: int, under: LowRank | None
    ) -> None:
        """Prepare ``places`` trainings at a time, with passes of about ``tokens`` tokens.

        ``under`` is an adapter that all calls carry: it is merged into copies of the weights it changes.
        """
        self.recipe, self._tokens = recipe, tokens
        self._device = next(model.parameters()).device
        found = sites(model, layers)
        wanted = chosen(found, recipe.modules, recipe.layers, len(layers))
        self._stack = Stack(wanted, recipe.rank, places, self._device, recipe.seed)
        self._scaling = recipe.alpha / recipe.rank
        beneath = {} if under is None else {name: beneath_of(found[name], under) for name in under.modules}
        self._sites = {name: site for name, site in found.items() if name in wanted or name in beneath}
        self._changes = {
            name: Change(
                *beneath.get(name, (site.module.weight, site.module.bias)), site.transposed,
                *(self._stack.factors(name) if name in wanted else ()),
            )
            for name, site in self._sites.items()
        }  # fmt: skip
        self._bare = {name: replace(change, a=None, b=None) for name, change in self._changes.items()}
        self._objective = objective_of(recipe)
        self._anchor = torch.zeros(1, device=self._device, requires_grad=True)
        self._decoder = Decoder(model, layers, min((site.layer for site in wanted.values()), default=0))
        self._head, self._vocabulary = head_of(model), int(model.get_output_embeddings().weight.shape[0])
        self._embed = model.get_input_embeddings()
        self._splits: bool | None = None
        self._places: list[_Place | None] = [None] * places

    def run(
        self,
        jobs: Iterable[Given],
        fingerprint: str,
        progress: Callable[[int], None] | None,
        check: Callable[[], None] | None,
        checkpoints: Checkpoints | None,
    ) -> Iterator[Trained]:
        """Train until no job is left; yield adapters as they are finished."""
        waiting, saved = iter(jobs), time.monotonic()
        while True:
            self._fill(waiting, checkpoints)
            if not any(self._places):
                return
            if check is not None:
                check()
            count = self._step()
            if progress is not None:
                progress(count)
            if checkpoints is not None and time.monotonic() - saved > unfinished.SAVE_SECONDS:
                self._save(checkpoints)
                saved = time.monotonic()
            yield from self._finished(fingerprint, checkpoints)

    # -- coming and going --------------------------------------------------------------------------------------

    def _fill(self, waiting: Iterator[Given], kept: Checkpoints | None) -> None:
        for place, there in enumerate(self._places):
            if there is not None or (given := next(waiting, None)) is None:
                continue
            job, examples, held, digest = given
            one = self._places[place] = _Place(job, examples, held, Plan(self.recipe, len(examples)), digest)
            start = None if job.start is None else peft_format.load(job.start.read())
            self._stack.reset(place, start, self._scaling, bool(self.recipe.proximal))
            self._refer(place, one)
            before = None if kept is None else Unfinished.load(kept.load(job.key), digest)
            if before is not None:
                one.at = before
                self._stack.bring_back(place, before.state)
                one.best = None if before.best is None else torch.from_numpy(before.best).to(self._device)
            elif held:
                self._look(place, one)

    def _finished(self, fingerprint: str, checkpoints: Checkpoints | None) -> Iterator[Trained]:
        for place, one in enumerate(self._places):
            if one is None or not one.done:
                continue
            row = self._stack.copy(place) if one.best is None else one.best
            adapter = self._stack.adapter(row, self._scaling, fingerprint)
            body = Body.of(peft_format.dump(adapter, self.recipe.dtype))
            self._places[place] = None
            tokens = sum(example.learnt for example in one.examples)
            yield Trained(one.job.key, body, tuple(one.at.losses), tuple(one.at.held), one.at.step, tokens, one.seconds)
            if checkpoints is not None:
                checkpoints.drop(one.job.key)

    def _save(self, checkpoints: Checkpoints) -> None:
        for place, one in enumerate(self._places):
            if one is not None:
                best: Floats | None = None if one.best is None else one.best.cpu().numpy()
                checkpoints.save(one.job.key, one.at.dump(one.digest, self._stack.state(place), best))

    # -- steps -------------------------------------------------------------------------------------------------

    def _step(self) -> int:
        """Make one step for everybody in training; return from how many examples was learnt."""
        asked = list[_Asked]()
        active = [(place, one) for place, one in enumerate(self._places) if one is not None and not one.done]
        for place, one in active:
            batch = one.plan.batch(one.at.step)
            total = sum(one.examples[n].mass for n in batch)
            asked += [_Asked(place, n, one.examples[n], one.examples[n].weight / total) for n in batch]
        for part in self._passes(asked):
            self._learn(sorted(part, key=lambda job: job.place))
        if active:
            recipe, counts = self.recipe, [one.at.step for _, one in active]
            rates = [one.plan.rate(one.at.step) for _, one in active]
            places = [place for place, _ in active]
            self._stack.step(places, rates, counts, recipe.clip, recipe.decay, recipe.proximal)
        for place, one in active:
            one.at.step += 1
            if one.plan.ends_epoch(one.at.step - 1):
                one.at.end_epoch()
                self._look(place, one)
        return len(asked)

    def _learn(self, part: Sequence[_Asked]) -> None:
        start = time.perf_counter()
        with torch.enable_grad():
            total, noted = self._loss(part)
            total.backward()
        self._took(part, time.perf_counter() - start)
        for n, loss, weight in noted:
            self._at(part[n].place).at.add(loss, weight)

    def _look(self, place: int, one: _Place) -> None:
        """Measure the held-out loss, and keep the factors where none was lower."""
        if not one.held:
            return
        total = weight = 0.0
        for part in self._passes(_Asked(place, -1 - n, each, each.weight) for n, each in enumerate(one.held)):
            with torch.no_grad():
                total += float(self._loss(part)[0])
            weight += sum(asked.example.mass for asked in part)
        one.at.held.append(total / weight)
        if one.better:
            one.best = self._stack.copy(place)

    def _refer(self, place: int, one: _Place) -> None:
        """Write down what the model without the adapter says of somebody's comparisons."""
        for examples, first, way in ((one.examples, 0, 1), (one.held, -1, -1)):
            pairs = [(n, pair) for n, pair in enumerate(examples) if isinstance(pair, TokenPair)]
            for part in self._passes(_Asked(place, first + way * n, pair, 1.0) for n, pair in pairs):
                start = time.perf_counter()
                read = [pair for asked in part if isinstance(pair := asked.example, TokenPair)]
                with torch.no_grad():
                    found = log_ratios(self._losses(part, self._bare), read).tolist()
                for asked, pair, reference in zip(part, read, found, strict=True):
                    examples[way * (asked.number - first)] = replace(pair, reference=reference)
                self._took(part, time.perf_counter() - start)

    def _passes(self, asked: Iterable[_Asked]) -> list[list[_Asked]]:
        given = list(asked)
        return passes(given, [len(one.example) for one in given], self._tokens)

    def _took(self, part: Sequence[_Asked], seconds: float) -> None:
        each = seconds / sum(len(asked.example) for asked in part)
        for asked in part:
            self._at(asked.place).seconds += each * len(asked.example)

    def _loss(self, part: Sequence[_Asked]) -> tuple[Any, list[Noted]]:
        """Return the loss of some examples, and what is noted of each by its place among them."""
        losses = self._losses(part, self._changes)
        return self._objective.loss(losses, [asked.example for asked in part], [asked.share for asked in part])

    def _losses(self, part: Sequence[_Asked], changes: Mapping[str, Change]) -> Any:
        """Return the losses ``[tokens]`` of the learnt tokens of all rows, under these changes of the model."""
        read = [
            (asked.place, (asked.number, side), row) for asked in part for side, row in enumerate(asked.example.rows)
        ]
        rows = [row for *_, row in read]
        batch = Batch(tuple(place for place, *_ in read), self._anchor, self._scaling)
        if self._splits is None:  # one row tells
            with changed(self._sites, self._changes, Batch(batch.places[:1], self._anchor, self._scaling)):
                self._splits = self._decoder.splits(inputs_of(rows[:1], self._embed, self._device))
        with changed(self._sites, changes, batch):
            states = self._states(read, inputs_of(rows, self._embed, self._device))
        return learnt_losses(states, rows, self._head, self._vocabulary)

    def _states(self, read: Sequence[tuple[int, tuple[int, int], TokenRow]], given: dict[str, Any]) -> Any:
        if not self._splits:
            return self._decoder.whole(given)
        held = [self._at(place).states for place, *_ in read]
        missing = [n for n, (_, name, _) in enumerate(read) if name not in held[n]]
        if missing:
            made = self._decoder.lower({name: one[missing] for name, one in given.items()})
            for n, states in zip(missing, made, strict=True):
                held[n][read[n][1]] = states[: len(read[n][2])].clone()
        width = max(len(row) for *_, row in read)
        trunk = [states[name] for states, (_, name, _) in zip(held, read, strict=True)]
        padded = [torch.nn.functional.pad(one, (0, 0, 0, width - len(one))) for one in trunk]
        return self._decoder.upper(given, torch.stack(padded))

    def _at(self, place: int) -> _Place:
        one = self._places[place]
        assert one is not None, "rows belong to somebody in training"
        return one
