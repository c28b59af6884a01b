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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson

from idiolect import models
from idiolect.backends._generation import check_lengths, refuse_unmet
from idiolect.decoding.choosing import generate_chosen, whole
from idiolect.errors import InputError, MalformedAnswer, MissingExtra, ModelError
from idiolect.models.gguf import read_header
from idiolect.registry import backend
from idiolect.types import Call, Chunk, Completion, text_of

T = TypeVar("T")

_COUNTS = 8192
"""How many token counts are remembered, by hash: no text is kept."""
_LIKELIEST = 1000
"""So many next tokens are asked for where continuations part; a rarer one is scored by itself."""
_ALL = 1 << 20


@backend("llamacpp", supports=("logprobs", "choose"), extra="local")
@dataclass
class LlamaCppBackend:
    """A local GGUF model on llama.cpp: one loaded model, ``slots`` requests at once, the others wait their turn.

    ``model`` is a name of the catalogue, a pulled hub id or the path of a GGUF file. Each slot has ``n_ctx`` tokens of
    its own (0: as many as the model was trained with). ``threads`` 0 reads prompts on all cores and writes answers on
    half of them: writing waits for memory, and its threads wait for each other at every step. ``max_tokens`` ends an
    answer whose call sets no limit. ``cache_mb`` bounds the memory for prompts that are kept for their next turn.
    ``deterministic`` answers one call after the other and reads every prompt from its beginning, so that an answer does
    not depend on what was asked before or beside it; measurements want that.
    """

    model: str = "smollm2-135m-instruct"
    n_ctx: int = 4096
    slots: int = 4
    threads: int = 0
    max_tokens: int = 512
    cache_mb: int = 256
    deterministic: bool = False

    supports = frozenset[str]()  # set by @backend

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._engine: _Engine | None = None
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
            known = len(self._loaded().tokens(text))
            with self._lock:
                self._counts[key] = known
                while len(self._counts) > _COUNTS:
                    self._counts.popitem(last=False)
        return known

    def generate(self, calls: Sequence[Call]) -> list[Completion]:
        """Answer the calls, as many at once as there are slots; :class:`InputError` for a prompt that is too long."""
        refuse_unmet(calls, "llamacpp", self.supports)
        engine = self._loaded()

        def answers(plain: Sequence[Call]) -> list[Completion]:
            return self._map(lambda call: _completion(engine.chat(self._payload(call))), plain)

        return generate_chosen(calls, answers)

    def stream(self, call: Call) -> Iterator[Chunk]:
        """Yield an answer as it is made, one chosen among drafts as a whole; leaving the iterator stops the model."""
        refuse_unmet([call], "llamacpp", self.supports)
        if call.choose is not None:
            return whole(self.generate([call])[0])
        return _chunks(self._loaded(), self._payload(call))

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
        engine = self._loaded()
        pairs = zip(calls, continuations, strict=True)
        groups = [(call, [text for _, text in group]) for call, group in groupby(pairs, key=lambda pair: pair[0])]
        return [score for group in groups for score in engine.score(*group)]

    def close(self) -> None:
        """Wait for running work and release the model; a later call loads it again."""
        with self._lock:
            workers, self._workers, self._engine = self._workers, None, None
        if workers is not None:
            workers.shutdown()

    def _loaded(self) -> _Engine:
        with self._lock:
            if self._engine is None:
                self._engine = _Engine(self)
            return self._engine

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

    def _payload(self, call: Call) -> dict[str, Any]:
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
        return {**call.extra, "messages": [dict(message) for message in call.messages], **set_}


class _Engine:
    # One loaded model. llama.cpp's own server object does slots, templates and sampling. It also listens on a port of
    # 127.0.0.1, the only way to its tokenizer: a random key keeps other users of the machine out.
    def __init__(self, settings: LlamaCppBackend) -> None:
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
        params.cache_ram_mib, params.warmup, params.verbosity = settings.cache_mb, False, -1
        self._key = secrets.token_hex(16)
        params.api_keys, params.hostnames, params.port = [self._key], ["127.0.0.1"], 0
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ModelError(
                f"llama.cpp cannot load {path}. Is it a whole GGUF file of a known architecture?"
            ) from error
        self._scoring = threading.Lock()
        self._parts: set[int] = set()
        self._address = urlsplit(str(self._server.listening_address))
        self._local = threading.local()
        self._letter = self.tokens("A")[0]

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

    def score(self, call: Call, continuations: Sequence[str]) -> list[float]:
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
            self._predict(prompt, max_tokens=0, cache_prompt=False)
            return self._walk(prompt, forced)

    def _walk(self, prompt: list[int], sequences: Sequence[list[int]]) -> list[float]:
        """Score token sequences after a prompt, following the tree of their common beginnings."""
        first = {tokens[0] for tokens in sequences if tokens}
        if not first:
            return [0.0] * len(sequences)
        shared = _common([tokens for tokens in sequences if tokens])
        if shared:
            seen = self._along(prompt, shared)
            rest = self._walk(prompt + shared, [tokens[len(shared) :] for tokens in sequences])
            return [seen + more if tokens else 0.0 for tokens, more in zip(sequences, rest, strict=True)]
        step = self._next(prompt)
        out = [0.0] * len(sequences)
        for token in sorted(first):
            group = [n for n, tokens in enumerate(sequences) if tokens and tokens[0] == token]
            seen = step[token] if token in step else self._along(prompt, [token])
            rest = self._walk([*prompt, token], [sequences[n][1:] for n in group])
            for n, more in zip(group, rest, strict=True):
                out[n] = seen + more
        return out

    def _along(self, prompt: list[int], sequence: list[int]) -> float:
        """Score one sequence; llama.cpp tells nothing of a token that leaves a character unfinished, so those alone."""
        total, at = 0.0, 0
        while at < len(sequence):
            run = list(takewhile(lambda token: token not in self._parts, sequence[at:]))
            before = prompt + sequence[:at]
            if run:
                total += self._forced(before, run)
            else:
                token = sequence[at]
                step = self._next(before)
                total += step[token] if token in step else self._next(before, _ALL)[token]
            at += len(run) or 1
        return total

    def _next(self, prompt: list[int], count: int = _LIKELIEST) -> dict[int, float]:
        """Return the log probabilities of the likeliest next tokens; a whole letter is drawn, whatever is likeliest."""
        answer = self._predict(prompt, max_tokens=1, grammar=_only([self._letter]), logprobs=count)
        try:
            rows = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            return {int(row["id"]): float(row["logprob"]) for row in rows}
        except (KeyError, IndexError, TypeError) as error:
            raise MalformedAnswer("llama.cpp gave no log probabilities") from error

    def _forced(self, prompt: list[int], forced: list[int]) -> float:
        """Force tokens with a grammar of token ids, and sum what the model thought of each of them."""
        answer = self._predict(prompt, max_tokens=len(forced), grammar=_only(forced), logprobs=1)
        try:
            rows = answer["choices"][0]["logprobs"]["content"]
            scored = [(int(row["id"]), float(row["logprob"])) for row in rows]
        except (KeyError, IndexError, TypeError) as error:
            raise MalformedAnswer("llama.cpp gave no log probabilities") from error
        if [token for token, _ in scored] != forced:
            raise MalformedAnswer(f"llama.cpp scored {len(scored)} of {len(forced)} tokens")
        return float(sum(value for _, value in scored))

    def _predict(self, prompt: list[int], **options: Any) -> dict[str, Any]:
        payload = {"prompt": prompt, "id_slot": 0, "temperature": 0.0, **options}
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


def _only(tokens: Sequence[int]) -> str:
    """Return the grammar that allows these tokens alone."""
    return "root ::= " + " ".join(f"<[{token}]>" for token in tokens)


def _common(sequences: Sequence[list[int]]) -> list[int]:
    """Return the tokens that all sequences begin with."""
    return [column[0] for column in takewhile(lambda column: len(set(column)) == 1, zip(*sequences, strict=False))]


def _completion(answer: dict[str, Any]) -> Completion:
    try:
        choice, usage = answer["choices"][0], answer["usage"]
        message = dict(choice["message"])
        tokens = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        return Completion(text_of(message), choice["finish_reason"] or "stop", *tokens, message, answer)
    except (KeyError, IndexError, TypeError) as error:
        raise MalformedAnswer("llama.cpp gave an answer without choices[0].message and usage") from error


def _chunks(engine: _Engine, payload: dict[str, Any]) -> Iterator[Chunk]:
    pieces: queue.SimpleQueue[dict[str, Any] | Exception | None] = queue.SimpleQueue()
    left = threading.Event()

    def each(piece: dict[str, Any]) -> bool:
        pieces.put(piece)
        return left.is_set()

    def run() -> None:
        try:
            engine.chat_stream(payload, each)
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
