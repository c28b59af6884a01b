"""Every example runs: against the toy backend, as a stranger would start it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
pytestmark = pytest.mark.process


def environment() -> dict[str, str]:
    return {**os.environ, "IDIOLECT_BACKEND": "toy", "IDIOLECT_EMBEDDER": "none"}


def run(name: str, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], capture_output=True, text=True, timeout=120, env=environment() | more
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_library():
    out = run("library.py")
    assert "ana:" in out
    assert "because of memory: I am a vegetarian and I love saffron." in out
    assert "because of memory: I eat steak every day, rare, with pepper." in out


def test_which_method():
    out = run("which_method.py")
    assert "ana is served by" in out
    assert "retrieval: +" in out


def test_openai_client():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([sys.executable, "-m", "idiolect", "serve", "--port", str(port)], env=environment())
    try:
        wait_for(f"{base}/healthz")
        out = run("openai_client.py", IDIOLECT_URL=f"{base}/v1")
    finally:
        server.terminate()
        server.wait(30)
    assert "personalized: false; reason=no-history" in out
    assert "personalized: true" in out


def wait_for(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    pytest.fail(f"{url} did not answer")


def test_every_example_is_run_here():
    source = Path(__file__).read_text("utf-8")
    assert all(f'"{path.name}"' in source for path in EXAMPLES.glob("*.py"))
