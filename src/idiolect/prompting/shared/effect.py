"""Which tokens of a text are personal: those that the person's context makes more likely (SteerX, arXiv 2510.22256)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from idiolect import registry
from idiolect.errors import UnsupportedCall
from idiolect.inside import Inside
from idiolect.types import Call, Context, Floats


def inside(ctx: Context, what: str) -> Inside:
    """Return the model as one whose inside is open; raises :class:`UnsupportedCall` where it is not."""
    if "inside" not in ctx.model.supports:
        able = [entry.name for entry in registry.backends if "inside" in entry.info["supports"]]
        raise UnsupportedCall(what, type(ctx.model).__name__, "inside", able)
    return cast(Inside, ctx.model)


def token_personalization_effect(ctx: Context, personal: Call, bare: Call, text: str) -> Floats:
    """Return ``log p(t | personal) - log p(t | bare)`` [nats] of each token of ``text``, ``[tokens]``.

    It is the token's average treatment effect of SteerX, and the difference that context steering multiplies. A word of
    the topic that stands in the context also has an effect: repeated is not preferred. Raises
    :class:`UnsupportedCall` for a model that shows no token's log probability.
    """
    return token_personalization_effects(ctx, [personal], [bare], [text])[0]


def token_personalization_effects(
    ctx: Context, personal: Sequence[Call], bare: Sequence[Call], texts: Sequence[str]
) -> list[Floats]:
    """Return the effects of many texts, each under its own two calls, in one batch; ``[tokens]`` for each."""
    model = inside(ctx, "the effect of personal context")
    found = model.token_logprobs([*personal, *bare], [*texts, *texts])
    return [with_ - without for with_, without in zip(found[: len(texts)], found[len(texts) :], strict=True)]
