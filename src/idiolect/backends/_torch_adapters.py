"""Many people's adapters in one pass: their weights paged in and out, and each row's product with its own.

Every row ``x`` of a batch gets ``x W + (x A_row) B_row`` (Punica, arXiv:2310.18547), scaling and weight folded into
``B``. Factors of one adapter lie in one flat tensor, so that a row joins a batch by one copy. Import it late: it loads
PyTorch.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from idiolect.errors import InputError
from idiolect.training import peft_format
from idiolect.training.factors import LowRank
from idiolect.training.modules import Site
from idiolect.types import Adapter

_LINE = 16
"""Blocks begin at cache lines: so many float32 numbers."""
_LEAST = 4
"""Ranks are padded to powers of two from here on, so that rows of like ranks share their products."""
_PAGE = 1024


@dataclass(frozen=True, slots=True)
class Block:
    """Where the factors of one module lie: columns of its group's ``A``, ``B`` ``[rank, out]`` and the bias ``[out]``.

    ``bias`` is -1 where there is none.
    """

    site: Site
    first: int
    rank: int
    b: int
    bias: int


@dataclass(frozen=True, slots=True)
class Group:
    """Modules that read the same input: one ``A`` ``[in, rank]`` for all of them at offset ``a``."""

    a: int
    inputs: int
    rank: int
    blocks: tuple[Block, ...]


class Form:
    """Which modules are changed at which padded ranks, and where each factor lies in a flat tensor of ``size``."""

    def __init__(self, sites: Sequence[Sequence[Site]], ranks: dict[str, int], biased: frozenset[str]) -> None:
        """Lay out the factors; ``sites`` are grouped by shared input, ``ranks`` are those of the changed modules."""
        self.size, self.groups = 0, list[Group]()
        for together in sites:
            changed = [site for site in together if site.name in ranks]
            if not changed:
                continue
            total = sum(ranks[site.name] for site in changed)
            a, first, blocks = self._take(changed[0].inputs * total), 0, []
            for site in changed:
                rank = ranks[site.name]
                bias = self._take(site.outputs) if site.name in biased else -1
                blocks.append(Block(site, first, rank, self._take(rank * site.outputs), bias))
                first += rank
            self.groups.append(Group(a, changed[0].inputs, total, tuple(blocks)))
        if self.size % _PAGE == 0:  # rows of a stack a whole number of pages apart would share cache sets
            self.size += _LINE

    def _take(self, count: int) -> int:
        at = self.size
        self.size += -(-count // _LINE) * _LINE
        return at


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """The factors of a row's adapters together, flat ``[form.size]``."""

    form: Form
    flat: Any

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.flat.numel() * self.flat.element_size())


class Pool:
    """Adapters in memory, the least recently used ones dropped at ``limit`` bytes; ``loads`` counts bodies read.

    What is dropped stays alive while rows still answer with it. Threads may share a pool.
    """

    def __init__(
        self, sites: Callable[[], Sequence[Sequence[Site]]], like: Any, limit: int, model: Callable[[], str]
    ) -> None:
        """Take the groups of sites, a weight of the type and device in use, and the model's fingerprint.

        Sites and fingerprint are asked for at the first adapter.
        """
        self.loads = 0
        self._sites, self._like, self._limit, self._model = sites, like, limit, model
        self._forms: dict[object, Form] = {}
        self._held: OrderedDict[tuple[tuple[str, float], ...], Weights] = OrderedDict()
        self._lock = threading.RLock()

    def weights(self, adapters: Sequence[Adapter]) -> Weights | None:
        """Return the sum of adapters, ``None`` where it changes nothing.

        Raises :class:`InputError` for one that is not for this model.
        """
        counted = [one for one in adapters if one.weight]
        if not counted:
            return None
        key = tuple((one.id, one.weight) for one in counted)
        with self._lock:
            found = self._held.get(key)
            if found is None:
                with torch.inference_mode(mode=False):  # else gradients could not pass through them
                    found = self._made(counted)
                self._held[key] = found
            self._held.move_to_end(key)
            self._trim()
            return found if found.form.groups else None

    def forget(self, ids: Iterable[str]) -> None:
        """Drop adapters, and sums in which they are."""
        gone = set(ids)
        with self._lock:
            for key in [key for key in self._held if any(one in gone for one, _ in key)]:
                del self._held[key]

    @cached_property
    def sites(self) -> Sequence[Sequence[Site]]:
        """The modules that can be changed, those together that read the same input."""
        return self._sites()

    @cached_property
    def _known(self) -> dict[str, Site]:
        return {site.name: site for together in self.sites for site in together}

    def _trim(self) -> None:
        held = sum(one.size for one in self._held.values())
        while held > self._limit and len(self._held) > 1:
            held -= self._held.popitem(last=False)[1].size

    def _made(self, adapters: Sequence[Adapter]) -> Weights:
        if len(adapters) == 1 and adapters[0].weight == 1.0:
            return self._loaded(adapters[0])
        parts = [(self.weights([Adapter(one.id, 1.0, one.body)]), one.weight) for one in adapters]
        return self._sum([(part, weight) for part, weight in parts if part is not None])

    def _loaded(self, adapter: Adapter) -> Weights:
        self.loads += 1
        change = peft_format.load(adapter.body.read())
        self._check(adapter.id, change)
        factors = {name: one for name, one in change.modules.items() if one.rank}
        biased = frozenset(name for name, one in factors.items() if one.bias is not None)
        form = self._form({name: one.rank for name, one in factors.items()}, biased)
        flat, scale = np.zeros(form.size, np.float32), np.float32(change.scaling)
        for group in form.groups:
            for block in group.blocks:
                one, (a, b, bias) = factors[block.site.name], _views(flat, group, block)
                a[:, : one.rank] = one.a.T
                np.multiply(one.b.T, scale, out=b[: one.rank])
                if one.bias is not None:
                    np.multiply(one.bias, scale, out=bias)
        return Weights(form, torch.from_numpy(flat).to(self._like.device, self._like.dtype))

    def _sum(self, parts: Sequence[tuple[Weights, float]]) -> Weights:
        places = [{b.site.name: (g, b) for g in part.form.groups for b in g.blocks} for part, _ in parts]
        ranks: dict[str, int] = {}
        for place in places:
            for name, (_, block) in place.items():
                ranks[name] = ranks.get(name, 0) + block.rank
        biased = frozenset(name for place in places for name, (_, block) in place.items() if block.bias >= 0)
        form = self._form(ranks, biased)
        flat = self._like.new_zeros(form.size)
        for group in form.groups:
            for block in group.blocks:
                a, b, bias = _views(flat, group, block)
                at = 0
                for place, (part, weight) in zip(places, parts, strict=True):
                    if block.site.name not in place:
                        continue
                    old = place[block.site.name][1]
                    one_a, one_b, one_bias = _views(part.flat, *place[block.site.name])
                    a[:, at : at + old.rank] = one_a
                    torch.mul(one_b, weight, out=b[at : at + old.rank])
                    if old.bias >= 0:
                        bias.add_(one_bias, alpha=weight)
                    at += old.rank
        return Weights(form, flat)

    def _form(self, ranks: dict[str, int], biased: frozenset[str]) -> Form:
        padded = {name: max(_LEAST, 1 << (rank - 1).bit_length()) for name, rank in ranks.items()}
        key = (frozenset(padded.items()), biased)
        if key not in self._forms:
            self._forms[key] = Form(self.sites, padded, biased)
        return self._forms[key]

    def _check(self, name: str, change: LowRank) -> None:
        model = self._model()
        if change.base_model and change.base_model != model:
            raise InputError(
                f"the adapter {name} changes the weights of {change.base_model}, not of {model}. "
                "Serve that model, or train the adapter again for this one."
            )
        for module, one in change.modules.items():
            site = self._known.get(module)
            if site is None:
                known = ", ".join(sorted({site.last_name for site in self._known.values()}))
                raise InputError(
                    f"the adapter {name} changes {module!r}, which is no linear module of a layer of {model}; "
                    f"those are {known}"
                )
            bias = None if one.bias is None else one.bias.shape
            shapes = (one.b.shape[0], one.a.shape[1], bias)
            if shapes not in ((site.outputs, site.inputs, None), (site.outputs, site.inputs, (site.outputs,))):
                raise InputError(
                    f"the adapter {name} changes {module} by a matrix of shape {list(shapes[:2])}"
                    f"{f' and a bias of shape {list(bias)}' if bias else ''}; "
                    f"the model's is {[site.outputs, site.inputs]}"
                )


class Bank:
    """The factors of rows of one form, each in a slot beside its row, flat ``[slots, form.size]``."""

    def __init__(self, form: Form, like: Any) -> None:
        self._form, self._slots = form, list[Weights]()
        self._flat = like.new_empty(0, form.size)

    def filled(self, wanted: Sequence[Weights]) -> Any:
        """Return the factors of these rows ``[rows, form.size]``; only what is not in its slot yet is copied."""
        if len(wanted) > len(self._flat):
            wider = self._flat.new_empty(max(len(wanted), 2 * len(self._flat)), self._form.size)
            wider[: len(self._slots)] = self._flat[: len(self._slots)]
            self._flat = wider
        for slot, one in enumerate(wanted):
            if slot >= len(self._slots) or self._slots[slot] is not one:
                self._flat[slot] = one.flat
        self._slots = list(wanted)
        return self._flat[: len(wanted)]


class Banks:
    """The stacked factors of a batch whose rows come and go."""

    def __init__(self) -> None:
        self._banks: dict[Form, Bank] = {}

    def plan(self, rows: Sequence[Weights | None]) -> Plan:
        """Return what the rows of the batch add."""
        return Plan(self.parts(rows))

    def parts(self, rows: Sequence[Weights | None]) -> list[Part]:
        """Return one part for each form: its rows meet their factors in one product.

        Rows that all have the same adapters share a plain matrix product, and nothing is copied.
        """
        parts, kept = [], {}
        for form, places in _by(rows, lambda one: one.form).items():
            own = [one for one in (rows[at] for at in places) if one is not None]
            if len({id(one) for one in own}) == 1:
                flat = own[0].flat
            else:
                kept[form] = self._banks.get(form) or Bank(form, own[0].flat)
                flat = kept[form].filled(own)
            parts.append(Part(form, flat, _rows(places, len(rows), flat)))
        self._banks = kept
        return parts


class Part:
    """Rows that add the products of one form: factors ``[size]`` that all of them share, or ``[rows, size]``.

    ``rows`` is ``None`` for all rows of the batch, a slice, or an index.
    """

    def __init__(self, form: Form, flat: Any, rows: Any) -> None:
        self.flat, self.rows = flat, rows
        self.additions: list[tuple[Site, Callable[[Any, Any], None]]] = []
        for group in form.groups:
            down = _Down(group, flat, rows)
            for block in group.blocks:
                columns = slice(block.first, block.first + block.rank)
                _, b, bias = _views(flat, group, block)
                shift = None if block.bias < 0 else (bias[:, None] if flat.ndim == 2 else bias)
                self.additions.append((block.site, _adding(down, columns, b, shift)))


class Plan:
    """What a pass adds to the outputs of the changed modules."""

    def __init__(self, parts: Sequence[Part] = ()) -> None:
        found: dict[str, tuple[Site, list[Callable[[Any, Any], None]]]] = {}
        for part in parts:
            for site, add in part.additions:
                found.setdefault(site.name, (site, []))[1].append(add)
        self._changes = list(found.values())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Add to the passes of this thread; the hooks are gone when the block is left, however it is."""
        owner = threading.get_ident()

        def hooked(additions: Sequence[Callable[[Any, Any], None]]) -> Callable[[Any, Any, Any], None]:
            def hook(_module: Any, inputs: Any, output: Any) -> None:
                if threading.get_ident() == owner:  # not another thread's pass through the same weights
                    for add in additions:
                        add(inputs[0], output)

            return hook

        handles = list[Any]()
        try:
            for site, additions in self._changes:
                handles.append(site.module.register_forward_hook(hooked(additions)))
            yield
        finally:
            for handle in handles:
                handle.remove()


def read_plan(rows: Sequence[Weights | None]) -> Plan:
    """Return what rows of many positions add, adapter by adapter: where much is read, nothing need be stacked."""
    found = _by(rows, lambda one: one)
    return Plan([Part(one.form, one.flat, _rows(places, len(rows), one.flat)) for one, places in found.items()])


def together(model: Any, sites: Iterable[Site], ids: Any) -> list[list[Site]]:
    """Group sites that read the same tensor, by a pass over ``ids`` ``[rows, positions]``.

    Modules that do not see whole rows (experts, to which single tokens are sent) are left out: whose token is whose
    could not be told there.
    """
    seen: list[tuple[Any, list[Site]]] = []
    owner = threading.get_ident()

    def note(site: Site) -> Callable[[Any, Any], None]:
        def hook(_module: Any, inputs: Any) -> None:
            if threading.get_ident() != owner or not inputs or inputs[0].shape[:-1] != ids.shape:
                return
            if seen and seen[-1][0] is inputs[0]:
                seen[-1][1].append(site)
            else:
                seen.append((inputs[0], [site]))

        return hook

    handles = list[Any]()
    try:
        for site in sites:
            handles.append(site.module.register_forward_pre_hook(note(site)))
        with torch.inference_mode():
            model(input_ids=ids, use_cache=False, logits_to_keep=1)
    finally:
        for handle in handles:
            handle.remove()
    return [found for _, found in seen]


class _Down:
    # x A for all modules that read x, computed once: [rows, positions, rank].
    def __init__(self, group: Group, flat: Any, rows: Any) -> None:
        self.rows, self.rank = rows, group.rank
        self._a = flat[..., group.a : group.a + group.inputs * group.rank].unflatten(-1, (group.inputs, group.rank))
        self._input: Any = None
        self._product: Any = None

    def of(self, x: Any, last: bool) -> Any:
        product = self._product
        if self._input is not x:
            mine = x if self.rows is None else x[self.rows]
            product = mine @ self._a
        self._input, self._product = (None, None) if last else (x, product)
        return product


def _adding(down: _Down, columns: slice, b: Any, bias: Any) -> Callable[[Any, Any], None]:
    # In place: (x A)[columns] B and the bias, added to the rows' outputs [rows, positions, out].
    last = columns.stop == down.rank

    def add(x: Any, output: Any) -> None:
        product, rows = down.of(x, last)[..., columns], down.rows
        if isinstance(rows, torch.Tensor):
            more = product @ b
            output.index_add_(0, rows, more if bias is None else more + bias)
            return
        mine = output if rows is None else output[rows]
        if b.ndim == 2:
            mine.view(-1, mine.shape[-1]).addmm_(product.flatten(0, 1), b)
        else:
            mine.baddbmm_(product, b)
        if bias is not None:
            mine += bias

    return add


def _views(flat: Any, group: Group, block: Block) -> tuple[Any, Any, Any]:
    # A [in, rank], B [rank, out] and the bias [out] of a module, of a numpy array or a tensor with leading axes.
    lead, outputs = flat.shape[:-1], block.site.outputs
    whole = flat[..., group.a : group.a + group.inputs * group.rank].reshape(*lead, group.inputs, group.rank)
    b = flat[..., block.b : block.b + block.rank * outputs].reshape(*lead, block.rank, outputs)
    bias = flat[..., block.bias : block.bias + outputs] if block.bias >= 0 else None
    return whole[..., block.first : block.first + block.rank], b, bias


def _by(rows: Sequence[Weights | None], key: Callable[[Weights], Any]) -> dict[Any, list[int]]:
    found: dict[Any, list[int]] = {}
    for at, one in enumerate(rows):
        if one is not None:
            found.setdefault(key(one), []).append(at)
    return found


def _rows(places: Sequence[int], count: int, like: Any) -> Any:
    if len(places) == count:
        return None
    if places[-1] - places[0] == len(places) - 1:
        return slice(places[0], places[-1] + 1)
    return torch.tensor(places, device=like.device)
