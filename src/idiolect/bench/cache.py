"""A backend that remembers: every answer is kept by the content of its question, so that a killed run goes on."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import orjson

from idiolect.errors import InputError, MalformedAnswer, StoreError
from idiolect.hashing import content, digest, identity
from idiolect.inside import Inside, Proxied
from idiolect.trainable import Example, Job, Joint, Recipe, Trainable, Trained, TrainsJointly, Vectors
from idiolect.training.factors import Factors
from idiolect.training.generating import Differentiable
from idiolect.training.generator import Stacked
from idiolect.training.modules import Place
from idiolect.training.pieces import Assembles, Chosen, Gating, Pieces
from idiolect.types import Backend, Body, Call, Chunk, Completion, Embedder, Floats, text_of

T = TypeVar("T")
_SCORED = 64
"""How many texts are scored before they are kept: what they have in common a backend reads once."""
_SCHEMA = "CREATE TABLE IF NOT EXISTS kept (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"


class Cache:
    """Bytes by key in one SQLite file; several processes may share it."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path or ":memory:", timeout=60, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise StoreError(f"the bench's cache {path} cannot be used ({error}). Delete it to start anew.") from error

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return what is known of the keys."""
        found: dict[bytes, bytes] = {}
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            found.update(self._db.execute(f"SELECT key, value FROM kept WHERE key IN ({marks})", part))
        return found

    def put(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep values; durable when this returns."""
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", pairs)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer of the model, or its refusal; ``seconds`` is what it took when it was made."""

    completion: Completion | None = None
    scores: tuple[float, ...] = ()
    seconds: float = 0.0
    failure: str = ""
    """``too_long`` or ``malformed``, where there is no answer."""


@dataclass
class CachedBackend:
    """A backend in front of which everything that is asked of it is kept."""

    inner: Backend
    cache: Cache
    name: str = ""
    """Name and settings of the backend: other arithmetic over the same weights gives other answers."""
    batch: int = 8
    calls: int = 0
    """Model calls so far, remembered ones included."""
    seconds: float = 0.0
    """What they took, remembered ones included."""
    made: int = 0
    """Model calls that were really made."""
    counts: dict[bytes, int] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def supports(self) -> frozenset[str]:
        """What the backend can do."""
        return self.inner.supports

    @supports.setter
    def supports(self, value: frozenset[str]) -> None:
        raise AttributeError("supports is the inner backend's")

    @property
    def fingerprint(self) -> str:
        """The backend's own."""
        return self.inner.fingerprint

    def count_tokens(self, text: str) -> int:
        """Count, each text once."""
        key = digest(text)
        if key not in self.counts:
            self.counts[key] = self.inner.count_tokens(text)
        return self.counts[key]

    def answers(self, calls: Sequence[Call]) -> list[Kept]:
        """Answer calls; a prompt that is too long or an answer that is malformed is noted, not raised."""
        return self._through("text", [(call, ()) for call in calls], self._generate)

    def scores(self, pairs: Sequence[tuple[Call, tuple[str, ...]]]) -> list[Kept]:
        """Score the texts of each call by their log probability [nats]."""
        return self._through("score", pairs, self._score)

    def generate(self, calls: Sequence[Call]) -> list[Completion]:
        """Answer calls, for methods that ask the model themselves."""
        return [_need(kept).completion or Completion("") for kept in self.answers(calls)]

    def logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[float]:
        """Score continuations, for methods that ask the model themselves."""
        pairs = [(call, (text,)) for call, text in zip(calls, continuations, strict=True)]
        return [_need(kept).scores[0] for kept in self.scores(pairs)]

    @property
    def proxy_model(self) -> CachedBackend:
        """The smaller model, what is asked of it kept too; its time and calls are not among these."""
        return CachedBackend(cast(Proxied, self.inner).proxy_model, self.cache, f"{self.name}/proxy", self.batch)

    @property
    def hidden(self) -> int:
        """Width of the residual stream, where the backend's inside is open; so for what follows."""
        return cast(Inside, self.inner).hidden

    @property
    def layers(self) -> int:
        """Number of layers."""
        return cast(Inside, self.inner).layers

    @property
    def embedding_norm(self) -> float:
        """Mean Euclidean norm of the rows of the input embedding."""
        return cast(Inside, self.inner).embedding_norm

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return cast(Inside, self.inner).vocabulary

    def embeddings(self, ids: Sequence[int]) -> Floats:
        """Return the input embeddings of token ids, ``[len(ids), hidden]``; a look-up is no model call."""
        return cast(Inside, self.inner).embeddings(ids)

    def activations(self, calls: Sequence[Call], continuations: Sequence[str], layer: int) -> list[Floats]:
        """Return the states of a layer, ``[tokens, hidden]`` for each; kept, since a pass costs more than the disk."""

        def make(calls: Sequence[Call], texts: Sequence[str]) -> list[Floats]:
            return cast(Inside, self.inner).activations(calls, texts, layer)

        found = self._arrays(f"states {layer}", calls, continuations, make)
        return [states.reshape(-1, self.hidden) for states in found]

    def token_logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[Floats]:
        """Return the log probability [nats] of each token, ``[tokens]`` for each."""
        return self._arrays("tokens", calls, continuations, cast(Inside, self.inner).token_logprobs)

    def soft_gradients(
        self, calls: Sequence[Call], continuations: Sequence[str], weights: Sequence[float]
    ) -> tuple[Floats, list[Floats]]:
        """Ask the backend, and count; nothing is kept: no two steps ask for the same gradient. So for the next."""
        self.calls += len(calls)
        self.made += len(calls)
        return self._timed(lambda: cast(Inside, self.inner).soft_gradients(calls, continuations, weights))

    def steer_gradients(
        self, calls: Sequence[Call], continuations: Sequence[str], weights: Sequence[float]
    ) -> tuple[Floats, list[Floats]]:
        """Ask the backend, and count."""
        self.calls += len(calls)
        self.made += len(calls)
        return self._timed(lambda: cast(Inside, self.inner).steer_gradients(calls, continuations, weights))

    def train(self, jobs: Iterable[Job], recipe: Recipe, **more: Any) -> Iterator[Trained]:
        """Yield adapters as they are trained, or were before on the same examples; what they took is counted again."""
        keys, known = dict[str, bytes](), list[Trained]()

        def missing() -> Iterator[Job]:
            for job in jobs:
                key = self._key_of(job, recipe)
                kept = self.cache.get([key])
                if key in kept:
                    known.append(_read_trained(kept[key], job.key))
                else:
                    keys[job.key] = key
                    yield job

        for one in cast(Trainable, self.inner).train(missing(), recipe, **more):
            self.cache.put([(keys.pop(one.key), _write_trained(one))])
            self.seconds += one.seconds
            yield one
        self.seconds += sum(one.seconds for one in known)
        yield from known

    def train_jointly(self, jobs: Sequence[Job], recipe: Recipe, vectors: Vectors, **more: Any) -> Joint:
        """Let the backend train, and count the time."""
        made = cast(TrainsJointly, self.inner).train_jointly(jobs, recipe, vectors, **more)
        self.seconds += made.shared.seconds
        return made

    def train_vectors(self, jobs: Iterable[Job], *learnt: Any, **more: Any) -> Iterator[Trained]:
        """Let the backend train, and count the time."""
        for one in cast(TrainsJointly, self.inner).train_vectors(jobs, *learnt, **more):
            self.seconds += one.seconds
            yield one

    def train_gates(self, jobs: Sequence[Gating], recipe: Recipe, **more: Any) -> Iterator[tuple[str, Pieces]]:
        """Let the backend train, and count the time; so for the next four."""
        made = cast(Assembles, self.inner).train_gates(jobs, recipe, **more)
        return iter(self._timed(lambda: list(made)))

    def choose_pieces(
        self, examples: Sequence[Example], pieces: Sequence[Pieces], k: int, temperature: float
    ) -> dict[str, Chosen]:
        """Choose for each module the pieces that fit what it reads."""
        return self._timed(lambda: cast(Assembles, self.inner).choose_pieces(examples, pieces, k, temperature))

    def linear_places(self, modules: Sequence[str]) -> list[Place]:
        """Return the linear modules of all layers with these last names."""
        return cast(Differentiable, self.inner).linear_places(modules)

    def factor_losses(
        self, examples: Sequence[Example], owners: Sequence[int], factors: Stacked, scaling: float
    ) -> Floats:
        """Return the mean loss of each example under its owner's factors."""
        return self._timed(lambda: cast(Differentiable, self.inner).factor_losses(examples, owners, factors, scaling))

    def factor_gradients(
        self, examples: Sequence[Example], owners: Sequence[int], factors: Stacked, scaling: float
    ) -> tuple[Floats, dict[str, Factors]]:
        """Return these losses, and the gradient of their weighted sum."""
        model = cast(Differentiable, self.inner)
        return self._timed(lambda: model.factor_gradients(examples, owners, factors, scaling))

    def _timed(self, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        found = work()
        self.seconds += time.perf_counter() - start
        return found

    def stream(self, call: Call) -> Iterator[Chunk]:
        """Pass through; nothing of the bench streams."""
        return self.inner.stream(call)

    def close(self) -> None:
        """Close the backend and the cache."""
        self.inner.close()
        self.cache.close()

    def _through(
        self,
        what: str,
        asked: Sequence[tuple[Call, tuple[str, ...]]],
        make: Callable[[Sequence[tuple[Call, tuple[str, ...]]]], list[Kept]],
    ) -> list[Kept]:
        keys = [self._key(what, call, texts) for call, texts in asked]
        known = {key: _read(value) for key, value in self.cache.get([key for key in keys if key]).items()}
        missing = [n for n, key in enumerate(keys) if key not in known]
        out = {n: known[key] for n, key in enumerate(keys) if key in known}
        size = max(self.batch, _SCORED) if what == "score" else self.batch
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            made = make([asked[n] for n in part])
            self.made += len(part)
            told = zip(part, made, strict=True)  # a malformed answer may be a better one next time
            self.cache.put((keys[n], _write(kept)) for n, kept in told if keys[n] and kept.failure != "malformed")
            out.update(zip(part, made, strict=True))
        answers = [out[n] for n in range(len(asked))]
        self.calls += len(answers)
        self.seconds += sum(kept.seconds for kept in answers)
        self.failures.update(kept.failure for kept in answers if kept.failure)
        return answers

    def _arrays(
        self,
        what: str,
        calls: Sequence[Call],
        texts: Sequence[str],
        make: Callable[[Sequence[Call], Sequence[str]], list[Floats]],
    ) -> list[Floats]:
        asked = list(zip(calls, texts, strict=True))
        keys = [self._key(what, call, (text,)) for call, text in asked]
        out: dict[int, Floats] = {}
        known = self.cache.get([key for key in keys if key])
        for n, key in enumerate(keys):
            if key in known:  # the seconds it took, then the numbers
                self.seconds += float(np.frombuffer(known[key], np.float64, 1)[0])
                out[n] = np.frombuffer(known[key], np.float32, offset=8).copy()
        missing = [n for n in range(len(asked)) if n not in out]
        for start in range(0, len(missing), self.batch):
            part = missing[start : start + self.batch]
            began = time.perf_counter()
            made = make([asked[n][0] for n in part], [asked[n][1] for n in part])
            each = np.float64((time.perf_counter() - began) / len(part))
            self.seconds += float(each) * len(part)
            self.made += len(part)
            pairs = zip(part, made, strict=True)
            self.cache.put((keys[n], each.tobytes() + array.tobytes()) for n, array in pairs if keys[n])
            out.update(zip(part, made, strict=True))
        self.calls += len(asked)
        return [out[n] for n in range(len(asked))]

    def _key(self, what: str, call: Call, texts: tuple[str, ...]) -> bytes:
        """Return the key, or nothing where a function is part of the call and content cannot name it."""
        if call.choose is not None or call.logits_processors:
            return b""
        return digest(self.fingerprint, self.name, what, *content(call), *texts)

    def _key_of(self, job: Job, recipe: Recipe) -> bytes:
        parts = [repr((recipe, job.start))]
        for examples in (job.examples, job.held):
            parts.append(repr([identity(one) for one in examples]))
        return digest(self.fingerprint, self.name, "train", *parts)

    def _generate(self, asked: Sequence[tuple[Call, tuple[str, ...]]]) -> list[Kept]:
        calls = [call for call, _ in asked]
        return _each(calls, self.inner.generate, lambda made, s: Kept(completion=made, seconds=s))

    def _score(self, asked: Sequence[tuple[Call, tuple[str, ...]]]) -> list[Kept]:
        def score(part: Sequence[tuple[Call, tuple[str, ...]]]) -> list[tuple[float, ...]]:
            flat = [(call, text) for call, texts in part for text in texts]
            values = iter(self.inner.logprobs([call for call, _ in flat], [text for _, text in flat]))
            return [tuple(next(values) for _ in texts) for _, texts in part]

        return _each(asked, score, lambda made, s: Kept(scores=made, seconds=s))


def _each(
    items: Sequence[Any], make: Callable[[Sequence[Any]], list[Any]], keep: Callable[[Any, float], Kept]
) -> list[Kept]:
    """Make all at once; where one of them cannot be made, one by one."""
    start = time.perf_counter()
    try:
        made = make(items)
    except (InputError, MalformedAnswer) as error:
        if len(items) > 1:
            return [kept for item in items for kept in _each([item], make, keep)]
        return [Kept(failure="too_long" if isinstance(error, InputError) else "malformed")]
    each = (time.perf_counter() - start) / max(1, len(items))
    return [keep(one, each) for one in made]


def _write_trained(one: Trained) -> bytes:
    head = {
        "losses": one.losses, "held": one.held, "steps": one.steps, "tokens": one.tokens, "seconds": one.seconds,
    }  # fmt: skip
    return orjson.dumps(head) + b"\n" + one.body.read()


def _read_trained(data: bytes, key: str) -> Trained:
    line, _, body = data.partition(b"\n")
    head = orjson.loads(line)
    return Trained(key, Body.of(body), tuple(head.pop("losses")), tuple(head.pop("held")), **head)


def _need(kept: Kept) -> Kept:
    if kept.failure == "too_long":
        raise InputError("the prompt that a method wrote for the model is longer than the model reads")
    if kept.failure:
        raise MalformedAnswer("the model's answer to a method does not have the agreed form")
    return kept


def _write(kept: Kept) -> bytes:
    made = kept.completion
    answer = None if made is None else [made.text, made.finish_reason, made.tokens_in, made.tokens_out]
    return orjson.dumps([answer, kept.scores, kept.seconds, kept.failure])


def _read(value: bytes) -> Kept:
    answer, scores, seconds, failure = orjson.loads(value)
    certain = tuple(-np.inf if score is None else score for score in scores)  # JSON has no infinity
    return Kept(None if answer is None else Completion(*answer), certain, seconds, failure)


@dataclass
class CachedEmbedder:
    """An embedder in front of which every vector is kept by the hash of its text."""

    inner: Embedder
    cache: Cache

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.inner.dim

    @property
    def fingerprint(self) -> str:
        """The embedder's own."""
        return self.inner.fingerprint

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return ``[len(texts), dim]`` unit vectors."""
        keys = [digest("vector", self.fingerprint, text) for text in texts]
        known = {key: np.frombuffer(value, np.float32) for key, value in self.cache.get(keys).items()}
        missing = list(dict.fromkeys(n for n, key in enumerate(keys) if key not in known))
        if missing:
            made = self.inner.embed([texts[n] for n in missing]).astype(np.float32)
            self.cache.put((keys[n], vector.tobytes()) for n, vector in zip(missing, made, strict=True))
            known.update((keys[n], vector) for n, vector in zip(missing, made, strict=True))
        return np.stack([known[key] for key in keys]) if keys else np.zeros((0, self.dim), np.float32)


def length(backend: CachedBackend, call: Call) -> int:
    """Return the number of tokens of a call's messages, without what a chat template adds."""
    return sum(backend.count_tokens(text_of(message)) for message in call.messages)
