"""What one request asks of personalization: for whom, by which methods, as of when."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers

from idiolect.config import MethodSpec
from idiolect.errors import InputError, UnknownName
from idiolect.serve.auth import Caller
from idiolect.sources.base import seconds
from idiolect.types import Message, text_of

MAX_USER = 512
"""Characters of a user id."""
_OPTIONS = ("methods", "now", "tokens", "remember", "session", "focus", "item")


@dataclass(frozen=True, slots=True)
class Wish:
    """The user, and the options of the body's ``idiolect`` field; ``None`` leaves the server's own."""

    user: str = ""
    methods: tuple[MethodSpec, ...] | None = None
    now: float | None = None
    tokens: int | None = None
    remember: bool | None = None
    session: str = ""
    focus: str = ""
    """The part of the last message that says what it is about."""
    item: str = ""
    """The thing asked about, as records name it in their ``meta``."""


def take_wish(headers: Headers, body: dict[str, Any], caller: Caller) -> Wish:
    """Read the wish of a request and take our field out of its body.

    Raises :class:`InputError` or :class:`UnknownName` for an option that cannot be used.
    """
    options = body.pop("idiolect", None)
    if options is None:
        options = {}
    if not isinstance(options, dict):
        raise InputError('\'idiolect\' must be an object, like {"methods": ["retrieval"]}')
    for name in options:
        if name not in _OPTIONS:
            raise UnknownName("option of 'idiolect'", name, _OPTIONS)
    return Wish(
        user_of(headers, body, caller),
        _methods(options.get("methods"), headers.get("x-idiolect-methods")),
        _now(options.get("now")),
        _tokens(options.get("tokens")),
        _option(options, "remember", bool),
        _option(options, "session", str) or headers.get("x-session-id") or _session_field(body),
        _option(options, "focus", str) or "",
        _option(options, "item", str) or "",
    )


def user_of(headers: Headers, body: Mapping[str, Any], caller: Caller) -> str:
    """Return the user id by precedence: the key's user, header, safety_identifier, user, metadata.user_id; or ''."""
    if caller.user:
        return caller.user
    metadata = body.get("metadata")
    named = (
        _header(headers, "x-user-id"),
        body.get("safety_identifier"),
        body.get("user"),
        metadata.get("user_id") if isinstance(metadata, dict) else None,
    )
    return check_user(next((name for name in named if isinstance(name, str) and name), ""))


def check_user(user: str) -> str:
    """Return the id; :class:`InputError` for one that is too long."""
    if len(user) > MAX_USER:
        raise InputError(f"a user id has at most {MAX_USER} characters, this one has {len(user)}")
    return user


def session_of(wish: Wish, messages: tuple[Message, ...]) -> str:
    """Return the conversation's name: the one given, else a hash of the user and of their first message."""
    if wish.session:
        return wish.session
    first = next((text_of(message) for message in messages if message.get("role") == "user"), "")
    text = f"{wish.user}\x1f{first}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def hidden(user: str, sign: Callable[[bytes], str]) -> str:
    """Return the name under which an upstream may know a user: a keyed hash."""
    return "u_" + sign(b"upstream user " + user.encode("utf-8", "surrogatepass"))[:40]


def without_ids(body: Mapping[str, Any], sign: Callable[[bytes], str]) -> dict[str, Any]:
    """Return the fields of a body that name a user, with the names hidden; empty where none does."""
    changed: dict[str, Any] = {}
    for name in ("user", "safety_identifier"):
        value = body.get(name)
        if isinstance(value, str) and value:
            changed[name] = hidden(value, sign)
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("user_id"), str):
        changed["metadata"] = {**metadata, "user_id": hidden(metadata["user_id"], sign)}
    return changed


def _header(headers: Headers, name: str) -> str:
    value = headers.get(name)
    if not value or value.isascii():
        return value or ""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"header {name} is not UTF-8") from None


def _session_field(body: Mapping[str, Any]) -> str:
    metadata = body.get("metadata")
    value = metadata.get("session_id") if isinstance(metadata, dict) else None
    return value if isinstance(value, str) else ""


def _methods(named: Any, header: str | None) -> tuple[MethodSpec, ...] | None:
    if named is None:
        if header is None:
            return None
        names = [name.strip() for name in header.split(",") if name.strip()]
        return () if names == ["none"] else tuple(names)
    if not isinstance(named, list) or not all(isinstance(spec, str | dict) for spec in named):
        raise InputError('idiolect.methods must be a list of names or of {"name": ..., setting: value}; [] for none')
    return tuple(named)


def _now(value: Any) -> float | None:
    moment = seconds(value)
    if value is not None and moment is None:
        raise InputError("idiolect.now must be seconds since the epoch or ISO 8601 text")
    return moment


def _tokens(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1 << 20:
        raise InputError("idiolect.tokens must be a whole number from 0 on")
    return value


def _option(options: Mapping[str, Any], name: str, kind: type) -> Any:
    value = options.get(name)
    if value is not None and not isinstance(value, kind):
        raise InputError(f"idiolect.{name} must be {kind.__name__}, not {type(value).__name__}")
    return value
