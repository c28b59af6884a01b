"""What the tests of all import formats share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idiolect import sources
from idiolect.types import Record

Reader = Callable[..., tuple[list[Record], list[sources.Skipped]]]


@pytest.fixture
def read() -> Reader:
    """Read a file twice: the format must be found by itself and both times give the same."""

    def both(
        path: Path, user: str | None = None, expect: str = "", **settings: Any
    ) -> tuple[list[Record], list[sources.Skipped]]:
        if expect:
            assert sources.detect(path) == expect
        first, second = (list(sources.read(path, user, format=expect, settings=settings)) for _ in range(2))
        assert first == second
        records = [item for item in first if isinstance(item, Record)]
        assert len({record.id for record in records}) == len(records)
        return records, [item for item in first if isinstance(item, sources.Skipped)]

    return both


@pytest.fixture
def data() -> Path:
    """The folder of public data sets; without it the test is skipped, or fails where ``CI`` is set."""
    folder = Path(os.environ.get("IDIOLECT_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not folder.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no public data at {folder}; set IDIOLECT_DATA")
    return folder
