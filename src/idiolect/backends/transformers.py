"""Local weights through PyTorch and Hugging Face transformers: exact scores, and all that works inside the model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from idiolect import models
from idiolect.backends import _torch_scoring as scoring
from idiolect.backends._generation import check_lengths, refuse_unmet
from idiolect.backends._torch_batching import Batching
from idiolect.backends._torch_decoding import Answer, decode
from idiolect.backends._torch_engine import Engine
from idiolect.decoding.choosing import generate_chosen, whole
from idiolect.errors import ConfigError
from idiolect.registry import backend
from idiolect.trainable import Checkpoints, Example, Job, Joint, Recipe, Trained, Vectors
from idiolect.training.factors import Factors
from idiolect.training.generator import Stacked
from idiolect.training.modules import Place
from idiolect.training.pieces import Chosen, Gating, Pieces
from idiolect.types import Body, Call, Chunk, Completion, Floats

_SUPPORTS = (
    "logprobs", "mix", "logits_processors", "soft_prompt", "steering", "adapters", "choose", "inside", "training",
    "joint_training", "proxy",
)  # fmt: skip


@backend("transformers", supports=_SUPPORTS, extra="transformers")
@dataclass
class TransformersBackend:
    """A local model in PyTorch, from a Hugging Face folder or a GGUF file (converted once into such a folder).

    ``model`` is a name of the catalogue or a path. ``dtype`` is ``auto`` (bfloat16 where the processor has it, else
    float32), ``float32``, ``bfloat16`` or ``float16``; ``device`` is ``auto``, ``cpu``, ``cuda`` ... ``batch`` is the
    largest number of rows in one pass; every branch of a mixture is a row. ``max_tokens`` ends an answer whose call
    sets no limit. ``threads`` is PyTorch's own choice where it is 0. A call without a temperature is greedy.
    ``deterministic`` passes one call at a time: in bfloat16 what shares a batch moves a score by tenths of a nat.
    ``train_users`` is how many people's adapters are trained at once.
    Answers of different threads grow in one batch, each with its own adapters; ``adapters_mb`` [MiB] of adapters are
    kept in memory between calls, the least recently used ones are read again. ``proxy`` names a second, smaller model
    with the same tokens, for methods that mix what it says into the answer; without one they are refused.

    A soft prompt stands before the whole prompt. Steering acts on the tokens of the answer and never on the prompt, so
    the first token is drawn, and a text of one token scored, without it. In a mixture both, and adapters, belong to the
    branches that are the call's own prompt, unless a branch brings adapters of its own.
    """

    model: str = "smollm2-135m-instruct"
    dtype: str = "auto"
    device: str = "auto"
    batch: int = 16
    max_tokens: int = 512
    threads: int = 0
    deterministic: bool = False
    train_users: int = 8
    adapters_mb: int = 1024
    proxy: str = ""

    supports = frozenset[str]()  # set by @backend

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._training = threading.Lock()
        self._engine: Engine | None = None
        self._batching: Batching | None = None
        self._norm = 0.0
        self._small: TransformersBackend | None = None
        if not self.proxy:
            self.supports = self.supports - {"proxy"}

    @property
    def proxy_model(self) -> TransformersBackend:
        """The smaller model, as a backend of its own; :class:`ConfigError` where ``proxy`` names none."""
        if not self.proxy:
            raise ConfigError("there is no smaller model; name one in backends.transformers.proxy")
        with self._lock:
            if self._small is None:
                self._small = replace(self, model=self.proxy, proxy="")
            return self._small

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
        return generate_chosen(calls, self._answers)

    def stream(self, call: Call) -> Iterator[Chunk]:
        """Yield the answer token by token (whole characters); one that is chosen among drafts as a whole."""
        refuse_unmet([call], "transformers", self.supports)
        if call.choose is not None:
            return whole(self.generate([call])[0])
        engine = self._loaded()
        answer = Answer(call, engine, self.max_tokens)
        for row in answer.rows:
            engine.of(row).adapters.weights(row.adapters)  # what does not fit is refused at once
        return (chunk for _, chunk in self._decode(engine, [answer]))

    def logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[float]:
        """Return the summed log probability [nats] of each continuation.

        What several calls read alike is read once: the prompt where continuations differ, everything where only the
        weights of a mixture differ.
        """
        return [float(values.sum()) for values in self._score(calls, continuations)]

    @property
    def hidden(self) -> int:
        """Width of the residual stream."""
        return self._loaded().hidden

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return len(self._loaded().layers)

    @property
    def embedding_norm(self) -> float:
        """Mean Euclidean norm of the rows of the input embedding."""
        if not self._norm:
            self._norm = self._loaded().embedding_norm()
        return self._norm

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self._loaded().vocabulary

    def embeddings(self, ids: Sequence[int]) -> Floats:
        """Return the input embeddings of token ids, ``[len(ids), hidden]``; :class:`InputError` for an unknown id.

        As a soft prompt they are these tokens in front of the prompt.
        """
        return self._loaded().embeddings(ids)

    def activations(self, calls: Sequence[Call], continuations: Sequence[str], layer: int) -> list[Floats]:
        """Return the outputs of ``layer`` (from 0) at each continuation's tokens, ``[tokens, hidden]`` for each.

        What steering adds at that layer is in them. They are those of the call's own prompt, whatever it is mixed with.
        """
        self._check(calls, continuations)
        return scoring.activations(self._loaded(), calls, continuations, layer, self.rows)

    def token_logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[Floats]:
        """Return the log probability [nats] of each of a continuation's tokens, ``[tokens]`` for each."""
        return [values.astype(np.float32) for values in self._score(calls, continuations)]

    def soft_gradients(
        self, calls: Sequence[Call], continuations: Sequence[str], weights: Sequence[float]
    ) -> tuple[Floats, list[Floats]]:
        """Return each continuation's log probability ``[calls]`` and ``weight`` times its gradient, weights frozen.

        The gradient is with respect to the call's own ``soft_prompt``, ``[tokens, hidden]`` for each. Raises
        :class:`InputError` for a call without a soft prompt, and for one with a mixture or logits processors.
        """
        self._check(calls, continuations)
        return scoring.soft_gradients(self._loaded(), calls, continuations, weights, self.rows)

    def steer_gradients(
        self, calls: Sequence[Call], continuations: Sequence[str], weights: Sequence[float]
    ) -> tuple[Floats, list[Floats]]:
        """Return each continuation's log probability ``[calls]`` and ``weight`` times its gradient, weights frozen.

        The gradient is with respect to the ``vector`` of the call's single ``steering``, ``[hidden]`` for each, its
        strength a factor of it; the layers below are read without keeping anything. Raises :class:`InputError` for a
        call with none or several, with one ``along`` a direction, with a mixture or with logits processors.
        """
        self._check(calls, continuations)
        return scoring.steer_gradients(self._loaded(), calls, continuations, weights, self.rows)

    def train(
        self,
        jobs: Iterable[Job],
        recipe: Recipe,
        *,
        progress: Callable[[int], None] | None = None,
        check: Callable[[], None] | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Iterator[Trained]:
        """Train one adapter for each job, ``train_users`` at a time (:class:`idiolect.trainable.Trainable`).

        One training at a time; answers may be asked for meanwhile and do not see it.
        """
        from idiolect.backends._torch_training import train

        engine = self._loaded()
        with self._training:
            yield from train(engine, self.fingerprint, jobs, recipe, self.train_users, progress, check, checkpoints)

    def train_jointly(
        self,
        jobs: Sequence[Job],
        recipe: Recipe,
        vectors: Vectors,
        *,
        progress: Callable[[int], None] | None = None,
        check: Callable[[], None] | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Joint:
        """Train one adapter and each person's vector (:class:`idiolect.trainable.TrainsJointly`)."""
        from idiolect.backends._torch_training import train_jointly

        engine = self._loaded()
        with self._training:
            return train_jointly(engine, self.fingerprint, jobs, recipe, vectors, progress, check, checkpoints)

    def train_vectors(
        self,
        jobs: Iterable[Job],
        shared: Body,
        projection: Body,
        recipe: Recipe,
        vectors: Vectors,
        *,
        progress: Callable[[int], None] | None = None,
        check: Callable[[], None] | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Iterator[Trained]:
        """Train other people's vectors, ``train_users`` at a time (:class:`idiolect.trainable.TrainsJointly`)."""
        from idiolect.backends._torch_training import train_vectors

        engine, learnt = self._loaded(), (shared, projection)
        with self._training:
            yield from train_vectors(
                engine, self.fingerprint, jobs, learnt, recipe, vectors, self.train_users, progress, check,
                checkpoints,
            )  # fmt: skip

    def train_gates(
        self, jobs: Sequence[Gating], recipe: Recipe, *, check: Callable[[], None] | None = None
    ) -> Iterator[tuple[str, Pieces]]:
        """Train the gates of each job's adapter (:class:`idiolect.training.pieces.Assembles`)."""
        from idiolect.backends._torch_training import train_gates

        engine = self._loaded()
        with self._training:
            yield from train_gates(engine, jobs, recipe, self.train_users, check)

    def choose_pieces(
        self, examples: Sequence[Example], pieces: Sequence[Pieces], k: int, temperature: float
    ) -> dict[str, Chosen]:
        """Choose for each module the pieces that fit what it reads (:class:`idiolect.training.pieces.Assembles`)."""
        from idiolect.backends._torch_training import choose_pieces

        with self._training:
            return choose_pieces(self._loaded(), examples, pieces, k, temperature)

    def linear_places(self, modules: Sequence[str]) -> list[Place]:
        """Return the linear modules of all layers with these last names; :class:`InputError` for an unknown one."""
        from idiolect.backends._torch_training import linear_places

        return linear_places(self._loaded(), modules)

    def factor_losses(
        self, examples: Sequence[Example], owners: Sequence[int], factors: Stacked, scaling: float
    ) -> Floats:
        """Return the mean loss of each example's tokens ``[examples]`` [nats], each under its owner's factors."""
        from idiolect.backends._torch_training import factor_losses

        with self._training:
            return factor_losses(self._loaded(), examples, owners, factors, scaling, gradients=False)[0]

    def factor_gradients(
        self, examples: Sequence[Example], owners: Sequence[int], factors: Stacked, scaling: float
    ) -> tuple[Floats, dict[str, Factors]]:
        """Return these losses, and the gradient of their weighted sum (:mod:`idiolect.training.generating`)."""
        from idiolect.backends._torch_training import factor_losses

        with self._training:
            return factor_losses(self._loaded(), examples, owners, factors, scaling, gradients=True)

    @property
    def rows(self) -> int:
        """How many rows go into one pass."""
        return 1 if self.deterministic else self.batch

    def close(self) -> None:
        """Let go of the model; a later call loads it again."""
        with self._lock:
            small, self._small = self._small, None
            self._engine = self._batching = None
        if small is not None:
            small.close()

    def forget(self, artifact_ids: Iterable[str]) -> None:
        """Drop adapters from memory, by the ids of their artifacts; answers under way end with theirs."""
        ids = list(artifact_ids)
        with self._lock:
            small = self._small
            if self._engine is not None:
                self._engine.adapters.forget(ids)
        if small is not None:
            small.forget(ids)

    def _check(self, calls: Sequence[Call], continuations: Sequence[str]) -> None:
        check_lengths(calls, continuations)
        refuse_unmet(calls, "transformers", self.supports)

    def _answers(self, calls: Sequence[Call]) -> list[Completion]:
        engine = self._loaded()
        texts, last = [""] * len(calls), [Chunk("")] * len(calls)
        for at, chunk in self._decode(engine, [Answer(call, engine, self.max_tokens) for call in calls]):
            texts[at] += chunk.text
            last[at] = chunk
        return [_completion(text, chunk) for text, chunk in zip(texts, last, strict=True)]

    def _decode(self, engine: Engine, answers: Sequence[Answer]) -> Iterator[tuple[int, Chunk]]:
        if not engine.attends_to_all:
            return decode(engine, answers, self.rows)
        with self._lock:
            if self._batching is None or self._batching.engine is not engine or self._batching.limit != self.rows:
                self._batching = Batching(engine, self.rows)
            return self._batching.run(answers)

    def _score(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[scoring.Doubles]:
        self._check(calls, continuations)
        return scoring.score(self._loaded(), calls, continuations, self.rows, self.deterministic)

    def _loaded(self) -> Engine:
        small = self.proxy_model._loaded() if self.proxy else None
        with self._lock:
            if self._engine is None:
                self._engine = Engine(self.model, self.dtype, self.device, self.threads, self.adapters_mb, small)
            return self._engine


def _completion(text: str, last: Chunk) -> Completion:
    message = {"role": "assistant", "content": text}
    return Completion(text, last.finish_reason or "stop", last.tokens_in, last.tokens_out, message)
