"""Who is calling: API keys, each free, bound to one user, or an administrator's."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from idiolect.config import Serve
from idiolect.errors import ConfigError, Denied

_HASH = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Caller:
    """One authenticated caller. ``user`` is empty for a key that may speak for any user."""

    user: str = ""
    admin: bool = False

    def check(self, user: str) -> None:
        """Raise :class:`Denied` unless this caller may reach ``user``."""
        if self.user and self.user != user:
            raise Denied("this API key is bound to another user")

    def check_admin(self) -> None:
        """Raise :class:`Denied` unless this caller may see all users."""
        if not self.admin:
            raise Denied("this needs an administrator's API key; make one with: idiolect config add-key --admin")


ANYONE = Caller(admin=True)
"""Whoever can reach a loopback port without keys: a person at this machine."""


class Keys:
    """The configured API keys, looked up by the hash of the secret."""

    def __init__(self, entries: Iterable[Mapping[str, Any]]) -> None:
        self._callers: dict[bytes, Caller] = {}
        for number, entry in enumerate(entries, 1):
            digest, caller = _parse(entry, f"serve.keys, entry {number}")
            self._callers[digest] = caller

    def __bool__(self) -> bool:
        return bool(self._callers)

    def find(self, secret: bytes) -> Caller | None:
        """Return the caller with this secret.

        Every key is compared, each in constant time, so that the time taken says nothing about the keys.
        """
        digest = hashlib.sha256(secret).digest()
        found = None
        for known, caller in self._callers.items():
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def _parse(entry: Mapping[str, Any], where: str) -> tuple[bytes, Caller]:
    unknown = sorted(set(entry) - {"hash", "user", "admin", "name"})
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; known: hash, user, admin, name")
    match = _HASH.fullmatch(str(entry.get("hash", "")))
    if match is None:
        raise ConfigError(f"{where}: 'hash' must be sha256:<64 hex digits>; make a key with: idiolect config add-key")
    user, admin = entry.get("user") or "", entry.get("admin", False)
    if not isinstance(user, str) or not isinstance(admin, bool):
        raise ConfigError(f"{where}: 'user' must be text and 'admin' true or false")
    if user and admin:
        raise ConfigError(f"{where}: a key is bound to a user or an administrator's, not both")
    return bytes.fromhex(match[1]), Caller(user, admin)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_bind(settings: Serve) -> None:
    """Raise :class:`ConfigError` where the address is reachable from outside and there is no key."""
    if not is_loopback(settings.host) and not settings.keys:
        raise ConfigError(
            f"serving on {settings.host} lets other machines in, and there is no API key. "
            "Make one with: idiolect config add-key (or serve on 127.0.0.1)"
        )
