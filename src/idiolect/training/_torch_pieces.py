"""Gates over adapters of a frozen PyTorch model, and the choice of pieces in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from idiolect.trainable import Recipe
from idiolect.training._torch_loss import head_loss
from idiolect.training._torch_lowrank import replaced
from idiolect.training._torch_rows import head_of, padded
from idiolect.training.factors import LowRank
from idiolect.training.modules import Site, sites
from idiolect.training.pieces import Chosen, Pieces, best, standard
from idiolect.training.plan import Plan
from idiolect.training.rows import TokenRow, passes

Asked = tuple[str, LowRank, Sequence[TokenRow]]


@dataclass(slots=True)
class _Module:
    # The frozen factors of all people at one module, padded to the largest rank, and their gates.
    a: Any  # [people, rank, in]
    b: Any  # [people, out, rank], scaled
    gates: Any  # [people, in], the leaves

    def forward(self, x: Any, own: Callable[[Any], Any], index: Any) -> Any:
        """Return ``own(x) + sigmoid(g.x) B A x``, each row with the factors of its person."""
        a, b = (part[index].to(x.dtype) for part in (self.a, self.b))
        gate = torch.sigmoid(torch.bmm(x.float(), self.gates[index][:, :, None]))  # [rows, positions, 1]
        down = torch.bmm(x, a.transpose(1, 2)) * gate.to(x.dtype)
        return own(x) + torch.bmm(down, b.transpose(1, 2))

    def step(self, places: Sequence[int], rates: Sequence[float]) -> None:
        """Move the gates of some people against their gradients by ``rates``, however long the gradients are."""
        index, rate = (torch.tensor(part, device=self.gates.device) for part in (places, rates))
        gradient = self.gates.grad[index]
        length = gradient.norm(dim=1, keepdim=True)
        with torch.no_grad():
            self.gates[index] -= rate[:, None] * gradient / length.clamp(min=torch.finfo(length.dtype).tiny)
        self.gates.grad = None


def train_gates(
    model: Any, layers: Sequence[Any], asked: Sequence[Asked], recipe: Recipe, tokens: int,
    check: Callable[[], None] | None,
) -> Iterator[tuple[str, Pieces]]:  # fmt: skip
    """Train the gates of some people at once; each person's loss, rate and steps are their own."""
    device = next(model.parameters()).device
    found, head = sites(model, layers), head_of(model)
    modules = _modules(found, [adapter for _, adapter, _ in asked], device)
    vocabulary = int(model.get_output_embeddings().weight.shape[0])
    plans = [Plan(recipe, len(rows)) for _, _, rows in asked]
    for step in range(max(plan.steps for plan in plans)):
        if check is not None:
            check()
        active = [n for n, plan in enumerate(plans) if step < plan.steps]
        for part in _passes(asked, plans, active, step, tokens):
            with torch.enable_grad():
                _loss(model, found, modules, head, vocabulary, part, device).backward()
        for one in modules.values():
            if one.gates.grad is not None:
                one.step(active, [plans[n].rate(step) for n in active])
    for n, (key, adapter, _) in enumerate(asked):
        keys = {name: standard(modules[name].gates[n].detach().cpu().numpy()) for name in adapter.modules}
        yield key, Pieces(adapter, keys)


def _modules(found: Mapping[str, Site], adapters: Sequence[LowRank], device: Any) -> dict[str, _Module]:
    out = {}
    for name in dict.fromkeys(name for one in adapters for name in one.modules):
        site, rank = found[name], max(one.modules[name].rank for one in adapters if name in one.modules)
        a = np.zeros((len(adapters), rank, site.inputs), np.float32)
        b = np.zeros((len(adapters), site.outputs, rank), np.float32)
        for n, one in enumerate(adapters):
            if name in one.modules:
                factors = one.modules[name]
                a[n, : factors.rank], b[n, :, : factors.rank] = factors.a, one.scaling * factors.b
        gates = torch.zeros(len(adapters), site.inputs, device=device, requires_grad=True)
        out[name] = _Module(torch.from_numpy(a).to(device), torch.from_numpy(b).to(device), gates)
    return out


def _passes(
    asked: Sequence[Asked], plans: Sequence[Plan], active: Sequence[int], step: int, tokens: int
) -> list[list[tuple[int, TokenRow, float]]]:
    """Return the rows of a step in passes, each with whose it is and what a token of it weighs."""
    out = []
    for n in active:
        rows = [asked[n][2][at] for at in plans[n].batch(step)]
        total = sum(row.weight * row.learnt for row in rows)
        out += [(n, row, row.weight / total) for row in rows]
    return passes(out, [len(row) for _, row, _ in out], tokens)


def _loss(
    model: Any, found: Mapping[str, Site], modules: Mapping[str, _Module], head: Callable[[Any], Any], vocabulary: int,
    part: Sequence[tuple[int, TokenRow, float]], device: Any,
) -> Any:  # fmt: skip
    index = torch.tensor([n for n, _, _ in part], device=device)
    rows = [row for _, row, _ in part]

    def forward_of(one: _Module, own: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: one.forward(x, own, index)

    ids, mask = padded(rows, device)
    with replaced(found, {name: forward_of(one, found[name].module.forward) for name, one in modules.items()}):
        states = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    seen = torch.cat([state[row.start - 1 : len(row) - 1] for state, row in zip(states, rows, strict=True)])
    targets = torch.tensor([token for row in rows for token in row.ids[row.start :]], device=device)
    weights = torch.tensor([weight for _, row, weight in part for _ in range(row.learnt)], device=device)
    return head_loss(seen, head, targets, weights, vocabulary)[0]


def choose_pieces(
    model: Any, layers: Sequence[Any], rows: Sequence[TokenRow], pieces: Sequence[Pieces], k: int, temperature: float
) -> dict[str, Chosen]:
    """Read all rows in one pass; each module is changed by the pieces that fit what it reads, and the next one sees it.

    A row's tokens count the same together as another row's, however many they are.
    """
    device = next(model.parameters()).device
    found, chosen = sites(model, layers), dict[str, Chosen]()
    ids, mask = padded(rows, device)
    counted = torch.zeros(ids.shape, device=device)  # [rows, positions]
    for n, row in enumerate(rows):
        counted[n, row.start : len(row)] = 1 / (row.learnt * len(rows))

    def forward_of(name: str, own: Callable[[Any], Any]) -> Callable[[Any], Any]:
        having = [n for n, one in enumerate(pieces) if name in one.keys]
        keys = np.stack([pieces[n].keys[name] for n in having])  # [having, in]

        def forward(x: Any) -> Any:
            normal = torch.nn.functional.layer_norm(x.float(), x.shape[-1:])
            mean = torch.einsum("rp,rpd->d", counted, normal).cpu().numpy()
            places, weights = best(keys @ mean / np.float32(math.sqrt(len(mean))), k, temperature)
            chosen[name] = tuple(having[n] for n in places), weights
            y = own(x)
            for n, weight in zip(*chosen[name], strict=True):
                one, scale = pieces[n].adapter.modules[name], weight * pieces[n].adapter.scaling
                a, b = (torch.from_numpy(part).to(x) for part in (one.a, one.b))
                y = y + scale * (x @ a.T @ b.T)
            return y

        return forward

    names = [name for name in found if any(name in one.keys for one in pieces)]
    with torch.no_grad(), replaced(found, {name: forward_of(name, found[name].module.forward) for name in names}):
        model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    return {name: chosen[name] for name in names}
