"""Adapters as artifacts: finding a person's, and adding it to a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from idiolect.types import Adapter, Artifact, Call, Used, User

KIND = "adapter"


def attached(call: Call, artifact: Artifact, method: str, weight: float = 1.0) -> Call:
    """Return the call with an artifact's adapter added, and the artifact among what shaped it."""
    assert artifact.body is not None, "an adapter has a body"
    adapter = Adapter(artifact.id, weight, artifact.body)
    used = Used("artifact", artifact.id, method, method, weight)
    return replace(call, adapters=(*call.adapters, adapter), used=(*call.used, used))


def adapter_of(
    user: User, method: str, settings: Mapping[str, Any], base_model: str, owner: str | None = None
) -> Artifact | None:
    """Return the newest adapter that a method learnt with these settings for this model, of a person or of everyone.

    One made for other weights is never returned: it would change the wrong ones.
    """
    whose = user.id if owner is None else owner
    found = (
        a for a in user.artifacts
        if a.kind == KIND and a.method == method and a.user_id == whose and a.base_model == base_model
        and a.body is not None and a.settings == settings
    )  # fmt: skip
    return next(found, None)


def plain(method: object, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a method's settings as they come back from the store, without those that learning does not depend on."""
    table = asdict(method)  # type: ignore[call-overload]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in table.items() if k not in without}
