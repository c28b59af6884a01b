"""Small shared pieces: a store in a folder, a fake embedder, records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from idiolect.backends._generation import log_softmax, mixed, processed
from idiolect.backends.toy import ToyBackend
from idiolect.decoding.branches import sources_of
from idiolect.store.keys import MasterKey
from idiolect.store.store import Store
from idiolect.trainable import Example, Job, Joint, Recipe, Trained, Vectors
from idiolect.training import peft_format
from idiolect.training.factors import Factors, LowRank
from idiolect.training.modules import Place
from idiolect.training.pieces import Chosen, Gating, Pieces, best, standard
from idiolect.types import Adapter, Body, Call, Completion, Floats, Record


class HashEmbedder:
    """Deterministic vectors: the sum of a fixed random vector per word, so that shared words mean nearness."""

    dim = 48

    def __init__(self, name: str = "hash-1") -> None:
        self.fingerprint = name
        self.calls = 0

    def _word(self, word: str) -> Floats:
        seed = int.from_bytes(hashlib.blake2b((self.fingerprint + word).encode(), digest_size=4).digest(), "little")
        return np.random.default_rng(seed).normal(size=self.dim).astype(np.float32)

    def embed(self, texts: Sequence[str]) -> Floats:
        self.calls += 1
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            words = text.lower().split()
            if words:
                out[row] = np.sum([self._word(w) for w in words], axis=0)
                out[row] /= np.linalg.norm(out[row])
        return out


class InsideToy(ToyBackend):
    """A toy with hidden states (hashes of the last bytes); soft prompts and vectors move its logits by a matrix."""

    supports = ToyBackend.supports | {
        "inside", "soft_prompt", "steering", "adapters", "training", "joint_training",
    }  # fmt: skip
    hidden, layers, embedding_norm, vocabulary = 16, 4, 1.0, 257

    def _next(self, call: Call, prompts: Any, answer: bytes) -> Floats:
        met = [self._adapted(one.adapters) for one in sources_of(call)] if call.mix else [np.float32(0)]
        rows = np.stack([prompt.logits(answer) + more for prompt, more in zip(prompts, met, strict=True)])
        row = processed(mixed(rows.astype(np.float32), call), call.logits_processors, list(answer))
        if call.soft_prompt is not None:
            row = row + self._out @ call.soft_prompt.sum(axis=0)
        for steer in call.steering:
            share = self._state(steer.layer, answer) @ steer.vector if steer.along else 1.0
            row = row + steer.strength * share * (self._out @ steer.vector)
        if not call.mix:
            row = row + self._adapted(call.adapters)
        return row.astype(np.float32)

    def _adapted(self, adapters: Sequence[Adapter]) -> Any:
        row = np.float32(0)
        for adapter in adapters:
            low_rank = peft_format.load(adapter.body.read())
            if "out" in low_rank.modules:
                row = row + adapter.weight * low_rank.delta("out").sum(axis=1)
                if (bias := low_rank.modules["out"].bias) is not None:
                    row = row + adapter.weight * low_rank.scaling * bias
        return row

    def train(self, jobs: Iterable[Job], recipe: Recipe, **_: Any) -> Iterator[Trained]:
        """An adapter that makes the bytes of what was learnt more likely, and tells prompts apart a little.

        Those of what was rejected become less likely where preferences are learnt.
        """
        for job in jobs:
            row = np.zeros((257, 1), np.float32)
            for example in job.examples:
                row[:, 0] += np.bincount(np.frombuffer(example.text.encode(), np.uint8), minlength=257) / 50
                if recipe.objective == "preference":
                    rejected = (example.rejected or "").encode()
                    row[:, 0] -= np.bincount(np.frombuffer(rejected, np.uint8), minlength=257) / 50
                row[:, 0] += (
                    np.bincount(np.frombuffer(repr(example.call.messages).encode(), np.uint8), minlength=257) / 5e4
                )
            made = LowRank({"out": Factors(np.ones((1, 1), np.float32), row)}, 1.0, self.fingerprint)
            yield Trained(job.key, Body.of(peft_format.dump(made)), (2.0, 1.0), (), 2, 10, 0.0)

    def train_jointly(self, jobs: Sequence[Job], recipe: Recipe, vectors: Vectors, **_: Any) -> Joint:
        """One adapter of what all say, and for each person what they say as a bias."""
        (shared,) = self.train([Job("", [example for job in jobs for example in job.examples])], recipe)
        return Joint(shared, shared.body, tuple(self.train_vectors(jobs, shared.body, shared.body, recipe, vectors)))

    def train_vectors(
        self, jobs: Iterable[Job], shared: Body, projection: Body, recipe: Recipe, vectors: Vectors, **_: Any
    ) -> Iterator[Trained]:
        zero = np.zeros((1, 1), np.float32), np.zeros((257, 1), np.float32)
        for one in self.train(jobs, recipe):
            bias = peft_format.load(one.body.read()).delta("out")[:, 0]
            made = LowRank({"out": Factors(*zero, bias)}, 1.0, self.fingerprint)
            yield replace(one, body=Body.of(peft_format.dump(made)))

    def train_gates(self, jobs: Sequence[Gating], recipe: Recipe, **_: Any) -> Iterator[tuple[str, Pieces]]:
        """Keys that say which bytes a person's texts have."""
        for job in jobs:
            yield job.key, Pieces(peft_format.load(job.adapter.read()), {"out": self._bytes_of(job.examples)})

    def choose_pieces(
        self, examples: Sequence[Example], pieces: Sequence[Pieces], k: int, temperature: float
    ) -> dict[str, Chosen]:
        return {"out": best(np.stack([one.keys["out"] for one in pieces]) @ self._bytes_of(examples), k, temperature)}

    def _bytes_of(self, examples: Sequence[Example]) -> Floats:
        whole = "".join(example.text for example in examples).encode()
        return standard(np.bincount(np.frombuffer(whole, np.uint8), minlength=257).astype(np.float32))

    def linear_places(self, modules: Sequence[str]) -> list[Place]:
        return [Place("out", 0, 1, 257, 30.0)]

    def factor_losses(self, examples: Sequence[Example], owners: Sequence[int], factors: Any, scaling: float) -> Floats:
        return self.factor_gradients(examples, owners, factors, scaling)[0]

    def factor_gradients(
        self, examples: Sequence[Example], owners: Sequence[int], factors: Any, scaling: float
    ) -> tuple[Floats, dict[str, Factors]]:
        losses, one = [], factors["out"]
        found = Factors(np.zeros_like(one.a), np.zeros_like(one.b))
        for example, owner in zip(examples, owners, strict=True):
            a, b = one.a[owner], one.b[owner]
            at = np.arange(len(data := np.frombuffer(example.text.encode(), np.uint8)))
            rows = log_softmax(self.rows_of(example.call, example.text) + scaling * (b @ a).sum(axis=1))
            losses.append(-float(rows[at, data].mean()))
            slope = np.exp(rows).mean(axis=0) - np.bincount(data, minlength=257) / len(data)
            slope *= scaling * example.weight
            found.a[owner] += (b.T @ slope)[:, None]
            found.b[owner] += np.outer(slope, a.sum(axis=1))
        return np.array(losses, np.float32), {"out": found}

    def rows_of(self, call: Call, text: str) -> Floats:
        """The logits before each byte of a text."""
        data, prompts = text.encode(), self._prompts(call)
        return np.stack([self._next(call, prompts, data[:at]) for at in range(len(data))])

    @cached_property
    def _out(self) -> Floats:
        return np.random.default_rng(7).normal(size=(257, self.hidden)).astype(np.float32)

    def embeddings(self, ids: Sequence[int]) -> Floats:
        table = np.random.default_rng(8).normal(scale=self.hidden**-0.5, size=(self.vocabulary, self.hidden))
        return table[list(ids)].astype(np.float32)

    def activations(self, calls: Sequence[Call], continuations: Sequence[str], layer: int) -> list[Floats]:
        return [np.stack([self._state(layer, text.encode()[: at + 1]) for at in range(len(text.encode()))])
                for text in continuations]  # fmt: skip

    def _state(self, layer: int, seen: bytes) -> Floats:
        seed = int.from_bytes(hashlib.blake2b(bytes([layer]) + seen[-3:], digest_size=4).digest(), "little")
        return np.random.default_rng(seed).normal(size=self.hidden).astype(np.float32)

    def token_logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[Floats]:
        out = []
        for call, text in zip(calls, continuations, strict=True):
            data, prompts = text.encode(), self._prompts(call)
            rows = [log_softmax(self._next(call, prompts, data[:at]))[byte] for at, byte in enumerate(data)]
            out.append(np.array(rows, np.float32))
        return out

    def soft_gradients(
        self, calls: Sequence[Call], continuations: Sequence[str], weights: Sequence[float]
    ) -> tuple[Floats, list[Floats]]:
        scores, gradients = [], []
        for call, text, weight in zip(calls, continuations, weights, strict=True):
            data, prompts, total, score = text.encode(), self._prompts(call), np.zeros(self.hidden, np.float32), 0.0
            for at, byte in enumerate(data):
                row = log_softmax(self._next(call, prompts, data[:at]))
                score += float(row[byte])
                total += self._out[byte] - np.exp(row) @ self._out
            assert call.soft_prompt is not None
            scores.append(score)
            gradients.append(np.tile(np.float32(weight) * total, (len(call.soft_prompt), 1)))
        return np.array(scores, np.float32), gradients

    def steer_gradients(
        self, calls: Sequence[Call], continuations: Sequence[str], weights: Sequence[float]
    ) -> tuple[Floats, list[Floats]]:
        scores, gradients = [], []
        for call, text, weight in zip(calls, continuations, weights, strict=True):
            (steer,) = call.steering
            data = np.frombuffer(text.encode(), np.uint8)
            plain = self.rows_of(replace(call, steering=()), text)
            rows = log_softmax(plain + steer.strength * (self._out @ steer.vector))
            slope = np.bincount(data, minlength=257) - np.exp(rows).sum(axis=0)
            scores.append(float(rows[np.arange(len(data)), data].sum()))
            gradients.append(np.float32(weight * steer.strength) * (slope.astype(np.float32) @ self._out))
        return np.array(scores, np.float32), gradients


class RememberingToy(InsideToy):
    """The same toy, which does not work out twice what it was asked before: fits of one world repeat in many tests."""

    _memo: ClassVar[dict[Any, Any]] = {}

    def generate(self, calls: Sequence[Call]) -> list[Completion]:
        return [
            self._once("text", call, "", lambda c=call: super(RememberingToy, self).generate([c])[0]) for call in calls
        ]

    def logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[float]:
        asked = zip(calls, continuations, strict=True)
        return [
            self._once("sum", c, t, lambda c=c, t=t: super(RememberingToy, self).logprobs([c], [t])[0])
            for c, t in asked
        ]

    def token_logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[Floats]:
        asked = zip(calls, continuations, strict=True)
        return [
            self._once("row", c, t, lambda c=c, t=t: super(RememberingToy, self).token_logprobs([c], [t])[0])
            for c, t in asked
        ]

    def factor_gradients(
        self, examples: Sequence[Example], owners: Sequence[int], factors: Any, scaling: float
    ) -> tuple[Floats, dict[str, Factors]]:
        one, digest = factors["out"], hashlib.blake2b(repr((examples, owners, scaling)).encode())
        digest.update(np.ascontiguousarray(one.a).tobytes() + np.ascontiguousarray(one.b).tobytes())
        key = ("gradients", digest.digest())
        if key not in self._memo:
            self._memo[key] = super().factor_gradients(examples, owners, factors, scaling)
        return self._memo[key]

    def rows_of(self, call: Call, text: str) -> Floats:
        return self._once("logits", call, text, lambda: super(RememberingToy, self).rows_of(call, text))

    def _once(self, what: str, call: Call, text: str, make: Callable[[], Any]) -> Any:
        if call.choose is not None or call.logits_processors:
            return make()
        soft = b"" if call.soft_prompt is None else call.soft_prompt.tobytes()
        steering = [(s.layer, s.strength, s.along, s.vector.tobytes()) for s in call.steering]
        adapters = [(adapter.weight, adapter.body.digest) for adapter in call.adapters]
        told = (call.messages, call.mix, call.plausibility, call.sampling, soft, steering, adapters)
        key = (what, text, repr(told))
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]


def open_store(folder: Path, embedder: Any = None, **kwargs: Any) -> Store:
    master = MasterKey(f"file:{folder}/keys/master.key")
    return Store.open(folder / "data", folder / "keys", master, embedder, **kwargs)


def say(user: str, text: str, time: float, session: str = "", speaker: str = "", **more: Any) -> Record:
    meta = {k: v for k, v in (("session", session), ("speaker", speaker)) if v}
    return Record.new(
        user, text, time=time, kind=more.pop("kind", "dialogue"), meta={**meta, **more.pop("meta", {})}, **more
    )


def words(rng: np.random.Generator, n: int, vocabulary: int = 400) -> str:
    return " ".join(f"w{int(i)}" for i in rng.zipf(1.3, n) % vocabulary)


class KeptInMemory(dict[str, bytes]):
    """Checkpoints of a training."""

    def save(self, key: str, data: bytes) -> None:
        self[key] = data

    def load(self, key: str) -> bytes | None:
        return self.get(key)

    def drop(self, key: str) -> None:
        self.pop(key, None)


class Killed(Exception):
    """A process that ended."""


def killed_after(count: int) -> Callable[[], None]:
    """Return a check that kills the work once so many steps were made."""
    left = iter(range(count))

    def check() -> None:
        if next(left, None) is None:
            raise Killed

    return check
