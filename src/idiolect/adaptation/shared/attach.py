"""Adapters as artifacts: finding a person's, and adding it to a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol, cast

from idiolect import registry
from idiolect.decoding.branches import sources_of
from idiolect.errors import ConfigError
from idiolect.prompting.assembly import Named, fold
from idiolect.types import Adapter, Artifact, Call, Context, Used, User

KIND = "adapter"


def attached(call: Call, artifact: Artifact, method: str, weight: float = 1.0) -> Call:
    """Return the call with an artifact's adapter added, and the artifact among what shaped it."""
    assert artifact.body is not None, "an adapter has a body"
    adapter = Adapter(artifact.id, weight, artifact.body)
    used = Used("artifact", artifact.id, method, method, weight)
    return replace(call, adapters=(*call.adapters, adapter), used=(*call.used, used))


def dressed(
    call: Call, user: User, ctx: Context, parts: Sequence[Named], artifact: Artifact | None, method: str, weight: float
) -> Call:
    """Return the call as ``parts`` personalize its prompt, with an artifact's adapter where there is one."""
    planned = fold(call, user, parts, ctx)
    return planned if artifact is None or not weight else attached(planned, artifact, method, weight)


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


class Begins(Protocol):
    """A method whose adapter of everybody others may begin from."""

    def current(self, user: User, base_model: str) -> Artifact | None:
        """Return the newest adapter learnt with its settings for these weights."""


def initial(spec: str, user: User, base_model: str) -> Artifact | None:
    """Return the adapter that a method (``NAME`` or ``NAME:setting=value``) learnt for everybody to begin from.

    ``None`` where no method is named; :class:`ConfigError` where it has none for this model.
    """
    if not spec:
        return None
    (name, found), *more = registry.make_folded(spec)
    current = getattr(found, "current", None)
    if more or current is None or not registry.methods.get(name).info["together"]:
        raise ConfigError(f"start={spec}: no adapter can begin from that; one to begin from is learnt by 'meta_lora'")
    artifact = cast("Begins", found).current(user, base_model)
    if artifact is None:
        raise ConfigError(f"start={spec}: nothing was learnt yet for {base_model}. Learn it: idiolect fit {spec} --all")
    return artifact


def people_under(user: User, calls: Iterable[Call]) -> set[str]:
    """Return whose records, beside a user's own, shaped the adapters that calls carry, all of which the user has.

    What is trained over these adapters goes when they do.
    """
    return shaping(user, calls) - {user.id}


def shaping(user: User, calls: Iterable[Call]) -> set[str]:
    """Return whose records shaped the adapters that calls carry, the user's own among them."""
    under = {adapter.id for call in calls for source in sources_of(call) for adapter in source.adapters}
    return {person for artifact in user.artifacts if artifact.id in under for person in artifact.people}


def records_under(user: User, calls: Iterable[Call]) -> list[str]:
    """Return the person's own records that shaped the adapters which calls carry: the same holds of these."""
    under = {adapter.id for call in calls for adapter in call.adapters}
    mine = (artifact for artifact in user.artifacts if artifact.id in under and artifact.user_id == user.id)
    return list(dict.fromkeys(rid for artifact in mine for rid in artifact.record_ids))


def plain(method: object, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a method's settings as they come back from the store, without those that learning does not depend on."""
    table = asdict(method)  # type: ignore[call-overload]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in table.items() if k not in without}
