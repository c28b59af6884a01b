"""Servers to talk to: in this process over the toy model, in front of a stub endpoint, and as a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from idiolect import config
from idiolect.pipeline import Idiolect
from idiolect.serve.app import create_app
from serve.stub import Stub

LOCAL = "http://127.0.0.1:8484"


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    paths = {"data": str(folder / "data"), "keys": str(folder / "keys")}
    return {"backend": "toy", "embedder": "none", "paths": paths, **more}


def key(secret: str, user: str = "", admin: bool = False) -> dict[str, Any]:
    entry: dict[str, Any] = {"hash": "sha256:" + hashlib.sha256(secret.encode()).hexdigest()}
    return entry | ({"user": user} if user else {}) | ({"admin": True} if admin else {})


Make = Callable[..., TestClient]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Build clients of servers in this process; ``client.idiolect`` is the library behind each."""
    opened: list[Any] = []

    def build(**more: Any) -> TestClient:
        idiolect = Idiolect.build(config.parse(settings(tmp_path, **more)))
        client = TestClient(create_app(idiolect), base_url=LOCAL)
        client.idiolect, client.data = idiolect, tmp_path / "data"  # type: ignore[attr-defined]
        client.__enter__()
        opened.append((client, idiolect))
        return client

    yield build
    for client, idiolect in reversed(opened):
        client.__exit__(None, None, None)
        idiolect.close()


@pytest.fixture
def client(make: Make) -> TestClient:
    return make()


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as running:
        yield running


def upstream(stub: Stub, **more: Any) -> dict[str, Any]:
    """Settings of a server in front of the stub."""
    return {"backend": "openai", "backends": {"openai": {"base_url": stub.address, "retries": 0}}, **more}


@pytest.fixture
def proxy(make: Make, stub: Stub) -> TestClient:
    return make(**upstream(stub))


_RUN = (
    "import json, sys\n"
    "from idiolect import config\n"
    "from idiolect.serve import serve\n"
    "serve(config.parse(json.loads(sys.argv[1])), announce=lambda address: print(address, flush=True))\n"
)


class Process:
    """A server as a process of its own."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("IDIOLECT_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _RUN, json.dumps(wanted)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise AssertionError(self.process.communicate()[1])

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal, wait, and return the exit status and what was logged."""
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=60)
        return self.process.returncode, log


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start server processes."""
    started: list[Process] = []

    def run(**more: Any) -> Process:
        serve = {"port": 0, **more.pop("serve", {})}
        started.append(Process(settings(tmp_path, serve=serve, **more)))
        return started[-1]

    yield run
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()
