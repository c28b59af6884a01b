"""Seconds and memory to train people's adapters: many at once, beside PEFT one person after the other.

    python benchmarks/training.py                          # small: minutes on 2 cores
    python benchmarks/training.py --users 1 8 32 128 --rows 100 --rounds 3
    python benchmarks/training.py --only many --many 1000  # a thousand people in one job, 4 rows of 32 tokens each

A long run is made in pieces, all into one ``--out``: what stands there is kept unless ``--anew``, and figures of other
settings are refused. In any order, with the same ``--rows``; each figure says of how many rounds it is the median:

    python benchmarks/training.py --only runs --tokens 64 --users 1 8
    python benchmarks/training.py --only runs --tokens 64 --users 32 128 --rounds 1
    python benchmarks/training.py --only runs --tokens 256 --users 1 8
    python benchmarks/training.py --only trunk
    python benchmarks/training.py --only many --many 1000

Every figure, the peak of memory too, is of a process of its own which first trains somebody who does not count, rounds
interleaved, medians; the same rows in the same order and as many steps for all. People write random token sequences:
time does not depend on what is written. Rows beyond ``--rows`` are not run; seconds a person are scaled to 100 rows.
The floor is what the machine's measured matrix rate allows: 4 operations for each frozen weight and token (forward and
towards the inputs), the head only where something is learnt.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pieces import now, opened, peak_mb, settings_of, write

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).resolve().parents[1]
SCALED_TO = 100
PART = 4
"""A quarter of each row is learnt, the rest is prompt."""


def rows_of(count: int, tokens: int, seed: int) -> list[tuple[list[int], int]]:
    import numpy as np

    rng = np.random.default_rng(seed)
    return [(rng.integers(1000, 40000, tokens).tolist(), tokens - tokens // PART) for _ in range(count)]


def ours(given: dict[str, Any]) -> dict[str, Any]:
    """Train all people in one job; run in a process of its own."""
    from idiolect.backends.transformers import TransformersBackend
    from idiolect.trainable import Job, Recipe
    from idiolect.training._torch_trainer import Trainer
    from idiolect.training.rows import TokenRow

    backend = TransformersBackend(given["model"], dtype=given["dtype"], threads=given["threads"])
    engine = backend._loaded()
    recipe = Recipe(
        given["rank"], given["alpha"], tuple(given["modules"]), given["layers"], given["rate"], given["epochs"],
        given["batch"], warmup=0.0, schedule="constant", dtype="float32",
    )  # fmt: skip

    def jobs(held: bool) -> Any:
        for n in range(len(given["held"]) if held else given["count"]):
            rows = given["people"][n] if given["people"] else rows_of(given["rows"], given["tokens"], n)
            parts = ([TokenRow(tuple(i), at) for i, at in part] for part in (rows, given["held"][n] if held else ()))
            yield Job(str(n), ()), *parts, ""

    def run(held: bool, most: int | None = None) -> Any:
        trainer = Trainer(engine.model, engine.layers, recipe, given["places"], given["pass"], None)
        return enumerate(trainer.run(itertools.islice(jobs(held), most), "model", None, None, None), 1)

    for _ in run(held=False, most=1):
        pass  # somebody who does not count: what a process does once
    peaks, size, start = {}, 0, time.perf_counter()
    for done, one in run(held=False):
        size = one.body.size
        if done in (10, 100, 1000):
            peaks[done] = peak_mb()
    seconds = time.perf_counter() - start
    kept = {one.key: one.held[-1] for _, one in run(held=True)}  # apart: it is not timed elsewhere either
    return {
        "seconds": [seconds / given["count"]] * given["count"],
        "held": [kept[key] for key in sorted(kept)],
        "peak_mb": peak_mb(), "peaks_mb": peaks, "bytes": size,
    }  # fmt: skip


def untrained(model: str) -> bytes:
    """Return the adapter that ours begins with, so that PEFT's begins with the same."""
    from idiolect.backends.transformers import TransformersBackend
    from idiolect.trainable import Job, Recipe

    backend = TransformersBackend(model, dtype="float32")
    return next(iter(backend.train([Job("", ())], Recipe(dtype="float32")))).body.read()


def rate(dtype: str) -> float:
    """Return the machine's matrix rate [operations a second] in a precision on the shapes at hand, median of many."""
    import torch

    x, w = (torch.randn(size, 576).to(getattr(torch, dtype)) for size in (1024, 1536))
    found = []
    for _ in range(25):
        start = time.perf_counter()
        for _ in range(4):
            torch.nn.functional.linear(x, w)
        found.append(4 * 2 * 1024 * 576 * 1536 / (time.perf_counter() - start))
    return statistics.median(found)


def floor_operations(folder: Path, given: dict[str, Any]) -> float:
    """Return the operations that one person's rows need at least, all passes over them."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    keys = config["num_key_value_heads"] * (hidden // config["num_attention_heads"])
    layer = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner
    changed = given["layers"] or layers
    tokens, learnt = given["rows"] * given["tokens"], given["rows"] * (given["tokens"] // PART)
    once = 2 * layer * (layers - changed) * tokens
    again = given["epochs"] * (4 * layer * changed * tokens + 4 * hidden * config["vocab_size"] * learnt)
    return float(once + again)


def one(kind: str, given: dict[str, Any], python: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given.json"
        path.write_text(json.dumps({**given, "how": kind}), "utf-8")
        script = [__file__, "--one"] if kind.startswith("ours") else [str(ROOT / "benchmarks/peers/peft_loop.py")]
        words = [sys.executable if kind.startswith("ours") else python, *script, str(path)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{kind} failed:\n{done.stderr[-3000:]}")
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def case(args: argparse.Namespace, users: int, tokens: int, layers: int = 0, people: bool = True) -> dict[str, Any]:
    from idiolect.trainable import Recipe
    from idiolect.training.plan import Plan

    recipe = Recipe(batch=args.batch, epochs=args.epochs, warmup=0.0)
    plan = Plan(recipe, args.rows)
    return {
        "model": args.model, "folder": str(args.folder), "dtype": args.dtype, "threads": args.threads, "count": users,
        "rows": args.rows, "tokens": tokens, "rank": 8, "alpha": 16, "modules": [], "layers": layers, "rate": 1e-3,
        "epochs": args.epochs, "batch": args.batch, "places": min(users, args.places), "pass": args.tokens_a_pass,
        "people": [rows_of(args.rows, tokens, n) for n in range(users)] if people else [],
        "held": [rows_of(2, tokens, 1000 + n) for n in range(min(users, args.peft_users))] if people else [],
        "init": str(args.init),
        "plan": [plan.batch(step) for step in range(plan.steps)],
    }  # fmt: skip


def measured(args: argparse.Namespace, kinds: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Run all kinds in turn, round after round; return medians of each."""
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    rates = []
    for _ in range(args.rounds):
        rates.append(rate(args.dtype))
        for kind, given in kinds.items():
            found[kind].append(one(kind, given, args.peers_python))
    machine = statistics.median(rates)
    out = {}
    for kind, given in kinds.items():
        seconds = statistics.median(statistics.mean(run["seconds"]) for run in found[kind])
        least = floor_operations(args.folder, given) / machine
        scaled = SCALED_TO / args.rows
        held = [value for run in found[kind] for value in run["held"]]
        out[kind] = {
            "seconds_a_user": round(seconds * scaled, 2), "floor_seconds_a_user": round(least * scaled, 2),
            "of_floor": round(least / seconds, 3), "matrix_rate_gflops": round(machine / 1e9, 1),
            "tokens_a_second": round(given["rows"] * given["tokens"] * given["epochs"] / seconds, 1),
            "peak_mb": round(max(run["peak_mb"] for run in found[kind])), "made": now(), "rounds": args.rounds,
            "load average": round(os.getloadavg()[0], 1),
            "held_loss": round(statistics.mean(held), 4) if held else None,
        }  # fmt: skip
        print(kind, given["count"], "users x", given["tokens"], "tokens:", out[kind], flush=True)
    return out


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", choices=["runs", "trunk", "many"], default=["runs", "trunk", "many"])
    parser.add_argument("--anew", action="store_true", help="measure again what stands in --out")
    parser.add_argument("--users", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--peft-users", type=int, default=2, help="PEFT goes one by one: so many are run")
    parser.add_argument("--tokens", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--rows", type=int, default=8, help="rows a person that are run")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--places", type=int, default=8)
    parser.add_argument("--tokens-a-pass", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--many", type=int, default=0, help="also so many people in one job")
    parser.add_argument("--trunk", type=int, default=15, help="also the last so many layers alone, 3 epochs")
    parser.add_argument("--peers-python", default=sys.executable, help="a Python with peft")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/training.json")
    return parser.parse_args()


def main() -> None:
    args = parsed()
    if args.one:
        print(json.dumps(ours(json.loads(args.one.read_text("utf-8")))))
        return
    from idiolect.errors import IdiolectError

    try:
        measure(args)
    except IdiolectError as error:  # its weights are not here
        sys.exit(str(error))


def measure(args: argparse.Namespace) -> None:
    """Measure the sections that are asked for, each into the result file when it is done."""
    from idiolect import models
    from idiolect.bench.run import machine

    args.folder = models.hf_folder(args.model)
    folder = tempfile.TemporaryDirectory()
    args.init = Path(folder.name) / "init.safetensors"
    args.init.write_bytes(untrained(args.model))
    fresh: dict[str, Any] = {
        "made": now(), "machine": machine(), "model": models.fingerprint(args.model), "settings": settings_of(args),
        "runs": [],
    }  # fmt: skip
    results = opened(args.out, fresh, ALIKE)
    for section in ("runs", "trunk", "many"):
        if section in args.only:
            SECTIONS[section](args, results)


def runs(args: argparse.Namespace, results: dict[str, Any]) -> None:
    """Measure what is missing of each length of rows: ours with so many people at once, and PEFT."""
    for tokens in args.tokens:
        section = next((one for one in results["runs"] if one["tokens"] == tokens), None)
        if section is None:
            section = {"tokens": tokens, "kinds": {}}
            results["runs"].append(section)
        wanted = {f"ours x {users}": users for users in args.users}
        wanted |= dict.fromkeys(("documented", "tuned"), args.peft_users)
        missing = {kind: users for kind, users in wanted.items() if args.anew or kind not in section["kinds"]}
        if missing:
            section["kinds"] |= measured(args, {kind: case(args, users, tokens) for kind, users in missing.items()})
            write(args.out, results)


def trunk(args: argparse.Namespace, results: dict[str, Any]) -> None:
    """Measure all layers beside the last so many, three passes over the rows."""
    given = argparse.Namespace(**{**vars(args), "epochs": 3})
    kinds = {f"ours {n} layers": case(given, 8, args.tokens[0], n) for n in (0, args.trunk) if args.trunk}
    found = results.setdefault("trunk", {})
    missing = {kind: one for kind, one in kinds.items() if args.anew or kind not in found}
    if missing:
        found |= measured(given, missing)
        write(args.out, results)


def many(args: argparse.Namespace, results: dict[str, Any]) -> None:
    """Train so many people in one job, and say how memory grew after 10, 100 and 1,000 of them."""
    found = results.get("many", {})
    if not args.many or (found.get("users") == args.many and "peak_mb" in found and not args.anew):
        return
    given = argparse.Namespace(**{**vars(args), "rows": 4, "batch": 2, "epochs": 1})
    made = one("ours", case(given, args.many, 32, args.trunk, people=False), args.peers_python)
    results["many"] = {
        "users": args.many, "seconds_a_user": round(made["seconds"][0], 3), "peaks_mb": made["peaks_mb"],
        "peak_mb": round(made["peak_mb"]), "made": now(), "load average": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    print(results["many"], flush=True)
    write(args.out, results)


SECTIONS = {"runs": runs, "trunk": trunk, "many": many}
ALIKE = ("rows", "batch", "epochs", "places", "tokens_a_pass", "threads", "dtype", "peft_users")
"""Settings that figures of one file have in common."""


if __name__ == "__main__":
    main()
