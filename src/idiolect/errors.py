"""Every error this package raises on purpose.

::

    IdiolectError                 base; its text says what is wrong and what to do next
    |-- ConfigError               a setting is missing, unknown or out of range
    |-- MissingExtra              an optional dependency is not installed
    |-- UnknownName               no method, backend, format or model of that name
    |-- UnsupportedCall           a backend cannot do what a method asks of it
    |-- InputError                what a person or client handed in cannot be used
    |   |-- SourceError           an import file cannot be read at all
    |   `-- RecordTooLarge        one record is larger than the store accepts
    |-- NotFound                  a user, record, trace or artifact that does not exist
    |-- Denied                    the caller may not see or do this
    |-- StoreError                the store cannot keep its promise
    |   |-- StoreBusy             another process holds the write lock for too long
    |   |-- StoreFull             no room on the disk; nothing was written
    |   |-- StoreCorrupt          a page or a sealed row does not verify
    |   `-- WrongMasterKey        the master key does not open this keyring
    |-- ModelError                a model could not be loaded or answered nonsense
    |   `-- MalformedAnswer       the model's answer does not have the agreed form
    `-- UpstreamError             an upstream endpoint failed; carries its status and body
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class IdiolectError(Exception):
    """Base of all errors raised on purpose; ``str(error)`` is fit to be shown to a person."""


class ConfigError(IdiolectError):
    """A setting is missing, unknown or out of range."""


class MissingExtra(IdiolectError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs packages that are not installed. Run: pip install 'idiolect[{extra}]'")
        self.extra = extra


class UnknownName(IdiolectError):
    """No such name in a registry; the message lists the near misses."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"no {what} named {name!r}.{hint} Known: {', '.join(names) or 'none'}")
        self.name = name


class UnsupportedCall(IdiolectError):
    """A backend cannot do what a method asks of it; raised before anything is generated."""

    def __init__(self, method: str, backend: str, need: str, able: Iterable[str]) -> None:
        others = ", ".join(sorted(able)) or "none that is installed"
        super().__init__(
            f"method {method!r} needs {need!r}, which backend {backend!r} cannot do. "
            f"Backends that can: {others}. Choose another backend or leave the method out."
        )
        self.method, self.backend, self.need = method, backend, need


class Stopped(IdiolectError):
    """Long work was told to end before it was done; what it kept so far stays."""


class InputError(IdiolectError):
    """What a person or client handed in cannot be used."""


class SourceError(InputError):
    """An import file cannot be read at all."""


class RecordTooLarge(InputError):
    """One record is larger than the store accepts."""


class NotFound(IdiolectError):
    """A user, record, trace or artifact that does not exist."""


class Denied(IdiolectError):
    """The caller may not see or do this."""


class StoreError(IdiolectError):
    """The store cannot keep its promise."""


class StoreBusy(StoreError):
    """Another process holds the write lock for too long."""


class StoreFull(StoreError):
    """No room on the disk; nothing was written."""


class StoreCorrupt(StoreError):
    """A page or a sealed row does not verify."""


class WrongMasterKey(StoreError):
    """The master key does not open this keyring."""


class ModelError(IdiolectError):
    """A model could not be loaded or did not answer."""


class MalformedAnswer(ModelError):
    """The model's answer does not have the agreed form."""


class UpstreamError(IdiolectError):
    """An upstream endpoint failed.

    ``status`` is its HTTP status (502 where it could not be reached), ``body`` its answer, untouched.
    """

    def __init__(self, message: str, status: int = 502, body: bytes = b"") -> None:
        super().__init__(message)
        self.status, self.body = status, body
