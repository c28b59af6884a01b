"""Errors as HTTP answers, in the shape that OpenAI's clients read."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from pathlib import Path

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idiolect import errors
from idiolect.errors import IdiolectError, UpstreamError

log = logging.getLogger("idiolect.serve")

_STATUS: tuple[tuple[type[IdiolectError], int, str], ...] = (
    (errors.RecordTooLarge, 413, "too_large"),
    (errors.InputError, 400, "invalid_request"),
    (errors.UnsupportedCall, 400, "unsupported"),
    (errors.UnknownName, 400, "unknown_name"),
    (errors.NotFound, 404, "not_found"),
    (errors.Denied, 403, "denied"),
    (errors.StoreBusy, 503, "store_busy"),
    (errors.StoreFull, 507, "store_full"),
    (errors.StoreError, 500, "store_error"),
    (errors.MissingExtra, 501, "missing_extra"),
    (errors.ModelError, 500, "model_error"),
    (errors.ConfigError, 500, "config_error"),
)


def failure(
    status: int, message: str, code: str, *, param: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return ``{"error": {message, type, param, code}}`` with a status."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})
    return Response(body, status, headers, "application/json")


def of_error(error: IdiolectError) -> Response:
    """Return the answer for one of our own errors; an upstream's error keeps its status and body."""
    if isinstance(error, UpstreamError):
        if error.body:
            return Response(error.body, error.status, media_type="application/json")
        return failure(error.status, str(error), "upstream_error")
    status, code = next(((s, c) for cls, s, c in _STATUS if isinstance(error, cls)), (500, "internal_error"))
    return failure(status, str(error), code, headers={"Retry-After": "1"} if status == 503 else None)


async def on_idiolect_error(request: Request, error: Exception) -> Response:
    """Starlette handler for our own errors."""
    assert isinstance(error, IdiolectError)
    return of_error(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette handler for what routing refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    message = {
        404: "there is nothing at this path; see /openapi.json",
        405: f"{request.method} is not offered at this path; see /openapi.json",
    }.get(error.status_code, error.detail)
    return failure(error.status_code, message, "http_error", headers=error.headers)


def unexpected(error: Exception) -> Response:
    """Return the answer for a fault of ours, and log where it happened, without the error's text: it may quote data."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    log.error("unexpected %s at %s", type(error).__name__, where)
    return failure(500, f"internal error ({type(error).__name__}); the server's log says where", "internal_error")
