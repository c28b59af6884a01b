"""Local weights through PyTorch and Hugging Face transformers: exact scores, logit mixtures, logits processors."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from idiolect import models
from idiolect.backends._generation import (
    TextOut,
    branches_of,
    check_lengths,
    draw,
    log_softmax,
    mixed,
    processed,
    refuse_unmet,
)
from idiolect.errors import ConfigError, InputError, MissingExtra, ModelError
from idiolect.models.convert import no_progress_bars
from idiolect.registry import backend
from idiolect.types import Call, Chunk, Completion, Floats, Message

_LOGITS = 1 << 26
"""The most logits of one scoring pass: 256 MiB in float32."""


@backend("transformers", supports=("logprobs", "mix", "logits_processors"), extra="transformers")
@dataclass
class TransformersBackend:
    """A local model in PyTorch, from a Hugging Face folder or a GGUF file (converted once into such a folder).

    ``model`` is a name of the catalogue or a path. ``dtype`` is ``auto`` (bfloat16 where the processor has it, else
    float32), ``float32``, ``bfloat16`` or ``float16``; ``device`` is ``auto``, ``cpu``, ``cuda`` ... ``batch`` is the
    largest number of rows in one pass; every branch of a mixture is a row. ``max_tokens`` ends an answer whose call
    sets no limit. ``threads`` is PyTorch's own choice where it is 0. A call without a temperature is greedy.
    ``deterministic`` passes one call at a time: in bfloat16 what shares a batch moves a score by tenths of a nat.
    """

    model: str = "smollm2-135m-instruct"
    dtype: str = "auto"
    device: str = "auto"
    batch: int = 16
    max_tokens: int = 512
    threads: int = 0
    deterministic: bool = False

    supports = frozenset[str]()  # set by @backend

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._engine: _Engine | None = None

    @property
    def fingerprint(self) -> str:
        """Name and content hash of the weights, the same as other backends give for the same file."""
        return models.fingerprint(self.model)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens by the model's own tokenizer."""
        return len(self._loaded().tokens(text))

    def generate(self, calls: Sequence[Call]) -> list[Completion]:
        """Answer the calls in padded batches; the answers do not depend on what else is in the batch."""
        refuse_unmet(calls, "transformers", self.supports)
        engine = self._loaded()
        texts, last = [""] * len(calls), [Chunk("")] * len(calls)
        for at, chunk in engine.decode([_Answer(call, engine, self.max_tokens) for call in calls], self.rows):
            texts[at] += chunk.text
            last[at] = chunk
        return [_completion(text, chunk) for text, chunk in zip(texts, last, strict=True)]

    def stream(self, call: Call) -> Iterator[Chunk]:
        """Yield the answer token by token (whole characters)."""
        refuse_unmet([call], "transformers", self.supports)
        engine = self._loaded()
        answer = _Answer(call, engine, self.max_tokens)
        return (chunk for _, chunk in engine.decode([answer], self.rows))

    def logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[float]:
        """Return the summed log probability [nats] of each continuation, in one pass a batch.

        Continuations of one call that stand next to each other share its prompt, which is read once.
        """
        check_lengths(calls, continuations)
        refuse_unmet(calls, "transformers", self.supports)
        engine, out = self._loaded(), list[float]()
        single: list[tuple[Call, str]] = []
        for call, pairs in itertools.groupby(zip(calls, continuations, strict=True), key=lambda pair: pair[0]):
            texts = [text for _, text in pairs]
            alone = len(texts) == 1 and not self.deterministic
            if alone or call.mix or call.logits_processors or not engine.attends_to_all:
                single += [(call, text) for text in texts]
                continue
            out += engine.score(single, self.rows) + engine.score_shared(call, texts)
            single = []
        return out + engine.score(single, self.rows)

    @property
    def rows(self) -> int:
        """How many rows go into one pass."""
        return 1 if self.deterministic else self.batch

    def close(self) -> None:
        """Let go of the model; a later call loads it again."""
        with self._lock:
            self._engine = None

    def _loaded(self) -> _Engine:
        with self._lock:
            if self._engine is None:
                self._engine = _Engine(self)
            return self._engine


class _Engine:
    # Tokenizer and weights. It keeps nothing between calls, so threads may share it.
    def __init__(self, settings: TransformersBackend) -> None:
        if "torch" not in sys.modules:
            # OpenMP threads that spin while they wait bring a busy machine to a standstill; read when torch loads.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            import torch
            import transformers
        except ImportError as error:
            raise MissingExtra("the transformers backend", "transformers") from error

        self.torch = torch
        folder = models.hf_folder(settings.model)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.device = _device(torch, settings.device)
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            dtype = _dtype(torch, settings.dtype, self.device)
            with no_progress_bars():
                self.model = transformers.AutoModelForCausalLM.from_pretrained(
                    folder, dtype=dtype, local_files_only=True
                )
        except (OSError, ValueError) as error:
            raise ModelError(f"transformers cannot load {folder} ({error})") from error
        self.model.to(self.device).eval()
        self.limit = int(getattr(self.model.config, "max_position_embeddings", 0) or sys.maxsize)
        self.ends = self._end_ids()
        kinds = getattr(self.model.config.get_text_config(), "layer_types", None) or ()
        self.attends_to_all = set(kinds) <= {"full_attention"}

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

    def decode(self, answers: Sequence[_Answer], batch: int) -> Iterator[tuple[int, Chunk]]:
        """Yield ``(index, chunk)`` as the answers grow; like lengths go together."""
        order = sorted(range(len(answers)), key=lambda n: len(answers[n].rows[0]))
        group, rows = list[int](), 0
        for n in order:
            if group and rows + len(answers[n].rows) > batch:
                yield from self._decode_group({m: answers[m] for m in group})
                group, rows = [], 0
            group.append(n)
            rows += len(answers[n].rows)
        if group:
            yield from self._decode_group({m: answers[m] for m in group})

    def _decode_group(self, open_: dict[int, _Answer]) -> Iterator[tuple[int, Chunk]]:
        torch = self.torch
        ids, mask = self._padded([row for answer in open_.values() for row in answer.rows])
        cache = None
        while open_:
            logits, cache = self._step(ids, mask, cache)
            at, kept, following = 0, list[int](), list[int]()
            for n, answer in list(open_.items()):
                rows = range(at, at + len(answer.rows))
                at += len(answer.rows)
                chunk = answer.take(logits[rows.start : rows.stop])
                if chunk is not None:
                    yield n, chunk
                if answer.done:
                    del open_[n]
                else:
                    kept += rows
                    following += [answer.ids[-1]] * len(rows)
            if len(kept) < at:
                index = torch.tensor(kept, dtype=torch.long, device=self.device)
                cache.batch_select_indices(index)
                mask = mask[index]
            ids = torch.tensor(following, dtype=torch.long, device=self.device)[:, None]
            mask = torch.cat([mask, mask.new_ones(len(kept), 1)], dim=1)

    def _step(self, ids: Any, mask: Any, cache: Any) -> tuple[Floats, Any]:
        # ids [rows, new], mask [rows, seen + new] -> logits [rows, vocab] of the last position
        positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with self.torch.inference_mode():
            out = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            return out.logits[:, -1].float().cpu().numpy(), out.past_key_values

    def score_shared(self, call: Call, texts: Sequence[str]) -> list[float]:
        """Return the summed log probability of each text after one prompt, which is read once."""
        torch, prompt = self.torch, self.prompt(call.messages, call)
        sequences = [self.tokens(text) for text in texts]
        self.check_length(len(prompt) + max(map(len, sequences)))
        with torch.inference_mode():
            read = self.model(input_ids=torch.tensor([prompt], device=self.device), use_cache=True, logits_to_keep=1)
            first, cache = read.logits[0, -1].double().log_softmax(-1), read.past_key_values  # [vocab]
            scores = [float(first[ids[0]]) if ids else 0.0 for ids in sequences]
            longer = [n for n, ids in enumerate(sequences) if len(ids) > 1]
            room = max(1, _LOGITS // len(first))
            while longer:
                taken = itertools.accumulate(len(sequences[n]) - 1 for n in longer)
                part = longer[: max(1, sum(total <= room for total in taken))]
                longer = longer[len(part) :]
                rest = self._continue(cache, len(prompt), [sequences[n] for n in part])
                cache.crop(-sum(len(sequences[n]) - 1 for n in part))
                for n, value in zip(part, rest, strict=True):
                    scores[n] += value
        return scores

    def _continue(self, cache: Any, seen: int, sequences: Sequence[list[int]]) -> list[float]:
        # The log probability of every id but the first of each sequence, after a prompt of ``seen`` tokens. All stand
        # in one row behind the prompt; each sees the prompt and itself, at the places that it would have alone.
        torch = self.torch
        lengths = [len(sequence) - 1 for sequence in sequences]
        owner = torch.repeat_interleave(torch.arange(len(sequences)), torch.tensor(lengths))  # [row]
        place = torch.cat([torch.arange(length) for length in lengths])
        own = (owner[:, None] == owner[None, :]) & (place[:, None] >= place[None, :])
        seeing = torch.cat([torch.ones(len(owner), seen, dtype=torch.bool), own], dim=1).to(self.device)
        mask = torch.zeros(seeing.shape, dtype=self.model.dtype, device=self.device)
        mask.masked_fill_(~seeing, torch.finfo(self.model.dtype).min)
        ids = torch.tensor([[token for sequence in sequences for token in sequence[:-1]]], device=self.device)
        logits = self.model(
            input_ids=ids,
            attention_mask=mask[None, None],  # [1, 1, row, seen + row]
            position_ids=(seen + place)[None].to(self.device),
            past_key_values=cache,
            use_cache=True,
        ).logits[0]
        wanted = torch.tensor([token for sequence in sequences for token in sequence[1:]], device=self.device)
        values = logits.double().log_softmax(-1).gather(1, wanted[:, None])[:, 0].cpu()
        return [float(part.sum()) for part in values.split(lengths)]

    def score(self, pairs: Sequence[tuple[Call, str]], batch: int) -> list[float]:
        """Return the summed log probability of each continuation."""
        jobs = list[_Score]()
        for call, text in pairs:
            prompts = [self.prompt(messages, call) for messages in branches_of(call)]
            jobs.append(_Score(call, prompts, self.tokens(text)))
            self.check_length(max(map(len, prompts)) + len(jobs[-1].ids))
        scores = [0.0] * len(jobs)
        order = [n for n in sorted(range(len(jobs)), key=lambda n: len(jobs[n].ids)) if jobs[n].ids]
        while order:
            group = self._fit([jobs[n] for n in order], batch)
            for n, value in zip(order[:group], self._score_group([jobs[n] for n in order[:group]]), strict=True):
                scores[n] = value
            order = order[group:]
        return scores

    def _fit(self, jobs: Sequence[_Score], batch: int) -> int:
        # How many of the jobs, in order of growing continuations, go into one pass; at least one.
        vocabulary, rows = int(self.model.config.get_text_config().vocab_size), 0
        for count, job in enumerate(jobs):
            rows += len(job.prompts)
            if count and (rows > batch or rows * len(job.ids) * vocabulary > _LOGITS):
                return count
        return len(jobs)

    def _score_group(self, jobs: Sequence[_Score]) -> list[float]:
        # The last id needs no pass: logits at position p speak of the id at p + 1.
        ids, mask = self._padded([prompt + job.ids[:-1] for job in jobs for prompt in job.prompts])
        positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
        width = max(len(job.ids) for job in jobs)
        with self.torch.inference_mode():
            out = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=width
            )
            logits = out.logits.float()  # [rows, width, vocab]
        values, at = list[float](), 0
        for job in jobs:
            rows = logits[at : at + len(job.prompts), -len(job.ids) :]
            at += len(job.prompts)
            values.append(self._sum(job, rows))
        return values

    def _sum(self, job: _Score, logits: Any) -> float:
        # logits [branches, continuation, vocab]
        if len(job.prompts) == 1 and not job.call.mix and not job.call.logits_processors:
            wanted = self.torch.tensor(job.ids, device=self.device)[:, None]
            return float(logits[0].double().log_softmax(-1).gather(1, wanted).sum())
        rows, total = logits.cpu().numpy(), 0.0
        for at, token in enumerate(job.ids):
            row = processed(mixed(rows[:, at], job.call), job.call.logits_processors, job.ids[:at])
            total += float(log_softmax(row)[token])
        return total

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        # Left padding: the last position of every row is a real one. -> ids, mask [rows, longest]
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        mask = np.zeros_like(ids)
        for n, row in enumerate(rows):
            ids[n, -len(row) :] = row
            mask[n, -len(row) :] = 1
        return self.torch.from_numpy(ids).to(self.device), self.torch.from_numpy(mask).to(self.device)

    def _end_ids(self) -> frozenset[int]:
        ends = self.model.generation_config.eos_token_id
        listed = ends if isinstance(ends, list) else [ends]
        return frozenset(token for token in (*listed, self.tokenizer.eos_token_id) if token is not None)


@dataclass(frozen=True, slots=True)
class _Score:
    call: Call
    prompts: list[list[int]]  # one for each branch
    ids: list[int]


class _Answer:
    # One answer as it grows: the prompts of its branches, the ids drawn so far and the text that they make.
    def __init__(self, call: Call, engine: _Engine, max_tokens: int) -> None:
        sampling = call.sampling
        self.call, self.ids, self.done = call, list[int](), False
        self.rows = [engine.prompt(messages, call) for messages in branches_of(call)]
        wanted = max_tokens if sampling.max_tokens is None else sampling.max_tokens
        self._limit = min(wanted, engine.limit - max(map(len, self.rows)))
        self._engine = engine
        self._rng = np.random.default_rng(sampling.seed)
        self._out, self._sent = TextOut(sampling.stop), ""

    def take(self, logits: Floats) -> Chunk | None:
        """Draw one id from ``logits [branches, vocab]``; the chunk is ``None`` while no whole character is there."""
        if len(self.ids) >= self._limit:
            return self._finish("length")
        row = processed(mixed(logits, self.call), self.call.logits_processors, self.ids)
        token = draw(row, self.call.sampling, self._rng)
        if token in self._engine.ends:
            return self._finish("stop")
        self.ids.append(token)
        piece = self._out.feed(self._new_text().encode())
        if self._out.stopped:
            return self._finish("stop", piece)
        if len(self.ids) >= self._limit:
            return self._finish("length", piece)
        return Chunk(piece) if piece else None

    def _new_text(self, last: bool = False) -> str:
        text = str(self._engine.tokenizer.decode(self.ids, skip_special_tokens=True))
        whole = text if last else text.rstrip("\ufffd")  # a character whose bytes are not all there yet
        new, self._sent = whole[len(self._sent) :], whole if len(whole) > len(self._sent) else self._sent
        return new

    def _finish(self, reason: str, piece: str = "") -> Chunk:
        self.done = True
        piece += self._out.feed(self._new_text(last=True).encode(), last=True)
        return Chunk(piece, reason, len(self.rows[0]), len(self.ids))


def _completion(text: str, last: Chunk) -> Completion:
    message = {"role": "assistant", "content": text}
    return Completion(text, last.finish_reason or "stop", last.tokens_in, last.tokens_out, message)


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
