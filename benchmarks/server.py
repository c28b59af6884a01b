"""What the whole server adds to each request over calling the model directly.

    python benchmarks/server.py [--litellm /path/to/its/venv] [--json out.json]

The model is a stub that answers at once, so that all that is measured is on the way to it and back. One run, one
client, loopback only; every target is measured in turn, several rounds, so that a slow minute of the machine meets all
of them. The user has 1,000 records; the words of the questions vary. Embedding is apart: ``lexical`` searches by
words, ``hybrid`` by words and by a query vector that costs nothing to make.

LiteLLM's proxy is measured where its own virtual environment is given (``pip install 'litellm[proxy]'``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

RECORDS = 1000
CONNECTIONS = (1, 16, 64)
WORDS = [f"word{n}" for n in range(600)]
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "stub",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "It depends."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
    }
).encode()  # fmt: skip


# -- the model --------------------------------------------------------------------------------------------------------


class StubModel(asyncio.Protocol):
    """Answers every request with the same completion."""

    HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            size = _length(self.buffer[:end])
            if len(self.buffer) < end + 4 + size:
                return
            self.buffer = self.buffer[end + 4 + size :]
            self.transport.write(self.HEAD % len(ANSWER) + ANSWER)  # type: ignore[attr-defined]


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def _serve_stub(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(StubModel, "127.0.0.1", port, backlog=512)
    print("ready", flush=True)
    await server.serve_forever()


# -- our server -------------------------------------------------------------------------------------------------------


class FreeEmbedder:
    """Unit vectors that cost next to nothing: a query's vector is looked up."""

    dim, fingerprint = 384, "bench-1"

    def __init__(self) -> None:
        vectors = np.random.default_rng(0).normal(size=(256, self.dim)).astype(np.float32)
        self._vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def embed(self, texts: list[str]) -> Any:
        return self._vectors[[hash(text) % 256 for text in texts]]


def _serve_idiolect(folder: str, stub: str, port: int, search: str) -> None:
    from idiolect import config
    from idiolect.pipeline import Idiolect
    from idiolect.serve.app import create_app, uvicorn_server
    from idiolect.types import Record

    backend = {"base_url": f"{stub}/v1", "model": "stub"}
    table = {"backend": "openai", "backends": {"openai": backend}, "embedder": "none",
             "paths": {"data": f"{folder}/data", "keys": f"{folder}/keys"}}  # fmt: skip
    with Idiolect.build(config.parse(table)) as idiolect:
        if search == "hybrid":
            idiolect.store.embedder = FreeEmbedder()  # type: ignore[assignment]
        rng = np.random.default_rng(1)
        for user in ("still", "growing"):
            texts = [" ".join(WORDS[int(i)] for i in rng.zipf(1.2, 30) % len(WORDS)) for _ in range(RECORDS)]
            idiolect.store.add(Record.new(user, t, time=float(n), kind="dialogue") for n, t in enumerate(texts))
            idiolect.fit("profile", [user])
        listener = socket.create_server(("127.0.0.1", port), backlog=512)
        print("ready", flush=True)
        uvicorn_server(create_app(idiolect), idiolect.settings.serve).run(sockets=[listener])


# -- the client -------------------------------------------------------------------------------------------------------


class Caller(asyncio.Protocol):
    """One kept-alive connection that sends requests one after the other and notes how long each took [s]."""

    def __init__(self, requests: Iterator[bytes], taken: list[float]) -> None:
        self.requests, self.taken = requests, taken
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self._next()

    def _next(self) -> None:
        request = next(self.requests, None)
        if request is None:
            self.transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self.buffer, self.start = b"", time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end]
        if b"content-length:" in head.lower():
            complete = len(self.buffer) >= end + 4 + _length(head)
        else:
            complete = self.buffer.endswith(b"0\r\n\r\n")
        if complete:
            self.taken.append(time.perf_counter() - self.start)
            if not self.buffer.startswith(b"HTTP/1.1 200"):
                self.fail(f"the answer was {self.buffer[:300]!r}")
            else:
                self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(f"the connection was lost: {error}")

    def fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))


def _requests(target: Target, until: float, most: int) -> Iterator[bytes]:
    rng = np.random.default_rng(2)
    for _ in range(most):
        if time.perf_counter() > until:
            return
        question = "What do you know about " + " ".join(WORDS[int(i)] for i in rng.integers(0, len(WORDS), 5)) + "?"
        messages = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": question}]
        body = json.dumps({"model": "stub", "messages": messages, **target.body}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{target.port}\r\n"
        head += f"content-type: application/json\r\nauthorization: Bearer sk-1\r\ncontent-length: {len(body)}\r\n\r\n"
        yield head.encode() + body


async def _load(target: Target, connections: int, seconds: float, most: int) -> list[float]:
    """Return the times of all requests sent over so many connections, in at most so many seconds."""
    taken: list[float] = []
    requests = _requests(target, time.perf_counter() + seconds, most)
    loop = asyncio.get_running_loop()
    callers = [
        (await loop.create_connection(lambda: Caller(requests, taken), "127.0.0.1", target.port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(caller.done for caller in callers))
    return taken


# -- the comparison ---------------------------------------------------------------------------------------------------


@dataclass
class Target:
    """One thing to measure."""

    name: str
    port: int
    pid: int
    body: dict[str, Any] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    cpu: dict[int, float] = field(default_factory=dict)
    taken: dict[int, list[float]] = field(default_factory=lambda: {c: [] for c in CONNECTIONS})
    cap: int = 1 << 30
    """At most so many requests a round."""


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(targets: list[Target], rounds: int, seconds: float, most: int) -> None:
    """Measure all targets at all numbers of connections, in turn."""
    for target in targets:
        asyncio.run(_load(target, 4, seconds, 200))  # warm up
    for connections in CONNECTIONS:
        for _ in range(rounds):
            for target in targets:
                before, start = _cpu_seconds(target.pid), time.perf_counter()
                target.taken[connections] += asyncio.run(_load(target, connections, seconds, min(target.cap, most)))
                spent = time.perf_counter() - start
                target.seconds[connections] = target.seconds.get(connections, 0.0) + spent
                used = _cpu_seconds(target.pid) - before
                target.cpu[connections] = target.cpu.get(connections, 0.0) + used


def rows(targets: list[Target]) -> list[dict[str, Any]]:
    """Return one row a target and number of connections; times in ms."""
    out = []
    for connections in CONNECTIONS:
        floor = np.percentile(targets[0].taken[connections], [50, 99]) * 1e3
        for target in targets:
            taken = np.array(target.taken[connections]) * 1e3
            p50, p99 = np.percentile(taken, [50, 99])
            out.append(
                {
                    "connections": connections, "target": target.name, "requests": len(taken),
                    "p50_ms": round(p50, 3), "p99_ms": round(p99, 3),
                    "added_p50_ms": round(p50 - floor[0], 3), "added_p99_ms": round(p99 - floor[1], 3),
                    "per_second": round(len(taken) / target.seconds[connections]),
                    "cpu_ms": round(target.cpu[connections] / len(taken) * 1e3, 3),
                }
            )  # fmt: skip
    return out


def show(found: list[dict[str, Any]]) -> None:
    columns = (
        "connections",
        "target",
        "requests",
        "p50_ms",
        "p99_ms",
        "added_p50_ms",
        "added_p99_ms",
        "per_second",
        "cpu_ms",
    )
    widths = [max(len(name), *(len(str(row[name])) for row in found)) for name in columns]
    for row in [dict(zip(columns, columns, strict=True)), *found]:
        print("  ".join(str(row[name]).rjust(width) for name, width in zip(columns, widths, strict=True)))


# -- processes --------------------------------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def started(command: list[str], environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, start_new_session=True
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def role(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with started([sys.executable, __file__, "--role", *arguments]) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{arguments[0]} did not start; run it by hand to see why: {__file__} --role {arguments}")
        yield process


@contextmanager
def litellm(venv: Path, folder: str, stub: str) -> Iterator[Target]:
    """Start LiteLLM's proxy in its own environment, in front of the same stub."""
    port = _free_port()
    settings = {
        "model_list": [
            {"model_name": "stub", "litellm_params": {"model": "openai/stub", "api_base": f"{stub}/v1", "api_key": "x"}}
        ]
    }
    path = Path(folder) / "litellm.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    switches = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "DISABLE_ADMIN_UI": "True",
        "LITELLM_LOG": "ERROR", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }  # fmt: skip
    command = [str(venv / "bin" / "litellm"), "--config", str(path), "--port", str(port), "--host", "127.0.0.1"]
    with started([*command, "--telemetry", "False"], {**os.environ, **switches}) as process:
        target = Target("litellm proxy", port, process.pid)
        for _ in range(240):
            try:
                asyncio.run(_load(target, 1, 5, 1))
                break
            except (OSError, RuntimeError):
                if process.poll() is not None:
                    raise SystemExit(f"LiteLLM's proxy ended at once; run it by hand to see why: {command}") from None
                time.sleep(0.5)
        else:
            raise SystemExit("LiteLLM's proxy did not start within two minutes")
        yield target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--litellm", type=Path, help="a virtual environment with litellm[proxy]")
    parser.add_argument("--search", choices=("lexical", "hybrid"), default="lexical")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="at most, for one target in one round")
    parser.add_argument("--requests", type=int, default=2000, help="at most, for one target in one round")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    if options.role:
        return play(options.role)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        port, ours = _free_port(), _free_port()
        stub = f"http://127.0.0.1:{port}"
        model = stack.enter_context(role("stub", str(port)))
        server = stack.enter_context(role("idiolect", folder, stub, str(ours), options.search))
        quiet = {"idiolect": {"remember": False}}
        targets = [
            Target("direct", port, model.pid),
            Target("idiolect, no user", ours, server.pid),
            Target(f"idiolect, {RECORDS} records", ours, server.pid, {"user": "still", **quiet}),
            Target("idiolect, and learning", ours, server.pid, {"user": "growing"}, cap=300),
        ]
        if options.litellm and (options.litellm / "bin" / "litellm").exists():
            targets.append(stack.enter_context(litellm(options.litellm, folder, stub)))
        else:
            print(
                "LiteLLM is left out: give --litellm VENV (python -m venv VENV; VENV/bin/pip install 'litellm[proxy]')"
            )
        measure(targets, options.rounds, options.seconds, options.requests)
        found = rows(targets)
    show(found)
    if options.json:
        machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
        about = {"search": options.search, "records": RECORDS, "rounds": options.rounds, "machine": machine}
        options.json.write_text(json.dumps({**about, "rows": found}, indent=1) + "\n")


def play(arguments: list[str]) -> None:
    name, *rest = arguments
    if name == "stub":
        import uvloop

        uvloop.run(_serve_stub(int(rest[0])))
    else:
        _serve_idiolect(rest[0], rest[1], int(rest[2]), rest[3])


if __name__ == "__main__":
    main()
