"""Adapters in llama.cpp: what one costs an answer, a switch among loaded ones, and one that is not loaded yet.

    python benchmarks/llamacpp_adapters.py
    python benchmarks/llamacpp_adapters.py --out benchmarks/results/llamacpp_adapters.json

Random adapters of rank 8 on all linear modules of SmolLM2-135M (Q8_0). Tokens a second are those of one answer of 64
tokens after a short prompt; the times are those of a call that answers with one token to the same prompt of about 300
tokens: with the adapter used last (its prompt is still in the slot), with another one that is loaded (the prompt is
read anew), and with one that is not (the model is loaded anew with it). Medians of processor seconds on one thread:
what else runs on the machine moves them little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np

from idiolect import models
from idiolect.backends.llamacpp import LlamaCppBackend
from idiolect.training import gguf_format, peft_format
from idiolect.training.factors import Factors, LowRank
from idiolect.types import Adapter, Body, Call, Sampling

MODULES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip
LONG = "The council met on Tuesday to speak about the harbour, the new road and the price of fish. " * 14


def random(seed: int, base: gguf_format.Base, rank: int = 8) -> Adapter:
    rng = np.random.default_rng(seed)
    found = {}
    for layer in range(base.blocks):
        for module, tensor in MODULES.items():
            inputs, outputs = base.shapes[f"blk.{layer}.{tensor}.weight"]
            a, b = rng.normal(size=(rank, inputs)), rng.normal(size=(outputs, rank)) * 1e-4
            found[f"model.layers.{layer}.{module}"] = Factors(a.astype(np.float32), b.astype(np.float32))
    return Adapter(f"random {seed}", 1.0, Body.of(peft_format.dump(LowRank(found, 2.0), "float16")))


def answer(model: LlamaCppBackend, text: str, tokens: int, *adapters: Adapter) -> float:
    """Return the processor seconds that an answer of exactly so many tokens takes."""
    sampling = Sampling(temperature=0.0, max_tokens=tokens, seed=1)
    call = Call(({"role": "user", "content": text},), adapters=adapters, sampling=sampling, extra={"ignore_eos": True})
    start = time.process_time()
    model.generate([call])
    return time.process_time() - start


def measure(repeats: int) -> dict[str, object]:
    name = LlamaCppBackend.model
    base = gguf_format.base_of(models.require(name))
    made = [random(seed, base) for seed in range(repeats + 2)]
    model = LlamaCppBackend(slots=1, threads=1, adapters=2)
    pairs = {"none": (), "one": (made[0],), "two": (made[0], made[1])}
    speeds: dict[str, list[float]] = {label: [] for label in pairs}
    answer(model, "Hello", 1, *pairs["two"])
    for _ in range(repeats):
        for label, using in pairs.items():
            speeds[label].append(64 / answer(model, "Tell me about the sea.", 64, *using))
    same, switched, fresh = [], [], []
    for number in range(repeats):
        answer(model, LONG, 1, made[0])
        same.append(answer(model, LONG, 1, made[0]))
        switched.append(answer(model, LONG, 1, made[1]))
        fresh.append(answer(model, LONG, 1, made[2 + number]))
        answer(model, LONG, 1, made[0], made[1])
    model.close()
    plain = LlamaCppBackend(slots=1, threads=1)
    answer(plain, "Hello", 1)
    unloaded = statistics.median(64 / answer(plain, "Tell me about the sea.", 64) for _ in range(repeats))
    plain.close()
    speed = {label: round(statistics.median(found), 1) for label, found in speeds.items()}
    times = {"the same adapter": same, "another loaded one": switched, "one that is not loaded": fresh}
    return {
        "tokens a processor second": {"no adapter loaded": round(unloaded, 1), **speed},
        "processor milliseconds to one token": {k: round(statistics.median(v) * 1e3, 1) for k, v in times.items()},
        "adapter": {"bytes": made[0].body.size, "rank": 8, "modules": len(MODULES) * base.blocks},
        "model": models.fingerprint(name), "repeats": repeats,
        "load average": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    document = measure(args.repeats)
    print(json.dumps(document, indent=1))
    if args.out:
        args.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
