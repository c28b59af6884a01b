"""The two people of the demo: invented, 40 records each, opposed in nearly everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from idiolect.types import Record

_HERE = files("idiolect.cli.demo") / "people"


@dataclass(frozen=True, slots=True)
class Question:
    """What both are asked, and what each of them really chose: no record says it."""

    ask: str
    chose: dict[str, str]


def about() -> dict[str, str]:
    """Return who they are, by user id."""
    return dict(orjson.loads((_HERE / "people.json").read_bytes())["about"])


def questions() -> list[Question]:
    """Return the questions in the order in which they are asked."""
    return [Question(**question) for question in orjson.loads((_HERE / "people.json").read_bytes())["questions"]]


def records(user: str) -> Iterator[Record]:
    """Yield a person's records, read as any import is."""
    from idiolect.sources import read
    from idiolect.types import Record

    with as_file(_HERE / f"{user}.jsonl") as path:
        for item in read(path, user, format="jsonl"):
            assert isinstance(item, Record), item
            yield item
