"""Adapters that stand for objectives: where they come from, and how one is found by what a setting says."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idiolect import registry
from idiolect.adaptation.shared.attach import KIND
from idiolect.alignment.shared.objectives import MEASURES
from idiolect.errors import ConfigError
from idiolect.training import peft_format
from idiolect.types import EVERYONE, Artifact, Body, Record, User


@dataclass(frozen=True)
class Expert:
    """The adapter of one objective: the ``id`` of its artifact, or of a folder's content, and whose records shaped it.

    ``time`` is when the newest of these was made; minus infinity for a folder.
    """

    id: str
    body: Body
    people: tuple[str, ...] = ()
    time: float = float("-inf")


def find(objective: str, user: User, method: str, settings: Mapping[str, Any], base_model: str) -> Expert | None:
    """Return the adapter that ``objective`` names, ``None`` where there is none yet.

    It is the name of a measured objective, whose adapter ``method`` trained with ``settings``; a folder as PEFT saves
    it; a method that learns an adapter for everybody (``task_lora:seed=1``); or the id of such an adapter. Raises
    :class:`ConfigError` for what is none of these.
    """
    if objective in MEASURES:
        return _expert(_of_everyone(user, method, {**settings, "objective": objective}, base_model))
    if "/" in objective:
        return _folder(objective, base_model)
    named = next((a for a in _adapters(user, base_model) if a.id == objective), None)
    return _expert(named) if named is not None else _of_method(objective, user, base_model)


def _of_method(spec: str, user: User, base_model: str) -> Expert | None:
    name, settings = registry.read_settings(spec)
    if name not in registry.methods.names():
        raise ConfigError(
            f"{spec!r} is no objective: name a measured one ({', '.join(MEASURES)}), a method that learns an adapter "
            "for everybody, the id of an adapter (idiolect adapters), or a PEFT folder (a path with a slash)"
        )
    return _expert(_of_everyone(user, name, settings, base_model))


def _of_everyone(user: User, method: str, settings: Mapping[str, Any], base_model: str) -> Artifact | None:
    """Return the newest adapter of everyone by a method, learnt with these settings among others."""
    found = (
        a for a in _adapters(user, base_model)
        if a.method == method and all(a.settings.get(key) == value for key, value in settings.items())
    )  # fmt: skip
    return next(found, None)


def _adapters(user: User, base_model: str) -> Sequence[Artifact]:
    return [
        a for a in user.artifacts
        if a.kind == KIND and a.user_id == EVERYONE and a.base_model == base_model and a.body is not None
    ]  # fmt: skip


def _expert(artifact: Artifact | None) -> Expert | None:
    if artifact is None or artifact.body is None:
        return None
    return Expert(artifact.id, artifact.body, artifact.people, artifact.time)


def _folder(path: str, base_model: str) -> Expert:
    weights = Path(path).expanduser() / "adapter_model.safetensors"
    return _read(path, weights.stat().st_mtime_ns if weights.is_file() else 0, base_model)


@functools.lru_cache(maxsize=16)
def _read(path: str, changed: int, base_model: str) -> Expert:
    # ``changed`` makes a folder that was written anew another one
    data = peft_format.dump(peft_format.load_folder(Path(path).expanduser(), base_model))
    body = Body.of(data)
    return Expert(f"peft-{body.digest}", body)


def best_of(records: Sequence[Record], objective: str, part: float) -> list[Record]:
    """Return the ``part`` of records whose texts have most of a measured objective, in their own order."""
    measure = MEASURES[objective]
    ranked = sorted(range(len(records)), key=lambda n: (-measure(records[n].output), n))
    kept = set(ranked[: max(1, round(part * len(records)))])
    return [record for n, record in enumerate(records) if n in kept]
