"""Names to things: methods, backends, import formats, tasks of the bench.

One list per concept, and every other list (command-line flags, docs rows, conformance tests) is derived from it.
Built-in modules are imported on first look-up, other packages add theirs through entry points in the groups
``idiolect.methods``, ``idiolect.backends``, ``idiolect.sources`` and ``idiolect.tasks``.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from idiolect.errors import ConfigError, UnknownName
from idiolect.types import Backend, Level, Method

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """A registered thing with its description."""

    name: str
    make: Callable[..., T]
    info: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (self.make.__doc__ or "").strip().split("\n")[0]


class Registry(Generic[T]):
    """A named collection filled by built-in packages and by entry points."""

    def __init__(self, what: str, group: str, packages: tuple[str, ...]) -> None:
        self.what, self._group, self._packages = what, group, packages
        self._entries: dict[str, Entry[T]] = {}
        self._loaded = False

    def add(self, name: str, make: Callable[..., T], **info: Any) -> None:
        """Register; a second, different thing under the same name is refused."""
        old = self._entries.get(name)
        if old is not None and (old.make.__module__, old.make.__qualname__) != (make.__module__, make.__qualname__):
            raise ConfigError(
                f"two {self.what}s are named {name!r}: {old.make.__module__} and {make.__module__}. Rename one of them."
            )
        self._entries[name] = Entry(name, make, info)

    def get(self, name: str) -> Entry[T]:
        """Return the entry; :class:`UnknownName` lists what there is."""
        self._load()
        if name not in self._entries:
            raise UnknownName(self.what, name, self._entries)
        return self._entries[name]

    def __iter__(self) -> Iterator[Entry[T]]:
        self._load()
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def names(self) -> list[str]:
        """All names, sorted."""
        return [entry.name for entry in self]

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for package in self._packages:
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                if not module.name.startswith("_"):  # shared by registered things, maybe with dependencies of theirs
                    importlib.import_module(f"{package}.{module.name}")
        for point in entry_points(group=self._group):
            point.load()


methods: Registry[Method] = Registry(
    "method", "idiolect.methods",
    (
        "idiolect.prompting", "idiolect.memory", "idiolect.adaptation", "idiolect.alignment", "idiolect.evidence",
    ),
)  # fmt: skip
backends: Registry[Backend] = Registry("backend", "idiolect.backends", ("idiolect.backends",))
sources: Registry[Any] = Registry("import format", "idiolect.sources", ("idiolect.sources",))
"""Entries make an :class:`idiolect.sources.Source`."""
tasks: Registry[Any] = Registry("task", "idiolect.tasks", ("idiolect.bench.tasks",))
"""Entries make an :class:`idiolect.bench.task.Task`."""


def _need_frozen(what: str, cls: type) -> None:
    if not dataclasses.is_dataclass(cls) or not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise ConfigError(f"{what}: {cls.__name__} must be a frozen dataclass")


def method(
    name: str,
    *,
    level: Level,
    paper: str,
    needs: tuple[str, ...] = (),
    fit_needs: tuple[str, ...] = (),
    peers: bool = False,
    together: bool = False,
    batched: bool = False,
    extra: str = "",
) -> Callable[[type[T]], type[T]]:
    """Register a frozen dataclass as a personalization method.

    ``paper`` names the source ("arXiv:2310.20081 section 3"); ``needs`` lists the :attr:`Call.needs` it may add,
    ``fit_needs`` what its ``fit`` must find among :attr:`Backend.supports` ("logprobs", "inside"). ``peers`` says that
    it reads what other people share. A method that learns ``together`` is fitted over all people who share at once, and
    what it learns belongs to :data:`idiolect.types.EVERYONE`. One that is ``batched`` works on many people at
    once and tells ``ctx.progress`` itself; of others, progress is told as they draw people. ``extra`` names the
    optional dependencies that the method itself needs, whatever the backend.
    """

    def register(cls: type[T]) -> type[T]:
        _need_frozen(f"method {name!r}", cls)
        info = {"level": level, "paper": paper, "needs": needs, "fit_needs": fit_needs, "extra": extra}
        methods.add(name, cast("Callable[..., Method]", cls), **info, peers=peers, together=together, batched=batched)
        return cls

    return register


def batched(name: str) -> bool:
    """Whether a method works on many people at once."""
    return bool(methods.get(name).info.get("batched"))


def backend(name: str, *, supports: tuple[str, ...] = (), extra: str = "") -> Callable[[type[T]], type[T]]:
    """Register a backend class; ``supports`` is set on it, ``extra`` names the optional dependencies it needs."""

    def register(cls: type[T]) -> type[T]:
        cls.supports = frozenset(supports)  # type: ignore[attr-defined]
        backends.add(name, cast("Callable[..., Backend]", cls), supports=frozenset(supports), extra=extra)
        return cls

    return register


def source(name: str, *, files: str, fallback: bool = False) -> Callable[[type[T]], type[T]]:
    """Register a frozen dataclass as an import format.

    ``files`` says what it reads ("the zip, or conversations.json"); a ``fallback`` is detected only where no other
    format recognizes the file.
    """

    def register(cls: type[T]) -> type[T]:
        _need_frozen(f"import format {name!r}", cls)
        sources.add(name, cast("Callable[..., Any]", cls), files=files, fallback=fallback)
        return cls

    return register


def build(entry: Entry[T], settings: Mapping[str, Any]) -> T:
    """Make a registered dataclass from settings; unknown keys and wrong types are :class:`ConfigError`.

    A text where a list is wanted is a list of one, and the other way round: ``start=[meta_lora:rank=4]`` is a text.
    """
    from pydantic import ValidationError

    types = {f.name: str(f.type) for f in dataclasses.fields(cast("Any", entry.make))}
    settings = {key: _as_wanted(value, types.get(key, "")) for key, value in settings.items()}
    fields = {f.name for f in dataclasses.fields(cast("Any", entry.make)) if f.init}
    for key in settings:
        if key not in fields:
            raise ConfigError(str(UnknownName(f"setting of {entry.name!r}", key, fields)))
    try:
        return cast("T", _checker(entry.make).validate_python(dict(settings)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"setting {entry.name}.{where}: {first['msg']} (got {first.get('input')!r})") from error


def _as_wanted(value: Any, kind: str) -> Any:
    if kind.startswith("tuple[") and isinstance(value, str):
        return (value,)
    return value[0] if kind == "str" and isinstance(value, list) and len(value) == 1 else value


@functools.cache
def _checker(make: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(make)


def task(name: str, *, paper: str, published: str, licence: str) -> Callable[[type[T]], type[T]]:
    """Register a frozen dataclass as a task of the bench.

    ``published`` is where the original data can be had, ``licence`` the data's own.
    """

    def register(cls: type[T]) -> type[T]:
        _need_frozen(f"task {name!r}", cls)
        tasks.add(name, cast("Callable[..., Any]", cls), paper=paper, published=published, licence=licence)
        return cls

    return register


def make_method(spec: str | Mapping[str, Any]) -> tuple[str, Method]:
    """Return ``(name, method)`` from a bare name or from ``{"name": ..., setting: value}``."""
    if isinstance(spec, str):
        name, settings = spec, {}
    else:
        settings = dict(spec)
        name = str(settings.pop("name", ""))
        if not name:
            raise ConfigError(f"a method given as a table needs a 'name' key; got {dict(spec)!r}")
    return name, build(methods.get(name), settings)


@functools.lru_cache(maxsize=256)
def make_folded(text: str) -> tuple[tuple[str, Method], ...]:
    """Make the methods of ``A+B``, each ``NAME`` or ``NAME:setting=value:setting=value``; ``none`` makes none.

    What stands in brackets is one value: ``lora:context=[profile|task_lora:rank=4]``.
    """
    if text == "none":
        return ()
    made = []
    for part in split(text, "+"):
        name, table = read_settings(part)
        made.append(make_method({"name": name, **table}))
    return tuple(made)


def with_parts(chosen: Iterable[tuple[str, Method]]) -> list[tuple[str, Method]]:
    """Return methods and those that they rest on, each once, these first.

    A method rests on those that work inside it (its ``parts``) and on what its learning begins from (its ``begins``).
    """
    found = dict[str, tuple[str, Method]]()
    for name, one in chosen:
        for inner, part in with_parts((*getattr(one, "begins", ()), *getattr(one, "parts", ()))):
            found.setdefault(repr(part), (inner, part))
        found.setdefault(repr(one), (name, one))
    return list(found.values())


def read_settings(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``NAME:setting=value:setting=value`` into the name and its settings; values are JSON where they can be."""
    name, *settings = split(text, ":")
    table: dict[str, Any] = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign:
            raise ConfigError(f"{text!r}: write settings as NAME:setting=value, not {setting!r}")
        table[key] = value_of(value)
    return name, table


def read_spec(text: str) -> str | dict[str, Any]:
    """Read the same into what :func:`make_method` takes."""
    name, settings = read_settings(text)
    return {"name": name, **settings} if settings else name


def value_of(text: str) -> Any:
    """Read a setting from the command line: JSON where it is JSON, ``a|b`` and ``[a|b]`` as a list, else text."""
    parts = split(text, "|")
    if len(parts) > 1:
        return [value_of(part) for part in parts]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return [value_of(part) for part in split(text[1:-1], "|")] if text[:1] + text[-1:] == "[]" else text


def split(text: str, mark: str) -> list[str]:
    """Split at a mark, except within brackets."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign == "[") - (sign == "]")
        if sign == mark and depth <= 0:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def settings_of(thing: object) -> dict[str, Any]:
    """Return a registered dataclass's settings, as :func:`build` takes them."""
    return {f.name: getattr(thing, f.name) for f in dataclasses.fields(cast("Any", thing))}
