"""People's adapters, and what becomes of them when the model they were made for is replaced by another.

In the order in which it is to be tried: learn again from the records (replay), make anew from a profile (regenerate),
learn from what the old model writes with the adapter (distil), take the weights as they are (reuse). Whatever came of
it serves a person only where the gate finds that it foresees their own latest records better (the method ``auto``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, Protocol, runtime_checkable

import orjson

from idiolect import registry
from idiolect.adaptation.shared.moving import reused
from idiolect.errors import ConfigError, InputError, UnsupportedCall
from idiolect.pipeline import Idiolect
from idiolect.prompting.assembly import Named, personalize
from idiolect.prompting.shared.known import Known
from idiolect.prompting.shared.replay import answered, own_options, replay, utilities
from idiolect.store.adapters import Kept, adapters
from idiolect.store.sharing import held, permitted
from idiolect.store.view import Views, view
from idiolect.types import EVERYONE, Artifact, Backend, Context, User

log = logging.getLogger("idiolect")
How = Literal["replay", "regenerate", "distil", "reuse"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of one adapter: the ``new`` one's id, or why there is none."""

    user: str
    old: str
    method: str
    how: How
    new: str = ""
    why: str = ""
    scores: tuple[float, float] | None = None
    """Where it was measured: how well the held-out records are foreseen with it and without [nats per byte]."""


@runtime_checkable
class Distils(Protocol):
    """A method that learns its adapters from what another model writes."""

    def distil(
        self, adapters: Iterable[Artifact], teacher: Backend, ctx: Context, prompts: Sequence[str] = ()
    ) -> Iterable[Artifact]:
        """Yield an adapter for the model of the context for each given one of the teacher."""


@runtime_checkable
class Places(Protocol):
    """A method that makes what serves a person with what it learnt from others before."""

    def place(self, users: Iterable[User], ctx: Context) -> Iterable[Artifact]:
        """Yield what serves these people; nothing where it was not fitted for the model."""


def waiting(app: Idiolect, users: Sequence[str]) -> list[Kept]:
    """Return the newest adapters of other models that have no version for the model at hand."""
    found = []
    for user in users:
        known, here = adapters(app.store, user), {_about(kept.artifact) for kept in _here(app, user)}
        for kept in known:
            if kept.artifact.base_model != app.backend.fingerprint and _about(kept.artifact) not in here:
                here.add(_about(kept.artifact))
                found.append(kept)
    return found


def move_by_replay(app: Idiolect, found: Sequence[Kept], progress: Progress | None = None) -> list[Moved]:
    """Learn each again for the model at hand, with the same settings, from the records that are still there."""
    out = []
    for (owner, spec), group in _by_spec(found):
        names = [info.id for info in app.store.everybody()] if owner else [kept.artifact.user_id for kept in group]
        failed = _tried(lambda spec=spec, names=names: app.fit(spec, names, progress))  # type: ignore[misc]
        none = "nothing was learnt again: too few of its records are left. With the old model at hand: --how distil"
        out += [_outcome(app, kept, "replay", failed or none) for kept in group]
    return out


def regenerate(app: Idiolect, users: Sequence[str], name: str) -> int:
    """Let a method that was fitted for the model at hand make what serves people; return how many artifacts were new.

    Raises :class:`ConfigError` where there is no such method, or it was not fitted for this model.
    """
    if name not in registry.methods.names():
        raise ConfigError(f"there is no method {name!r} here that makes adapters from profiles; move by replay instead")
    method = registry.make_method(name)[1]
    if not isinstance(method, Places):
        raise ConfigError(f"method {name!r} makes no adapters for people it was not fitted on; move by replay instead")
    made = _keep(app, method.place(Views(app.store, users, app.clock()), app.context()))
    if not made:
        raise ConfigError(f"{name} made nothing for {app.backend.fingerprint}. Fit it: idiolect fit {name} --all")
    return made


def distil(app: Idiolect, found: Sequence[Kept], teacher: Backend, prompts: Sequence[str] = ()) -> list[Moved]:
    """Let the old model write with each adapter, and learn from that; no record is read."""
    out = []
    for (_, spec), group in _by_spec(found):
        method = registry.make_method(spec)[1]
        own = [kept.artifact for kept in group if kept.artifact.base_model == teacher.fingerprint]
        failed = "" if isinstance(method, Distils) else "its method does not learn from another model; move by replay"
        if isinstance(method, Distils) and own:
            made = method.distil(own, teacher, app.context(fitting=spec), prompts)
            failed = _tried(lambda made=made: _keep(app, made))  # type: ignore[misc]
        for kept in group:
            old = kept.artifact.base_model
            other = "" if old == teacher.fingerprint else f"it was made for {old}, not for {teacher.fingerprint}"
            out.append(_outcome(app, kept, "distil", other or failed or "the old model wrote too little of use"))
    return out


def reuse(app: Idiolect, found: Sequence[Kept]) -> list[Moved]:
    """Take the weights as they are, where they foresee records that they never learnt better than the prompt alone."""
    return [_reused(app, kept) for kept in found]


def _reused(app: Idiolect, kept: Kept) -> Moved:
    old = kept.artifact
    moved = Moved(old.user_id, old.id, old.method, "reuse")
    if old.user_id == EVERYONE:
        return replace(moved, why="it is everybody's, and nobody's own records tell whether it helps; move by replay")
    new = reused(old, app.backend.fingerprint)
    try:
        scores = _compared(app, new)
    except (InputError, UnsupportedCall) as error:
        return replace(moved, why=str(error))
    if scores is None:
        return replace(moved, why="no record is left that it did not learn, so nothing tells whether it still helps")
    moved = replace(moved, scores=scores)
    if scores[0] <= scores[1]:
        return replace(moved, why="held-out records are foreseen no better with it than without")
    _keep(app, [new])
    return replace(moved, new=new.id)


def _compared(app: Idiolect, artifact: Artifact) -> tuple[float, float] | None:
    """Return how well records that an adapter never learnt are foreseen with it and without; ``None`` without any."""
    user, ctx = view(app.store, artifact.user_id, asked=app.clock()), app.context()
    ids, withheld = artifact.record_ids, orjson.loads(artifact.payload).get("withheld", 0)
    learnt = {*ids[: len(ids) - withheld]}
    own = answered(user)
    fresh = [one for one in own if one.id not in learnt and (one.id in ids or one.time > artifact.time)]
    asked = [replay(one, None, own_options(own)) for one in fresh]
    if not asked:
        return None
    methods: tuple[Named, ...] = (registry.make_method(_spec(artifact)),)
    calls = [
        [personalize(one.call, Known(user.before(one.record.time), more), methods, ctx)[0] for one in asked]
        for more in ((artifact,), ())
    ]
    scores = [utilities(ctx, list(zip(some, asked, strict=True))) for some in calls]
    return sum(scores[0]) / len(asked), sum(scores[1]) / len(asked)


def _by_spec(found: Sequence[Kept]) -> list[tuple[tuple[bool, dict[str, Any]], list[Kept]]]:
    """Return adapters by method and settings; those of everybody first, as people's own may lie above them."""
    order = sorted(found, key=lambda kept: (kept.artifact.user_id != EVERYONE, _key(kept.artifact)))
    groups = groupby(order, key=lambda kept: (kept.artifact.user_id == EVERYONE, _key(kept.artifact)))
    listed = [(key, list(group)) for key, group in groups]
    return [((key[0], _spec(group[0].artifact)), group) for key, group in listed]


def _outcome(app: Idiolect, kept: Kept, how: How, why: str) -> Moved:
    old = kept.artifact
    new = next((one.artifact.id for one in _here(app, old.user_id) if _about(one.artifact) == _about(old)), "")
    return Moved(old.user_id, old.id, old.method, how, new, "" if new else why)


def _keep(app: Idiolect, artifacts: Iterable[Artifact]) -> int:
    return app.store.put_artifacts(permitted(app.store, held(app.store, artifacts)))


def _here(app: Idiolect, user: str) -> list[Kept]:
    return [kept for kept in adapters(app.store, user) if kept.artifact.base_model == app.backend.fingerprint]


def _tried(work: Callable[[], object]) -> str:
    """Do it; return why not where it cannot be done."""
    try:
        work()
    except (ConfigError, InputError, UnsupportedCall) as error:
        log.warning("adapters were not moved: %s", type(error).__name__)
        return str(error)
    return ""


def _spec(artifact: Artifact) -> dict[str, Any]:
    return {"name": artifact.method, **artifact.settings}


def _key(artifact: Artifact) -> bytes:
    return orjson.dumps(_spec(artifact), option=orjson.OPT_SORT_KEYS)


def _about(artifact: Artifact) -> tuple[str, bytes]:
    return artifact.user_id, _key(artifact)
