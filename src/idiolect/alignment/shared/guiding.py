"""A second reading of a question, by a model that knows the person, which moves what another says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from idiolect.errors import ConfigError, UnsupportedCall
from idiolect.inside import Proxied
from idiolect.prompting.assembly import Named, personalize
from idiolect.types import Backend, Call, Context, User


def guide(call: Call, user: User, parts: Sequence[Named], ctx: Context, method: str) -> Call | None:
    """Return the bare question as ``parts`` personalize it by text and adapters; ``None`` where they add nothing.

    Raises :class:`ConfigError` where they add anything else.
    """
    bare = replace(
        call, context=(), soft_prompt=None, mix=(), steering=(), adapters=(), choose=None, logits_processors=(),
        used=(),
    )  # fmt: skip
    told, _ = personalize(bare, user, parts, ctx)
    if told.needs - {"adapters"}:
        raise ConfigError(
            f"{method!r} is guided by text and adapters alone; its context adds "
            f"{', '.join(sorted(told.needs))}. Leave that out of {method}.context"
        )
    return told if told.messages != bare.messages or told.adapters else None


def small_model(ctx: Context, method: str) -> Backend:
    """Return the backend's second, smaller model; :class:`UnsupportedCall` where it has none."""
    if "proxy" not in ctx.model.supports:
        able = ["toy", "transformers, with a small model of the same tokens in backends.transformers.proxy"]
        raise UnsupportedCall(method, type(ctx.model).__name__, "proxy", able)
    return cast("Proxied", ctx.model).proxy_model
