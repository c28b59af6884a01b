"""Fixtures for the whole suite. No test talks to anything outside this machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_LOCAL = ("127.", "::1", "localhost", "0.0.0.0")


@pytest.fixture(autouse=True)
def _nothing_of_the_users_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("IDIOLECT_") and n not in KEPT]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("IDIOLECT_HOME", str(tmp_path_factory.mktemp("home")))


KEPT = {"IDIOLECT_MODELS", "IDIOLECT_DATA", "IDIOLECT_REQUIRE_MODELS", "IDIOLECT_VLLM_PYTHON"}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family != socket.AF_UNIX and not str(host).startswith(_LOCAL):
            raise AssertionError(f"a test tried to reach {host!r}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The public data sets; absent is a skip, except in CI."""
    folder = Path(os.environ.get("IDIOLECT_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"the public data is not at {folder}; set IDIOLECT_DATA")
        pytest.skip("the public data is not here; set IDIOLECT_DATA to its folder")
    return folder
