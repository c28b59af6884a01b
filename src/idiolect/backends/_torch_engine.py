"""A model and its tokenizer in PyTorch: what goes in, one pass after the other, what comes out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from idiolect import models
from idiolect.backends._torch_attention import train_quickly
from idiolect.decoding.branches import lost, sources_of
from idiolect.decoding.steering import Addition, directions, steered, vectors
from idiolect.errors import ConfigError, InputError, MissingExtra, ModelError, UnsupportedCall
from idiolect.models.convert import no_progress_bars
from idiolect.training.modules import Site, sites
from idiolect.types import Adapter, Call, Floats, Message, Steer

if TYPE_CHECKING:
    from idiolect.backends._torch_adapters import Plan

_PASS = 64
"""How many tokens a CPU reads in the time that a pass takes whatever it reads; a GPU reads many more."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence that the model reads: a soft prompt ``[m, hidden]`` at positions 0 to m - 1, then token ids.

    ``steering`` acts at generated positions only; which these are is said where the row is read. ``adapters`` change
    the weights that the whole row meets. ``proxy`` says that the smaller model reads it.
    """

    ids: tuple[int, ...]
    soft: Floats | None = None
    steering: tuple[Steer, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    proxy: bool = False

    def __len__(self) -> int:
        return len(self.ids) + (0 if self.soft is None else len(self.soft))

    @property
    def key(self) -> tuple[object, ...]:
        """What makes rows the same to the model."""
        soft = None if self.soft is None else self.soft.tobytes()
        steering = tuple((s.layer, s.strength, s.along, s.vector.tobytes()) for s in self.steering)
        return self.ids, soft, steering, tuple((one.id, one.weight) for one in self.adapters), self.proxy

    def followed(self, ids: Sequence[int]) -> Row:
        """Return the row with more token ids at its end."""
        return replace(self, ids=(*self.ids, *ids))


class Engine:
    """Tokenizer and weights. It keeps nothing between calls but adapters, so threads may share it.

    ``proxy`` is the engine of a smaller model with the same tokens, which reads the rows that are for it.
    """

    def __init__(
        self, model: str, dtype: str, device: str, threads: int, adapters_mb: int = 1024, proxy: Engine | None = None
    ) -> None:
        if "torch" not in sys.modules:
            # OpenMP threads that spin while they wait bring a busy machine to a standstill; read when torch loads.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            import torch
            import transformers
        except ImportError as error:
            raise MissingExtra("the transformers backend", "transformers") from error

        self.torch = torch
        folder = models.hf_folder(model)
        if threads:
            torch.set_num_threads(threads)
        self.device = _device(torch, device)
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            wanted = _dtype(torch, dtype, self.device)
            with no_progress_bars():
                self.model = transformers.AutoModelForCausalLM.from_pretrained(
                    folder, dtype=wanted, local_files_only=True
                )
        except (OSError, ValueError) as error:
            raise ModelError(f"transformers cannot load {folder} ({error})") from error
        self.model.to(self.device).eval().requires_grad_(False)
        train_quickly(self.model)
        config = self.model.config.get_text_config()
        self.limit = int(getattr(self.model.config, "max_position_embeddings", 0) or sys.maxsize)
        self.hidden, self.vocabulary = int(config.hidden_size), int(config.vocab_size)
        self.layers = _layers(torch, self.model, int(config.num_hidden_layers))
        self.overhead = _PASS if self.device.type == "cpu" else 64 * _PASS
        self.ends = self._end_ids()
        self.end = self.tokenizer.eos_token_id if self.tokenizer.eos_token_id is not None else min(self.ends)
        caches = transformers.cache_utils
        layers = caches.DynamicCache(config=config).layers
        self.attends_to_all = all(type(layer) is caches.DynamicLayer for layer in layers)
        from idiolect.backends._torch_adapters import Pool

        self.proxy = proxy
        if proxy is not None:
            _check_proxy(self, proxy)
        weight = self.model.get_input_embeddings().weight
        self.adapters = Pool(self._sites, weight, adapters_mb << 20, lambda: models.fingerprint(model))

    def tokens(self, text: str) -> list[int]:
        """Return token ids, special tokens read as such."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, messages: Sequence[Message], call: Call) -> list[int]:
        """Return the ids of the chat prompt; :class:`InputError` where it is too long or the template refuses it."""
        given = dict(call.extra.get("chat_template_kwargs") or {})
        try:
            text = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=call.extra.get("tools"),
                add_generation_prompt=True,
                tokenize=False,
                **given,
            )
        except Exception as error:  # a template may raise anything
            raise InputError(f"the chat template of the model cannot write these messages: {error}") from error
        ids = self.tokens(text)
        self.check_length(len(ids))
        return ids

    def check_length(self, tokens: int) -> None:
        """Raise :class:`InputError` for more tokens than the model reads."""
        if tokens >= self.limit:
            raise InputError(f"the prompt has {tokens} tokens, the model reads at most {self.limit}. Shorten it.")

    def rows(self, call: Call) -> list[Row]:
        """Return what is read for a call: one row for each branch of its mixture, else one.

        Soft prompt, steering and adapters belong to the call's own prompt; other branches are read without, and a
        branch may bring adapters. Raises :class:`UnsupportedCall` where no branch reads what the call brings, so that
        it would be lost, and :class:`InputError` where soft prompt or steering do not fit the model.
        """
        if unread := lost(call):
            raise UnsupportedCall("a mixture without the call's own prompt", "transformers", unread[-1], ())
        soft, steering = call.soft_prompt, call.steering
        if soft is not None and (soft.ndim != 2 or soft.shape[1] != self.hidden):
            raise InputError(f"a soft prompt of shape {soft.shape} does not fit the model's [tokens, {self.hidden}]")
        vectors([steering], len(self.layers), self.hidden)
        rows = []
        for one in sources_of(call):
            inside = (soft, steering) if one.own else (None, ())
            ids = tuple(self._reader(one.proxy).prompt(one.messages, call))
            rows.append(Row(ids, *inside, one.adapters, one.proxy))
        self.check_rows(rows, 0)
        return rows

    def check_rows(self, rows: Sequence[Row], more: int) -> None:
        """Raise :class:`InputError` for rows that with so many more tokens are longer than their model reads."""
        for row in rows:
            self.of(row).check_length(len(row) + more)

    def of(self, row: Row) -> Engine:
        """Return the model that reads a row."""
        return self._reader(row.proxy)

    def _reader(self, proxy: bool) -> Engine:
        if not proxy:
            return self
        if self.proxy is None:
            raise UnsupportedCall("a mixture with a smaller model", "transformers without 'proxy'", "proxy", ())
        return self.proxy

    def stacked(self, branches: Sequence[Any]) -> Any:
        """Return logits ``[..., vocab]`` of branches in one tensor: models may have more logits than tokens."""
        width = min(int(one.shape[-1]) for one in branches)
        return self.torch.stack([one[..., :width] for one in branches])

    def inputs(self, rows: Sequence[Row], softs: Sequence[Any] = ()) -> dict[str, Any]:
        """Return what the model is given for rows ``[rows, longest]``, padded on the left.

        Left padding: the last position of every row is a real one. ``softs`` are tensors to put in place of the rows'
        own soft prompts.
        """
        torch, width = self.torch, max(map(len, rows))
        ids, mask = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.int64)
        for n, row in enumerate(rows):
            ids[n, width - len(row.ids) :] = row.ids
            mask[n, width - len(row) :] = 1
        given = {"attention_mask": torch.from_numpy(mask).to(self.device)}
        given["position_ids"] = (given["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
        tokens = torch.from_numpy(ids).to(self.device)
        if all(row.soft is None for row in rows):
            return {**given, "input_ids": tokens}
        embedded = self.model.get_input_embeddings()(tokens)
        for n, row in enumerate(rows):
            if row.soft is not None:
                at = width - len(row)
                embedded[n, at : at + len(row.soft)] = softs[n] if softs else torch.from_numpy(row.soft).to(embedded)
        return {**given, "inputs_embeds": embedded}

    def additions(self, rows: Sequence[Row]) -> dict[int, Addition]:
        """Return what steering adds at one generated position of each row, by layer."""
        steering = [row.steering for row in rows]
        constant = vectors(steering, len(self.layers), self.hidden)
        along = directions(steering, len(self.layers), self.hidden)
        put = self.torch.from_numpy
        out = dict[int, Addition]()
        for layer in sorted(constant.keys() | along.keys()):
            added = put(constant[layer]).to(self.device, self.model.dtype)[:, None] if layer in constant else None
            if layer not in along:
                out[layer] = Addition(added)
                continue
            stacked, strengths = (put(part).to(self.device) for part in along[layer])
            out[layer] = Addition(added, stacked, strengths[:, None])
        return out

    def spread(self, additions: Mapping[int, Addition], counts: Sequence[int]) -> dict[int, Addition]:
        """Return additions for the last ``counts`` positions of each row."""
        torch = self.torch
        back = torch.arange(max(counts), 0, -1, device=self.device)  # how far each position is from the end
        here = (back[None] <= torch.tensor(counts, device=self.device)[:, None])[:, :, None]
        return {layer: addition.over(here) for layer, addition in additions.items()}

    @contextmanager
    def changed(
        self, rows: Sequence[Row], additions: Mapping[int, Addition] | None = None, plan: Plan | None = None
    ) -> Iterator[None]:
        """Let this thread's passes over these rows meet their adapters, and what steering adds (``additions``).

        ``plan`` is what the rows' adapters add, where that is at hand.
        """
        with ExitStack() as stack:
            if plan is None and any(row.adapters for row in rows):
                from idiolect.backends._torch_adapters import read_plan

                plan = read_plan([self.adapters.weights(row.adapters) for row in rows])
            if plan is not None:
                stack.enter_context(plan.applied())
            if additions:
                stack.enter_context(steered(self.layers, additions))
            yield

    def read(self, rows: Sequence[Row]) -> tuple[Any, list[Any], list[list[int]]]:
        """Read prompts; return logits ``[rows, vocab]`` after them, and caches with the rows that each of them holds.

        Rows of unlike lengths are read in several passes where padding them would take longer, and where each may have
        a cache of its own.
        """
        groups = partition([len(row) for row in rows], self.overhead) if self.attends_to_all else [[*range(len(rows))]]
        logits, caches = [], []
        with self.torch.inference_mode():
            for group in groups:
                part = [rows[n] for n in group]
                with self.changed(part):
                    out = self.model(**self.inputs(part), use_cache=True, logits_to_keep=1)
                logits.append(out.logits[:, -1])
                caches.append(out.past_key_values)
            order = self.torch.tensor(np.argsort([n for group in groups for n in group]), device=self.device)
            return self.torch.cat(logits)[order], caches, groups

    def step(
        self, ids: Sequence[int], rows: Sequence[Row], mask: Any, cache: Any, additions: Mapping[int, Addition],
        plan: Plan | None = None,
    ) -> Any:  # fmt: skip
        """Read one more id a row, ``mask [rows, seen + 1]``; return logits ``[rows, vocab]``. The cache grows."""
        torch = self.torch
        with torch.inference_mode(), self.changed(rows, additions, plan):
            out = self.model(
                input_ids=torch.tensor(ids, device=self.device)[:, None],
                attention_mask=mask,
                position_ids=mask.sum(dim=1, keepdim=True) - 1,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            return out.logits[:, -1]

    def embedding_norm(self) -> float:
        """Return the mean Euclidean norm of embeddings as the layers get them: some families scale the table's rows."""
        torch, embed = self.torch, self.model.get_input_embeddings()
        with torch.inference_mode():
            ids = torch.arange(embed.weight.shape[0], device=self.device)
            return float(torch.cat([embed(part).float().norm(dim=1) for part in ids.split(8192)]).mean())

    def embeddings(self, ids: Sequence[int]) -> Floats:
        """Return the input embeddings of token ids ``[len(ids), hidden]``; :class:`InputError` for an unknown id."""
        unknown = next((token for token in ids if not 0 <= token < self.vocabulary), None)
        if unknown is not None:
            raise InputError(f"there is no token {unknown}; the model has the ids 0 to {self.vocabulary - 1}")
        torch, embed = self.torch, self.model.get_input_embeddings()
        with torch.inference_mode():
            found: Floats = embed(torch.tensor(ids, dtype=torch.long, device=self.device)).float().cpu().numpy()
        return found

    def _sites(self) -> list[list[Site]]:
        from idiolect.backends._torch_adapters import together

        probe = self.torch.zeros(2, 3, dtype=self.torch.long, device=self.device)
        return together(self.model, sites(self.model, self.layers).values(), probe)

    def _end_ids(self) -> frozenset[int]:
        ends = self.model.generation_config.eos_token_id
        listed = ends if isinstance(ends, list) else [ends]
        return frozenset(token for token in (*listed, self.tokenizer.eos_token_id) if token is not None)


def partition(lengths: Sequence[int], overhead: int) -> list[list[int]]:
    """Split rows into groups of like lengths: least is read, rows times the longest and ``overhead`` for each group."""
    order = sorted(range(len(lengths)), key=lambda n: lengths[n])
    best, start = [0], [0]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        costs = [best[at] + (end - at) * longest + overhead for at in range(end)]
        start.append(min(range(end), key=costs.__getitem__))
        best.append(costs[start[-1]])
    groups, end = list[list[int]](), len(order)
    while end:
        groups.append(order[start[end] : end])
        end = start[end]
    return groups[::-1]


def _check_proxy(large: Engine, small: Engine) -> None:
    if large.tokenizer.get_vocab() != small.tokenizer.get_vocab():
        raise ConfigError(
            "the proxy has other tokens than the model: what they say cannot be mixed. Choose two models of one family "
            "(backends.transformers.proxy)"
        )
    if not (large.attends_to_all and small.attends_to_all):
        raise ConfigError("a model with sliding windows or states has no proxy, and is none")


def _layers(torch: Any, model: Any, count: int) -> Any:
    # Families name them differently; the first list of that length is the stack of decoder layers.
    lists = (module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) == count)
    found = next(lists, None)
    if found is None:
        raise ModelError(f"{type(model).__name__} has no list of {count} layers")
    return found


def _device(torch: Any, name: str) -> Any:
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def _dtype(torch: Any, name: str, device: Any) -> Any:
    if name in ("float32", "bfloat16", "float16"):
        return getattr(torch, name)
    if name != "auto":
        raise ConfigError(f"dtype {name!r} is unknown; choose auto, float32, bfloat16 or float16")
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return torch.bfloat16 if fast is not None and fast() else torch.float32
