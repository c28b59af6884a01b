"""A small server that answers as vLLM was recorded to (``vllm_recording.json``), with our plugin's code inside.

Instead of a model's words an answer says which weights it was made under: :func:`weights_of`, or ``base``.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from idiolect.backends._vllm_resolver import Fetcher
from idiolect.training.peft_format import load

RECORDING = json.loads(Path(__file__).with_name("vllm_recording.json").read_text())
ANSWERS = RECORDING["answers"]
BASE = "tiny"


def recorded(name: str, **replaced: str) -> tuple[int, Any]:
    """Return status and body of a recorded answer, some names in it replaced."""
    text = json.dumps(ANSWERS[name]["answer"])
    for old, new in replaced.items():
        text = text.replace(ANSWERS[name]["body"][old], new)
    return ANSWERS[name]["status"], json.loads(text)


def weights_of(blob: bytes) -> str:
    """Return a name for what an adapter does to the weights."""
    made, told = load(blob), hashlib.sha256()
    for name in sorted(made.modules):
        told.update(name.encode() + (made.delta(name).round(4) + 0.0).tobytes())
    return told.hexdigest()[:16]


class VLLMStub:
    """Serves ``tiny`` and adapters; ``adapters`` are those it knows by name, ``seen`` what it was asked."""

    def __init__(self, access: Path, max_rank: int = 8) -> None:
        self.fetcher, self.max_rank = Fetcher(access), max_rank
        self.adapters: dict[str, str] = {}
        self.folders: dict[str, str] = {}
        self.seen: list[tuple[str, Any]] = []
        self._naming = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.root = f"http://127.0.0.1:{self._server.server_port}"
        self.url = self.root + "/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.fetcher._files.close()

    def asked(self, path: str) -> list[Any]:
        """Return the bodies that came to a path."""
        return [body for where, body in self.seen if where == path]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return what vLLM answers."""
        self.seen.append((path, body))
        if (method, path) == ("GET", "/v1/models"):
            status, listed = recorded("models")
            more = [{**listed["data"][0], "id": name, "root": self.folders[name], "parent": BASE}
                    for name in self.adapters]  # fmt: skip
            return status, {**listed, "data": listed["data"] + more}
        if path == "/v1/load_lora_adapter":
            return self._load(body["lora_name"], body["lora_path"])
        if path == "/v1/unload_lora_adapter":
            name = body["lora_name"]
            there = self.adapters.pop(name, None)
            return recorded("unload" if there else "unload what is not there", lora_name=name)
        if path == "/tokenize":
            text = body["prompt"] if "prompt" in body else "".join(m["content"] for m in body["messages"]) + ">"
            status, told = recorded("tokenize")
            return status, {**told, "count": len(text), "tokens": [ord(c) for c in text]}
        return self._generate(path, body)

    def _generate(self, path: str, body: Any) -> tuple[int, Any]:
        name = body.get("model") or BASE
        refused = self._resolve(name)
        if refused is not None:
            return refused
        if path == "/v1/completions":
            return self._score(body, name) if "logprob_token_ids" in body else recorded("score")
        status, made = recorded("chat")
        text = self.adapters.get(name, "base")
        choice = {**made["choices"][0], "message": {**made["choices"][0]["message"], "content": text}}
        return status, {**made, "model": name, "choices": [choice]}

    def _resolve(self, name: str) -> tuple[int, Any] | None:
        with self._naming:
            if name == BASE or name in self.adapters:
                return None
            folder = self.fetcher.fetch(name, BASE)
            if folder is None:
                return recorded("chat with an adapter that nobody has", model=name)
            blob = (folder / "adapter_model.safetensors").read_bytes()
            if load(blob).rank > self.max_rank:
                return recorded("chat with an adapter that cannot be loaded", model=name)
            self.adapters[name], self.folders[name] = weights_of(blob), str(folder)
            return None

    def _load(self, name: str, path: str) -> tuple[int, Any]:
        if name in self.adapters:
            return recorded("load what is loaded", lora_name=name)
        weights = Path(path) / "adapter_model.safetensors"
        if not weights.is_file():
            return recorded("load what is not there", lora_name=name, lora_path=path)
        self.adapters[name], self.folders[name] = weights_of(weights.read_bytes()), path
        return recorded("load", lora_name=name)

    def _score(self, body: Any, name: str) -> tuple[int, Any]:
        status, made = recorded("score")
        rows = [{f"token_id:{token}": score(self.adapters.get(name, "base"), prompt, token)
                 for token in body["logprob_token_ids"]} for prompt in body["prompt"]]  # fmt: skip
        choices = [{**made["choices"][0], "index": at, "logprobs": {"top_logprobs": [row]}}
                   for at, row in enumerate(rows)]  # fmt: skip
        return status, {**made, "model": name, "choices": choices}


def score(weights: str, before: Sequence[int], token: int) -> float:
    """Return the stub's log probability of a token after others, under some weights."""
    return -int.from_bytes(hashlib.sha256(repr((weights, list(before), token)).encode()).digest()[:2]) / 1000


def _handler(stub: VLLMStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(*stub.answer("GET", self.path, None))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = stub.answer("POST", self.path, body)
            if status == 200 and body.get("stream"):
                return self._stream(answer)
            return self._send(status, answer)

        def _send(self, status: int, answer: Any) -> None:
            text = isinstance(answer, str)
            raw = answer.encode() if text else json.dumps(answer).encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "text/plain" if text else "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def _stream(self, answer: Any) -> None:
            self.send_response_only(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            frame = {"object": "chat.completion.chunk", "model": answer["model"]}
            for delta, reason in (({"content": answer["choices"][0]["message"]["content"]}, None), ({}, "stop")):
                choice = {"index": 0, "delta": delta, "finish_reason": reason}
                raw = f"data: {json.dumps({**frame, 'choices': [choice]})}\n\n".encode()
                for at in range(0, len(raw), 7):  # names are cut in two
                    self.wfile.write(raw[at : at + 7])
                    self.wfile.flush()
            self.wfile.write(b"data: [DONE]\n\n")
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Write nothing."""

    return Handler
