"""The TOML settings file, written so that what people put into it stays."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import secrets
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from idiolect.cli.fields import fields
from idiolect.config import Settings
from idiolect.errors import ConfigError

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SECRET = re.compile(r"key|token|secret|password|authorization", re.I)
_HIDDEN = "(hidden)"


def to_toml(table: Mapping[str, Any]) -> str:
    """Return TOML of plain values; a mapping inside becomes a section, a mapping inside that an inline table."""
    plain = [f"{_name(k)} = {_value(v)}" for k, v in table.items() if not isinstance(v, Mapping)]
    sections = [(k, v) for k, v in table.items() if isinstance(v, Mapping) and v]
    out = "\n".join(plain) + "\n"
    for name, section in sections:
        out += f"\n[{_name(name)}]\n" + "".join(f"{_name(k)} = {_value(v)}\n" for k, v in section.items())
    return out


def _name(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_name(k)} = {_value(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value) if isinstance(value, int | float) else _text(str(value))


def _text(value: str) -> str:
    """Return a TOML basic string: JSON's escapes are TOML's, but for DEL and surrogate pairs."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def without_secrets(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the values of the backends' secrets hidden, and hashes of API keys shortened."""
    out = dict(table)
    out["backends"] = {name: _hide(settings) for name, settings in table["backends"].items()}
    keys = [{**key, "hash": str(key.get("hash", ""))[:15] + "..."} for key in table["serve"]["keys"]]
    out["serve"] = {**table["serve"], "keys": keys}
    return out


def _hide(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {k: _hide(v, k) for k, v in value.items()}
    return _HIDDEN if _SECRET.search(name) and isinstance(value, str) and value else value


def commented() -> str:
    """Return a settings file with every setting commented out, under its meaning."""
    out = ["# Settings of idiolect. What is commented out is the default.", ""]
    sections = []
    for field in fields(Settings):
        if dataclasses.is_dataclass(field.default):
            sections.append(field)
        else:
            out += _lines(field.name, field.default, field.about)
    for section in sections:
        about = (type(section.default).__doc__ or "").strip().split("\n")[0]
        out += ["", f"# {about}", f"[{section.name}]"]
        for field in fields(type(section.default)):
            if not (section.name == "serve" and field.name == "keys"):  # add-key writes these as sections of their own
                out += _lines(field.name, field.default, field.about)
    return "\n".join(out).rstrip("\n") + "\n"


def _lines(name: str, default: Any, about: str) -> list[str]:
    head = [f"# {about}"] if about else []
    return [*head, f"# {name} = {_value(default)}", ""]


def write_new(path: Path, text: str, *, replace: bool) -> None:
    """Write a settings file that is not there yet, or ``replace`` it."""
    if path.exists() and not replace:
        raise ConfigError(f"{path} is there already; edit it, or start anew with --force")
    _write(path, text)


def new_key() -> tuple[str, str]:
    """Return an API key and what the settings keep of it."""
    key = f"idio-{secrets.token_urlsafe(32)}"
    return key, "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def append_key(path: Path, entry: Mapping[str, Any]) -> None:
    """Add ``[[serve.keys]]`` at the end of the file; all else in it stays as it is, to the byte."""
    old = path.read_bytes().decode("utf-8") if path.exists() else ""  # its line ends as they are
    before = _parsed(path, old)
    section = "[[serve.keys]]\n" + "".join(f"{name} = {_value(value)}\n" for name, value in entry.items())
    new = f"{old.rstrip()}\n\n{section}" if old.strip() else section
    wanted = {**before, "serve": {**before.get("serve", {})}}
    wanted["serve"]["keys"] = [*wanted["serve"].get("keys", []), dict(entry)]
    try:
        fits = tomllib.loads(new) == wanted
    except tomllib.TOMLDecodeError:
        fits = False
    if not fits:
        raise ConfigError(
            f"{path} has serve.keys as a list on one line, which cannot be added to. "
            "Write each entry of it as a section [[serve.keys]] and run this again; no key was made."
        )
    _write(path, new)


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error


def _write(path: Path, text: str) -> None:
    """Replace the file in one step, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.resolve()  # a link stays a link
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            os.chmod(name, target.stat().st_mode & 0o777)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
