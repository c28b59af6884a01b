"""The embedded default: a GGUF model run in this process by llama.cpp (package ``xllamacpp``)."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import queue
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson

from idiolect import models
from idiolect.backends._generation import check_lengths, refuse_unmet
from idiolect.backends._llama_adapters import Lease, Residents, write
from idiolect.backends._llama_scoring import Scorer
from idiolect.decoding.choosing import generate_chosen, whole
from idiolect.errors import InputError, MalformedAnswer, MissingExtra, ModelError
from idiolect.models.gguf import read_header
from idiolect.registry import backend
from idiolect.training import gguf_format
from idiolect.types import Adapter, Call, Chunk, Completion, text_of

T = TypeVar("T")

_COUNTS = 8192
"""How many token counts are remembered, by hash: no text is kept."""


@backend("llamacpp", supports=("logprobs", "choose", "adapters"), extra="local")
@dataclass
class LlamaCppBackend:
    """A local GGUF model on llama.cpp: one loaded model, ``slots`` requests at once, the others wait their turn.

    ``model`` is a name of the catalogue, a pulled hub id or the path of a GGUF file. Each slot has ``n_ctx`` tokens of
    its own (0: as many as the model was trained with). ``threads`` 0 reads prompts on all cores and writes answers on
    half of them: writing waits for memory, and its threads wait for each other at every step. ``max_tokens`` ends an
    answer whose call sets no limit. ``cache_mb`` bounds the memory for prompts that are kept for their next turn.
    ``deterministic`` answers one call after the other and reads every prompt from its beginning, so that an answer does
    not depend on what was asked before or beside it; measurements want that.

    So many ``adapters`` are kept loaded. A call with another one waits until running answers are finished and the model
    is loaded anew with it in place of the one least recently used. Calls with different adapters are not computed
    together, and each reads its prompt from the beginning where its slot was used with another adapter before. While
    adapters are loaded no prompts are kept outside the slots (``cache_mb``).
    """

    model: str = "smollm2-135m-instruct"
    n_ctx: int = 4096
    slots: int = 4
    threads: int = 0
    max_tokens: int = 512
    cache_mb: int = 256
    deterministic: bool = False
    adapters: int = 8

    supports = frozenset[str]()  # set by @backend

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._residents: Residents[_Engine] = Residents(self._made, self._write, self.adapters)
        self._base: gguf_format.Base | None = None
        self._workers: ThreadPoolExecutor | None = None
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    @property
    def fingerprint(self) -> str:
        """Name and content hash of the weights."""
        return models.fingerprint(self.model)

    @property
    def parallel(self) -> int:
        """How many calls are answered at once."""
        return 1 if self.deterministic else max(1, self.slots)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens by the model's own tokenizer; repeated texts are remembered by hash."""
        key = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
        known = self._counts.get(key)
        if known is None:
            with self._residents.lease() as lease:
                known = len(lease.engine.tokens(text))
            with self._lock:
                self._counts[key] = known
                while len(self._counts) > _COUNTS:
                    self._counts.popitem(last=False)
        return known

    def generate(self, calls: Sequence[Call]) -> list[Completion]:
        """Answer the calls, as many at once as there are slots; :class:`InputError` for a prompt that is too long."""
        refuse_unmet(calls, "llamacpp", self.supports)
        return generate_chosen(calls, self._answers)

    def stream(self, call: Call) -> Iterator[Chunk]:
        """Yield an answer as it is made, one chosen among drafts as a whole; leaving the iterator stops the model."""
        refuse_unmet([call], "llamacpp", self.supports)
        if call.choose is not None:
            return whole(self.generate([call])[0])
        with self._residents.lease(call.adapters):
            pass  # what cannot be loaded is told now, not with the first piece

        def run(each: Callable[[dict[str, Any]], bool]) -> None:
            with self._residents.lease(call.adapters) as lease:
                lease.engine.chat_stream(self._payload(call, lease), each)

        return _chunks(run)

    def logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[float]:
        """Return the summed log probability [nats] of each continuation after the chat prompt of its call.

        Exact for the continuation's own tokens. Continuations of one call that stand next to each other share its
        prompt and their common beginnings: many labels cost little more than one. A long text costs what generating
        as many tokens costs, because llama.cpp scores one token a step. One prompt is read after the other, from its
        first token: side by side is slower, and what stands in the same batch or comes from a cache moves quantised
        weights' results by tenths of a nat.
        """
        check_lengths(calls, continuations)
        refuse_unmet(calls, "llamacpp", self.supports)
        pairs = zip(calls, continuations, strict=True)
        groups = [(call, [text for _, text in group]) for call, group in groupby(pairs, key=lambda pair: pair[0])]
        scores = {number: self._score(*groups[number]) for number in _by_adapters([call for call, _ in groups])}
        return [score for number in range(len(groups)) for score in scores[number]]

    def forget(self, artifact_ids: Collection[str]) -> int:
        """Drop these artifacts' adapters from memory once running answers are finished; return how many there were."""
        return self._residents.forget(artifact_ids)

    def close(self) -> None:
        """Wait for running work and release the model; a later call loads it again."""
        with self._lock:
            workers, self._workers = self._workers, None
        if workers is not None:
            workers.shutdown()
        self._residents.close()

    def _made(self, files: Sequence[Path]) -> _Engine:
        return _Engine(self, files)

    def _write(self, adapter: Adapter, path: Path) -> None:
        if self._base is None:
            self._base = gguf_format.base_of(models.require(self.model))
        write(adapter, self._base, self.fingerprint, path)

    def _answers(self, calls: Sequence[Call]) -> list[Completion]:
        order = _by_adapters(calls)
        made = dict(zip(order, self._map(self._answer, [calls[number] for number in order]), strict=True))
        return [made[number] for number in range(len(calls))]

    def _answer(self, call: Call) -> Completion:
        with self._residents.lease(call.adapters) as lease:
            return _completion(lease.engine.chat(self._payload(call, lease)))

    def _score(self, call: Call, texts: Sequence[str]) -> list[float]:
        with self._residents.lease(call.adapters) as lease:
            return lease.engine.score(call, texts, lease.lora)

    def _map(self, work: Callable[[Any], T], items: Sequence[Any]) -> list[T]:
        if len(items) == 1:
            return [work(items[0])]
        with self._lock:
            if self._workers is None:
                self._workers = ThreadPoolExecutor(self.parallel, "idiolect-llamacpp")
            futures = [self._workers.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _payload(self, call: Call, lease: Lease[_Engine]) -> dict[str, Any]:
        sampling = call.sampling
        given = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": self.max_tokens if sampling.max_tokens is None else sampling.max_tokens,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
        }
        set_ = {name: value for name, value in given.items() if value is not None}
        if self.deterministic:
            set_["cache_prompt"] = False
        messages = [dict(message) for message in call.messages]
        return {**call.extra, "messages": messages, **set_, "lora": lease.lora}


class _Engine:
    # One loaded model. llama.cpp's own server object does slots, templates and sampling. It also listens on a port of
    # 127.0.0.1, the only way to its tokenizer: a random key keeps other users of the machine out.
    def __init__(self, settings: LlamaCppBackend, adapters: Sequence[Path]) -> None:
        try:
            import xllamacpp
        except ImportError as error:
            raise MissingExtra("the llamacpp backend", "local") from error

        path = models.require(settings.model)
        params = xllamacpp.CommonParams()
        params.model.path, params.model_alias = str(path), {settings.model}
        params.n_parallel = settings.parallel
        self._n_ctx = settings.n_ctx or _trained_context(path)
        params.n_ctx = self._n_ctx * params.n_parallel
        params.cpuparams.n_threads = settings.threads or max(1, _cores() // 2)
        params.cpuparams_batch.n_threads = settings.threads or _cores()
        # Threads that spin while they wait cost a factor of five to ten as soon as another process wants a core.
        params.cpuparams.poll = params.cpuparams_batch.poll = 0
        params.warmup, params.verbosity = False, -1
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(file), 0.0) for file in adapters]
        # llama.cpp finds kept prompts by their tokens alone, whichever adapter they were computed with.
        params.cache_ram_mib = 0 if adapters else settings.cache_mb
        self._key = secrets.token_hex(16)
        params.api_keys, params.hostnames, params.port = [self._key], ["127.0.0.1"], 0
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ModelError(
                f"llama.cpp cannot load {path} with {len(adapters)} adapters. "
                "Is it a whole GGUF file of a known architecture?"
            ) from error
        self._scoring = threading.Lock()
        self._parts: set[int] = set()
        self._address = urlsplit(str(self._server.listening_address))
        self._local = threading.local()
        self._letter = self.tokens("A")[0]

    def close(self) -> None:
        """Release the model, whoever still holds this object."""
        self._server = None

    def chat(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Return an OpenAI-shaped answer."""
        return self._ask(self._server.handle_chat_completions, {**payload, "stream": False})

    def chat_stream(self, payload: Mapping[str, Any], each: Callable[[dict[str, Any]], bool]) -> None:
        """Call ``each`` with every chunk until it returns true; an error arrives as a chunk."""
        options = {"stream": True, "stream_options": {"include_usage": True}}
        with _refusals():
            self._server.handle_chat_completions({**payload, **options}, each)

    def tokens(self, text: str, special: bool = False) -> list[int]:
        """Return token ids; ``special``: as a prompt, with its beginning mark and special tokens read as such."""
        return list(
            self._post("/tokenize", {"content": text, "add_special": special, "parse_special": special})["tokens"]
        )

    def _pieces(self, text: str) -> list[int]:
        """Return token ids, and remember which of them hold a part of a character."""
        given = {"content": text, "add_special": False, "parse_special": False, "with_pieces": True}
        rows = self._post("/tokenize", given)["tokens"]
        self._parts.update(int(row["id"]) for row in rows if not isinstance(row["piece"], str))
        return [int(row["id"]) for row in rows]

    def score(self, call: Call, continuations: Sequence[str], lora: Sequence[Mapping[str, float]]) -> list[float]:
        """Score the continuations of one prompt, all on one slot so that the prompt is read once."""
        forced = [self._pieces(text) for text in continuations]
        wanted = {name: value for name, value in call.extra.items() if name in ("tools", "chat_template_kwargs")}
        messages = [dict(message) for message in call.messages]
        rendered = self._post("/apply-template", {**wanted, "messages": messages})["prompt"]
        prompt = self.tokens(str(rendered), special=True)
        longest = len(prompt) + max(map(len, forced))
        if longest > self._n_ctx:
            raise _too_long(longest, self._n_ctx)
        with self._scoring:
            return Scorer(self._complete, {"lora": list(lora)}, self._parts, self._letter).score(prompt, forced)

    def _complete(self, payload: dict[str, Any]) -> dict[str, Any]:
        return self._ask(self._server.handle_completions, payload)

    def _ask(self, handler: Callable[[dict[str, Any]], Any], payload: dict[str, Any]) -> dict[str, Any]:
        with _refusals():
            answer = handler(payload)
        if not isinstance(answer, dict):
            raise MalformedAnswer("llama.cpp gave no answer")
        if "error" in answer:
            raise _error(answer["error"])
        return answer

    def _post(self, path: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(
                str(self._address.hostname), self._address.port, timeout=60
            )
        for attempt in (1, 2):
            try:
                connection.request("POST", path, orjson.dumps(payload), headers)
                answer: dict[str, Any] = orjson.loads(connection.getresponse().read())
                break
            except (http.client.HTTPException, OSError) as error:
                connection.close()  # an idle connection that llama.cpp closed: once more on a new one
                if attempt == 2:
                    raise ModelError(f"llama.cpp does not answer {path} ({type(error).__name__})") from error
        if "error" in answer:
            raise _error(answer["error"])
        return answer


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    # What llama.cpp refuses before it generates comes as one of these two.
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise InputError(f"the model cannot take this request: {error}") from error


def _completion(answer: dict[str, Any]) -> Completion:
    try:
        choice, usage = answer["choices"][0], answer["usage"]
        message = dict(choice["message"])
        tokens = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        return Completion(text_of(message), choice["finish_reason"] or "stop", *tokens, message, answer)
    except (KeyError, IndexError, TypeError) as error:
        raise MalformedAnswer("llama.cpp gave an answer without choices[0].message and usage") from error


def _by_adapters(calls: Sequence[Call]) -> list[int]:
    """Return the calls' numbers with those together that have the same adapters, else in their order."""
    seen: dict[tuple[Adapter, ...], int] = {}
    return sorted(range(len(calls)), key=lambda number: seen.setdefault(calls[number].adapters, len(seen)))


def _chunks(start: Callable[[Callable[[dict[str, Any]], bool]], None]) -> Iterator[Chunk]:
    pieces: queue.SimpleQueue[dict[str, Any] | Exception | None] = queue.SimpleQueue()
    left = threading.Event()

    def each(piece: dict[str, Any]) -> bool:
        pieces.put(piece)
        return left.is_set()

    def run() -> None:
        try:
            start(each)
            pieces.put(None)
        except Exception as error:  # noqa: BLE001 - raised again by the reader
            pieces.put(error)

    threading.Thread(target=run, name="idiolect-llamacpp-stream", daemon=True).start()
    reason, tokens_in, tokens_out = None, 0, 0
    try:
        while (piece := pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            if "error" in piece:
                raise _error(piece["error"])
            choice: Mapping[str, Any] = next(iter(piece.get("choices") or ()), {})
            usage = piece.get("usage") or {}
            reason = choice.get("finish_reason") or reason
            tokens_in, tokens_out = usage.get("prompt_tokens", tokens_in), usage.get("completion_tokens", tokens_out)
            yield Chunk(text_of(choice.get("delta") or {}), raw=piece)
        if reason is None:
            raise ModelError("llama.cpp ended its stream without a finish reason")
        yield Chunk("", reason, tokens_in, tokens_out)
    finally:
        left.set()


def _error(error: Mapping[str, Any]) -> Exception:
    if error.get("type") == "exceed_context_size_error":
        return _too_long(int(error.get("n_prompt_tokens", 0)), int(error.get("n_ctx", 0)))
    message = str(error.get("message", "unknown error"))
    if int(error.get("code", 500)) < 500:
        return InputError(f"the model cannot take this request: {message}")
    return ModelError(f"llama.cpp failed: {message}")


def _too_long(tokens: int, limit: int) -> InputError:
    return InputError(
        f"the prompt has {tokens} tokens, the model reads at most {limit}. "
        "Shorten it, or raise n_ctx of the llamacpp backend."
    )


def _trained_context(path: Path) -> int:
    meta = read_header(path).meta
    return int(meta.get(f"{meta.get('general.architecture')}.context_length", 4096))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
