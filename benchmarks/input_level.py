"""Every method of the input level beside none, the default retrieval and another person's history, on public data.

    python benchmarks/input_level.py --data ../shared/data --out benchmarks/results/input
    python benchmarks/input_level.py --data DIR --out results/ --only lamp-2m --scale 0.5

Methods that learn are given smaller settings than their defaults, so that 2 cores manage; each result file says which.
What they write for themselves (summaries, plans, guidance) is written by llama.cpp over the same weights
(``IDIOLECT_HELPER``), which writes six times as fast. Answers are kept, so that a run that was ended goes on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

TOKENS = 200
PLAIN = ("retrieval", "profile", "lamp", "author", "tree", "graph", "cfrag:encoder=mean")
WRITING = (
    "cue",
    "plan",
    "synthetic",
    "persona",
    "difference",
    "guidance:k=3:replays=3",
    "fermi:rounds=1:new=2:opinions=6",
)
LEARNING = (
    "usefulness:replays=2:l=8", "usefulness:objective=calibrated:replays=2:l=8",
    "facets:replays=2:candidates=8", "hydra:replays=2:candidates=8", "selector:replays=2",
    "rewriting:k=4:replays=1:edits=1:steps=1:samples=2",
)  # fmt: skip
STEERING = ("style_vector:newest=6:tokens=16", "fints:newest=6:tokens=16", "soft_prompt:replays=2:steps=60")
MASKED = tuple(f"context_steering:infer=false:strength={strength}" for strength in (0.5, 2))
"""With the plausibility mask: fit for choosing and writing, not for the likelihood of a given text."""
CONTRAST = tuple(f"context_steering:infer=false:plausibility=0:strength={strength}" for strength in (0.5, 1))
AUTO = ("auto:hold_out=6",)
AUTO_FEW = "auto:hold_out=4:candidates=retrieval|profile"
GATE = ("retrieval", "profile", "auto:hold_out=3:candidates=retrieval|profile")
GATED = (
    "md-agreement", "u-safebench", "opinionqa", "popquorn", "tallrec", "ukpconvarg", "lamp-3", "studemo", "prefeval",
    "bbq", "lamp-1", "lamp-2n", "movielens", "panza", "p-soups", "popquorn-email", "lamp-5", "lamp-4", "locomo",
)  # fmt: skip
"""With the runs below every task that can be run; in most, retrieval helps nobody much and the gate must not harm."""
CONTROLLER = "controller:rounds=1:k=2:replays=2:max_tokens=40:history_tokens=300"
"""It trains the model that writes for it: the one that answers, as llama.cpp has no gradients."""
PYTORCH = ("--backend", "transformers", "--set", "dtype=bfloat16")
QWEN = (*PYTORCH, "--set", "model=qwen2.5-coder-0.5b-instruct")
RUNS: dict[str, tuple[str, int, tuple[str, ...], tuple[str, ...]]] = {
    "lamp-2m": ("lamp-2m", 40, (*PLAIN, *WRITING[:2], "difference", *LEARNING[:2], LEARNING[4], *AUTO), PYTORCH),
    "lamp-2m.small": ("lamp-2m", 16, ("retrieval", *WRITING, *LEARNING[2:], *MASKED, *STEERING), PYTORCH),
    "lamp-2n.qwen-0.5b": ("lamp-2n", 47, ("retrieval", "profile", "cfrag:encoder=mean", AUTO_FEW), QWEN),
    "lamp-7": ("lamp-7", 10, ("retrieval", "author", CONTRAST[0], *STEERING[:2], *AUTO), PYTORCH),
    "lamp-1-title": ("lamp-1-title", 250, ("retrieval", CONTRAST[1]), PYTORCH),
    "lamp-1-title.reference": ("lamp-1-title", 600, ("retrieval",), PYTORCH),
    "lamp-2m.reference": ("lamp-2m", 200, ("retrieval", AUTO_FEW), PYTORCH),
    "lamp-2n.reference": ("lamp-2n", 200, ("retrieval", AUTO_FEW), QWEN),
    **{f"{task}.gate": (task, 40, GATE, PYTORCH) for task in GATED},
    "lamp-2m.controller": ("lamp-2m", 8, ("retrieval", CONTROLLER), PYTORCH),
    "lamp-4.rerank": ("lamp-4", 10, ("retrieval", "rerank", "retrieval+rerank"), PYTORCH),
    "locomo": ("locomo", 20, (*PLAIN[:6], *WRITING[:2], *AUTO), ()),
    "lamp-4": ("lamp-4", 12, (*PLAIN, *WRITING[:2], "rerank", *AUTO), ()),
}  # fmt: skip


Runs = Mapping[str, tuple[str, int, tuple[str, ...], tuple[str, ...]]]
"""By name of the result file: the task, how many questions, the methods, and the words about the backend."""


def run(runs: Runs, about: str | None, tokens: int = TOKENS, peers: int = 0) -> None:
    """Run what the command line asks for, one call of ``idiolect bench run`` each."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=[*runs], help="these runs alone")
    parser.add_argument("--scale", type=float, default=1.0, help="times the limits")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in args.only or runs:
        task, limit, methods, backend = runs[name]
        words = [sys.executable, "-m", "idiolect", "bench", "run", task, "--method", ",".join(methods)]
        words += ["--tokens", str(tokens), "--limit", str(max(1, round(limit * args.scale))), "--data", str(args.data)]
        words += ["--peers", str(peers), "--out", str(args.out / f"{name}.json"), *backend]
        start = time.perf_counter()
        helper = "" if CONTROLLER in methods else "llamacpp"
        done = subprocess.run(words, env={**os.environ, "IDIOLECT_HELPER": helper})
        failed += [name] if done.returncode else []
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    run(RUNS, __doc__)
