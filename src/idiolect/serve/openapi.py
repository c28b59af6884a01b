"""The OpenAPI document, derived from the table of endpoints and their docstrings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from idiolect import __version__

_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
_QUERY = re.compile(r"\?([\w=&]+)")


def document(endpoints: Iterable[tuple[str, str, Callable[..., Any]]]) -> dict[str, Any]:
    """Return the document; every endpoint answers errors in OpenAI's form."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, endpoint in endpoints:
        paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})[method.lower()] = _operation(path, endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Idiolect", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _ERROR},
        },
        "security": [{"key": []}, {}],
    }


_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def _operation(path: str, endpoint: Callable[..., Any]) -> dict[str, Any]:
    text = " ".join((endpoint.__doc__ or "").split())
    query = _QUERY.search(text)
    parameters = [_parameter(name, "path") for name in _PARAMETER.findall(path)]
    parameters += [_parameter(part.split("=")[0], "query") for part in (query[1].split("&") if query else ())]
    error = {
        "description": "an error",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    return {
        "operationId": endpoint.__name__,
        "summary": text,
        **({"parameters": parameters} if parameters else {}),
        "responses": {"2XX": {"description": "the answer"}, "4XX": error, "5XX": error},
    }


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}
