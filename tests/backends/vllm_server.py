"""A real vLLM server with our plugin, as a process of its own; and adapters to serve."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from idiolect.artifact import Body
from idiolect.backends._vllm_resolver import ACCESS
from idiolect.training.factors import Factors, LowRank
from idiolect.training.peft_format import dump
from idiolect.types import Adapter

SECONDS = 1800
"""A server on a busy machine takes its time to start."""


class RealServer:
    """``python -m vllm.entrypoints.openai.api_server`` in float32, which every processor computes alike."""

    def __init__(self, python: str, model: Path, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.access, self.log = folder / "access", folder / "vllm.log"
        self.root, self.url = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.port}/v1"
        more = {
            ACCESS: str(self.access), "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2",
        }  # fmt: skip
        options = (
            "--dtype float32 --max-model-len 512 --enforce-eager --max-num-seqs 8 "
            "--enable-lora --max-loras 3 --max-cpu-loras 4 --max-lora-rank 8"
        )
        self._process = subprocess.Popen(
            [
                python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model),
                "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(self.port), *options.split(),
            ],
            stdout=self.log.open("w"), stderr=subprocess.STDOUT, env={**os.environ, **more}, start_new_session=True,
        )  # fmt: skip

    def wait(self) -> None:
        """Return once it answers."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            try:
                if self.ask("GET", "/health")[0] == 200:
                    return
            except OSError:
                time.sleep(1)
        raise AssertionError("vLLM did not start:\n" + "\n".join(self.log.read_text().splitlines()[-30:]))

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Return status and body of an answer, JSON where it is that."""
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.root + path, data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
                status, raw = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, raw = error.code, error.read()
        try:
            return status, json.loads(raw)
        except ValueError:
            return status, raw.decode()

    def models(self) -> list[str]:
        """Return what it lists."""
        return [card["id"] for card in self.ask("GET", "/v1/models")[1]["data"]]

    def files(self) -> list[Path]:
        """Return the folders of adapters that the plugin has written."""
        made = [path for path in Path("/dev/shm").glob("idiolect-vllm-*") if path.stat().st_uid == os.getuid()]
        return sorted(found for path in made for found in path.glob("u-*"))

    def end(self) -> None:
        """Stop it with all its processes."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


def adapter(
    shapes: Mapping[str, tuple[int, int]], seed: int, base_model: str, rank: int = 4, size: float = 0.05, **more: Any
) -> Adapter:
    """Return a random adapter of modules ``name -> (out, in)``; ``id`` and ``weight`` may be given."""
    rng = np.random.default_rng(seed)
    modules = {name: Factors(_draw(rng, rank, inputs, size), _draw(rng, outputs, rank, size))
               for name, (outputs, inputs) in shapes.items()}  # fmt: skip
    body = Body.of(dump(LowRank(modules, 2.0, base_model)))
    return Adapter(more.get("id", f"artifact-{seed}"), more.get("weight", 1.0), body)


def _draw(rng: np.random.Generator, rows: int, columns: int, size: float) -> Any:
    return (rng.normal(size=(rows, columns)) * size).astype(np.float32)


def smollm_shapes(layers: Sequence[int] = range(30)) -> dict[str, tuple[int, int]]:
    """Return shapes of SmolLM2-135M's modules of several kinds: packed ones of vLLM's and others."""
    one = {"self_attn.q_proj": (576, 576), "self_attn.v_proj": (192, 576), "mlp.down_proj": (576, 1536)}
    return {f"model.layers.{layer}.{name}": shape for layer in layers for name, shape in one.items()}
