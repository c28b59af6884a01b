"""Request bodies in, JSON out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from idiolect.errors import InputError, RecordTooLarge


async def read(request: Request, limit: int) -> bytes:
    """Return the whole body; :class:`RecordTooLarge` as soon as it is known to have more than ``limit`` bytes."""
    if int(request.headers.get("content-length") or 0) > limit:
        raise _too_large(limit)
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(limit: int) -> RecordTooLarge:
    return RecordTooLarge(f"the body has more than {limit >> 20} MB; send less at once, or raise serve.max_body_mb")


def parse(raw: bytes) -> Any:
    """Return the JSON value; :class:`InputError` says where it is wrong, without quoting it."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InputError(f"the body is not JSON in UTF-8: {error.msg} at byte {error.pos}") from None


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object; :class:`InputError` for anything else."""
    value = parse(raw)
    if not isinstance(value, dict):
        raise InputError(f"the body must be a JSON object, not {type(value).__name__}")
    return value


def dump(value: Any) -> bytes:
    """Return compact JSON; :class:`InputError` where it is nested too deeply to be written."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise InputError(f"this cannot be passed on as JSON ({error}); the body is nested too deeply") from None


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(dump(value), status, headers, "application/json")
