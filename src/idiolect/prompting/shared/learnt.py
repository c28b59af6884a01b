"""What a method learnt about a person before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from idiolect.types import Artifact, User


def newest(user: User, method: str, settings: Mapping[str, Any], base_model: str = "") -> Artifact | None:
    """Return the newest artifact that a method learnt with these settings, and with that model where one is named."""
    mine = (a for a in user.artifacts if a.method == method and a.settings == settings)
    return next((a for a in mine if base_model in ("", a.base_model)), None)


def due(user: User, records: int, refresh: int) -> bool:
    """Whether what was learnt over so many records is to be learnt again.

    That is once ``refresh`` more have come, and a twentieth as many as there were: learning that reads the whole
    history then costs the same for each record, however long the history is.
    """
    return user.count - records >= max(refresh, records // 20)
