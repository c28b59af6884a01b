"""Records how a real vLLM answers, for the stub of the default tests.

::

    IDIOLECT_VLLM_PYTHON=.venv-vllm/bin/python PYTHONPATH=src:tests python tests/backends/record_vllm.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from backends.vllm_server import RealServer, adapter, smollm_shapes
from idiolect import models
from idiolect.backends._vllm_door import Door
from idiolect.training.peft_format import save_folder

RECORDING = Path(__file__).with_name("vllm_recording.json")
KNOWN, UNKNOWN, BROKEN, LOADED = (f"u-{digit * 32}" for digit in "1234")
ASK = {"messages": [{"role": "user", "content": "Name three colours."}], "max_tokens": 3, "temperature": 0.0}


def record(server: RealServer, folder: Path) -> dict[str, Any]:
    """Return the answers by what was asked."""
    weights = "smollm2-135m-instruct"
    made = adapter(smollm_shapes(range(2)), 1, models.fingerprint(weights))
    door = Door(server.access)
    door.put(KNOWN, made.body.read)
    door.put(BROKEN, adapter(smollm_shapes(range(2)), 1, "", rank=64).body.read)
    saved = save_folder(made.body.read(), folder / "saved", "tiny")
    load, unload = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
    asked: list[tuple[str, str, str, dict[str, Any] | None]] = [
        ("models", "GET", "/v1/models", None),
        ("chat", "POST", "/v1/chat/completions", {"model": "tiny", **ASK}),
        ("chat with an adapter that the plugin brings", "POST", "/v1/chat/completions", {"model": KNOWN, **ASK}),
        ("chat with an adapter that nobody has", "POST", "/v1/chat/completions", {"model": UNKNOWN, **ASK}),
        ("chat with an adapter that cannot be loaded", "POST", "/v1/chat/completions", {"model": BROKEN, **ASK}),
        ("chat with a path for a name", "POST", "/v1/chat/completions", {"model": "../../etc", **ASK}),
        ("completion with an adapter that nobody has", "POST", "/v1/completions",
         {"model": UNKNOWN, "prompt": ".", "max_tokens": 1}),
        ("load", "POST", load, {"lora_name": LOADED, "lora_path": str(saved)}),
        ("load what is loaded", "POST", load, {"lora_name": LOADED, "lora_path": str(saved)}),
        ("load what is not there", "POST", load, {"lora_name": UNKNOWN, "lora_path": "/nonexistent"}),
        ("models with adapters", "GET", "/v1/models", None),
        ("unload", "POST", unload, {"lora_name": LOADED}),
        ("unload what is not there", "POST", unload, {"lora_name": LOADED}),
        ("tokenize", "POST", "/tokenize", {"model": "tiny", "prompt": "Red", "add_special_tokens": False}),
        ("score", "POST", "/v1/completions",
         {"model": "tiny", "prompt": [[1, 2], [1, 2, 3]], "max_tokens": 1, "temperature": 0.0, "logprobs": 1,
          "logprob_token_ids": [3, 4], "return_tokens_as_token_ids": True}),
    ]  # fmt: skip
    out = {}
    for name, method, path, body in asked:
        status, answer = server.ask(method, path, body)
        out[name] = {"method": method, "path": path, "body": body, "status": status, "answer": answer}
    door.drop(KNOWN)
    before = {path.name for path in server.files()}
    server.ask("POST", unload, {"lora_name": KNOWN})
    server.ask("POST", "/v1/completions", {"model": KNOWN, "prompt": ".", "max_tokens": 1})
    after = {path.name for path in server.files()}
    out["files of a dropped name"] = {"before": KNOWN in before, "after": KNOWN in after}
    door.close()
    return out


def main() -> None:
    """Start the server, record, write."""
    python = os.environ.get("IDIOLECT_VLLM_PYTHON")
    if not python:
        sys.exit("set IDIOLECT_VLLM_PYTHON to a python that has vLLM and this package")
    asking = "from importlib.metadata import distribution, packages_distributions as p;" \
             "d = distribution(p()['vllm'][0]); print(d.name, d.version)"  # fmt: skip
    made_by = subprocess.run([python, "-c", asking], capture_output=True, text=True, check=True).stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        server = RealServer(python, models.hf_folder("smollm2-135m-instruct"), Path(folder))
        try:
            server.wait()
            answers = record(server, Path(folder))
        finally:
            server.end()
        text = json.dumps({"package": made_by[0], "version": made_by[1], "answers": answers}, indent=1)
    model = str(models.hf_folder("smollm2-135m-instruct"))
    RECORDING.write_text(text.replace(folder, "/tmp/folder").replace(model, "/models/tiny") + "\n")


if __name__ == "__main__":
    main()
