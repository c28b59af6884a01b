"""Settings: defaults, then a TOML file, then the environment, then what the caller passes.

Every key is a field of :class:`Settings`; an unknown one is refused with the nearest known name. The environment
variable of ``prompt.tokens`` is ``IDIOLECT_PROMPT_TOKENS``.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idiolect.errors import ConfigError, UnknownName

MethodSpec = str | dict[str, Any]


@dataclass(frozen=True)
class Paths:
    """Where things lie. Back up ``data`` and ``keys`` apart: erased people stay erased in a backup of ``data``."""

    data: str = ""
    keys: str = ""
    master_key: str = ""
    """``file:PATH``, ``env:NAME`` or ``prompt``."""


@dataclass(frozen=True)
class Prompt:
    """The personal part of the prompt."""

    tokens: int = 600
    """Budget for all slots together."""


@dataclass(frozen=True)
class PeersPolicy:
    """What methods may learn from other people; only those who share count at all (``idiolect consent``)."""

    texts: bool = False
    """Whether other people's records may enter a prompt."""
    least: int = 5
    """Counts and statistics need at least so many people."""


@dataclass(frozen=True)
class Serve:
    """The server."""

    host: str = "127.0.0.1"
    port: int = 8484
    keys: tuple[dict[str, Any], ...] = ()
    """API keys: ``{hash = "sha256:...", user = "ana", admin = false}``; made by ``idiolect config add-key``."""
    upstream_timeout: float = 600.0
    """Seconds to wait for an upstream's answer."""
    max_body_mb: int = 32
    max_upload_mb: int = 2048
    """Largest file that ``/v1/users/{user}/import`` takes; it is written to disk as it comes."""
    log_level: str = "warning"


@dataclass(frozen=True)
class Settings:
    """All settings with their defaults."""

    backend: str = "llamacpp"
    backends: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of backends by name: ``[backends.openai] base_url = "..."``."""
    embedder: str = "minilm"
    """``minilm``, ``static``, a folder, or ``none`` for words alone."""
    methods: tuple[MethodSpec, ...] = ("auto",)
    """The default methods in order; a request may name its own. ``auto`` serves each person by what was measured."""
    remember: bool = True
    """Whether methods may learn from finished turns."""
    measure: bool = True
    """Whether the server measures by itself, in the background, which method serves whom (the method ``auto``)."""
    paths: Paths = Paths()
    helper: str = ""
    """Another model that writes and judges for the one that answers: the name of a table under ``backends``, its key
    ``backend`` names the kind. Without one the model itself does."""
    prompt: Prompt = Prompt()
    peers: PeersPolicy = PeersPolicy()
    serve: Serve = Serve()

    def resolved(self) -> Settings:
        """Return the settings with the default folders filled in (``IDIOLECT_HOME``, else the user's own)."""
        home = os.environ.get("IDIOLECT_HOME")
        if home:
            data, keys = Path(home) / "data", Path(home) / "keys"
        else:
            from platformdirs import user_config_path, user_data_path

            data, keys = user_data_path("idiolect"), user_config_path("idiolect")
        paths = Paths(
            self.paths.data or str(data),
            self.paths.keys or str(keys),
            self.paths.master_key or f"file:{Path(self.paths.keys or keys) / 'master.key'}",
        )
        return dataclasses.replace(self, paths=paths)


def spec_of(specs: Sequence[MethodSpec], name: str) -> MethodSpec:
    """Return a method with the settings that it stands with among ``specs``; with its defaults where it does not."""
    named = ((spec if isinstance(spec, str) else spec.get("name"), spec) for spec in specs)
    return next((spec for found, spec in named if found == name), name)


def config_path() -> Path:
    """Return where the settings file is looked for: ``IDIOLECT_CONFIG``, else beside the keys."""
    named = os.environ.get("IDIOLECT_CONFIG")
    if named:
        return Path(named)
    home = os.environ.get("IDIOLECT_HOME")
    if home:
        return Path(home) / "idiolect.toml"
    from platformdirs import user_config_path

    return user_config_path("idiolect") / "idiolect.toml"


def load(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings; ``overrides`` is a nested mapping that wins over file and environment."""
    named = path is not None or "IDIOLECT_CONFIG" in os.environ
    path = path or config_path()
    table: dict[str, Any] = {}
    if path.exists():
        try:
            table = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from error
    elif named:
        raise ConfigError(f"there is no settings file {path}; make one with: idiolect config init")
    _merge(table, _from_environment())
    _merge(table, overrides or {})
    return parse(table, str(path))


def parse(table: Mapping[str, Any], where: str = "settings") -> Settings:
    """Check a nested mapping against :class:`Settings`."""
    from pydantic import TypeAdapter, ValidationError

    _check_keys(table, Settings, "")
    try:
        return TypeAdapter(Settings).validate_python(table).resolved()
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function"))
        raise ConfigError(f"{where}: {name}: {first['msg']} (got {first.get('input')!r})") from error


def _sections() -> dict[str, type]:
    return {"paths": Paths, "prompt": Prompt, "peers": PeersPolicy, "serve": Serve}


def _check_keys(table: Mapping[str, Any], cls: type, prefix: str) -> None:
    known = [f.name for f in dataclasses.fields(cls)]
    for key, value in table.items():
        if key not in known:
            raise ConfigError(str(UnknownName("setting", prefix + key, [prefix + name for name in known])))
        section = _sections().get(key) if not prefix else None
        if section is not None and isinstance(value, Mapping):
            _check_keys(value, section, f"{key}.")


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def plain_keys() -> Iterator[tuple[str, Any]]:
    """Yield every scalar setting as (dotted name, default)."""
    for f in dataclasses.fields(Settings):
        default = getattr(Settings(), f.name)
        if dataclasses.is_dataclass(default):
            for inner in dataclasses.fields(default):
                yield f"{f.name}.{inner.name}", getattr(default, inner.name)
        else:
            yield f.name, default


def _from_environment() -> dict[str, Any]:
    """Collect ``IDIOLECT_*`` variables of scalar settings; ``IDIOLECT_METHODS`` is a comma-separated list."""
    out: dict[str, Any] = {}
    for name, default in plain_keys():
        value = os.environ.get("IDIOLECT_" + name.replace(".", "_").upper())
        if value is None or isinstance(default, dict) or name == "serve.keys":
            continue
        *sections, key = name.split(".")
        table = out.setdefault(sections[0], {}) if sections else out
        table[key] = [v.strip() for v in value.split(",") if v.strip()] if isinstance(default, tuple) else value
    return out
