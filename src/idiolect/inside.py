"""What a backend over open weights offers besides answers: hidden states and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from idiolect.types import Backend, Call, Floats


@runtime_checkable
class Inside(Protocol):
    """What a backend over open weights also offers; ``"inside"`` is then among :attr:`Backend.supports`."""

    @property
    def hidden(self) -> int:
        """Width of the residual stream."""

    @property
    def layers(self) -> int:
        """Number of layers."""

    @property
    def embedding_norm(self) -> float:
        """Mean Euclidean norm of the rows of the input embedding."""

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""

    def embeddings(self, ids: Sequence[int]) -> Floats:
        """Return the input embeddings of token ids, as the first layer gets them, ``[len(ids), hidden]``."""

    def activations(self, calls: Sequence[Call], continuations: Sequence[str], layer: int) -> list[Floats]:
        """Return the outputs of ``layer`` (from 0) at each continuation's tokens, ``[tokens, hidden]`` for each."""

    def token_logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[Floats]:
        """Return the log probability [nats] of each of a continuation's tokens, ``[tokens]`` for each."""

    def soft_gradients(
        self, calls: Sequence[Call], continuations: Sequence[str], weights: Sequence[float]
    ) -> tuple[Floats, list[Floats]]:
        """Return each continuation's log probability ``[calls]`` and ``weight`` times its gradient, weights frozen.

        The gradient is with respect to the call's own ``soft_prompt``, ``[tokens, hidden]`` for each.
        """

    def steer_gradients(
        self, calls: Sequence[Call], continuations: Sequence[str], weights: Sequence[float]
    ) -> tuple[Floats, list[Floats]]:
        """Return each continuation's log probability ``[calls]`` and ``weight`` times its gradient, weights frozen.

        The gradient is with respect to the ``vector`` of the call's single ``steering``, ``[hidden]`` for each; its
        strength is a factor of it.
        """


@runtime_checkable
class Proxied(Protocol):
    """What a backend with a second, smaller model also offers; ``"proxy"`` is then among :attr:`Backend.supports`.

    Both models have the same tokens, so that what one says can be mixed with what the other says.
    """

    @property
    def proxy_model(self) -> Backend:
        """The smaller model, as a backend of its own."""
