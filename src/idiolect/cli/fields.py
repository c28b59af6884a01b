"""A dataclass's fields with their types, defaults and the docstrings under them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Field:
    """One setting."""

    name: str
    type: str
    default: Any
    about: str


def fields(cls: type) -> Iterator[Field]:
    """Yield the settings of a dataclass in order."""
    about = _docstrings(cls)
    for field in dataclasses.fields(cast("Any", cls)):
        if not field.init:
            continue
        factory: Any = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
        yield Field(field.name, kind, None if default is dataclasses.MISSING else default, about.get(field.name, ""))


def _docstrings(cls: type) -> dict[str, str]:
    """Return the text that stands as a string under each field, those of the classes beneath included."""
    found = dict[str, str]()
    for one in reversed(cls.__mro__):
        if dataclasses.is_dataclass(one):
            found |= _own_docstrings(one)
    return found


def _own_docstrings(cls: type) -> dict[str, str]:
    body = cast("ast.ClassDef", ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]).body
    out = {}
    for here, below in itertools.pairwise(body):
        if not isinstance(here, ast.AnnAssign) or not isinstance(here.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            out[here.target.id] = " ".join(below.value.value.split())
    return out
