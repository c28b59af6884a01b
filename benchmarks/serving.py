"""What it costs to serve each row of a batch its own adapter, beside the base and beside PEFT, in PyTorch on a CPU.

    python benchmarks/serving.py --out benchmarks/results/serving.json                 # all of 1 4 16 64
    python benchmarks/serving.py --rows 64 --out benchmarks/results/serving.json       # in pieces
    python benchmarks/serving.py --rows 16 --repeats 1 --dtype bfloat16

Random adapters of rank 8, one for each row, on all linear modules of the layers or on q and v only. Beside them the
base in the same engine, PEFT's mixed batch (``generate(adapter_names=...)``) and PEFT one request after another
(``set_adapter``, at most four requests, scaled to all). Same prompts, same number of new tokens, greedy; what is given
is the time of a decode step, that of an answer of all tokens less that of an answer of one, so that prompts are not in
it. All are run in turn, several rounds; figures are medians, ratios medians of each round's ratio to that round's base.
Processor time is what a machine with nothing else to do would show, divided by the threads. ``peak MB`` is the most
memory that a process of its own takes which loads the model, has the adapters and answers once. Needs peft and
accelerate. Row counts that stand in ``--out`` are kept unless ``--anew``; other settings are refused.

The floor of a step is the time to read what it must read (weights once, every row's factors) at the measured rate of
memory, and to multiply what it must multiply at the measured rate of a large matrix product.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from idiolect.backends.transformers import TransformersBackend
from idiolect.errors import IdiolectError
from idiolect.training import peft_format
from idiolect.training.factors import Factors, LowRank
from idiolect.training.modules import Site
from idiolect.types import Adapter, Body, Call, Sampling
from pieces import Document, now, opened, peak_mb, settings_of, write

RANK, ALONE = 8, 4
KINDS: dict[str, tuple[str, ...]] = {"all linear": (), "q and v": ("q_proj", "v_proj")}
Work = Callable[[int], float]
"""Answers of so many tokens; returns what the time is to be multiplied with."""
Times = tuple[float, float]
"""Time that passed and processor time [s]."""


def adapter(seed: int, sites: Sequence[Site]) -> LowRank:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(scale=0.05, size=shape).astype(np.float32)  # noqa: E731
    return LowRank({s.name: Factors(draw(RANK, s.inputs), draw(s.outputs, RANK)) for s in sites}, 2.0)


class Ours:
    """The backend with adapters that lie on the disk."""

    def __init__(self, model: str, dtype: str, threads: int, rows: int, folder: Path) -> None:
        self.backend = TransformersBackend(
            model, dtype=dtype, device="cpu", threads=threads, batch=rows, adapters_mb=4096
        )
        self.engine = self.backend._loaded()
        self.engine.ends = frozenset()  # every answer has the same length
        sites = [site for group in self.engine.adapters.sites for site in group]
        self.files: dict[str, list[Path]] = {}
        for kind, names in KINDS.items():
            chosen = [site for site in sites if not names or site.last_name in names]
            self.files[kind] = [folder / f"{kind} {n}" for n in range(rows)]
            for n, path in enumerate(self.files[kind]):
                if path.exists():
                    continue
                peft_format.save_folder(peft_format.dump(adapter(n, chosen)), path, model)

    def adapter(self, kind: str, n: int) -> Adapter:
        path = self.files[kind][n] / "adapter_model.safetensors"
        return Adapter(f"{kind} {n}", 1.0, Body(f"{kind} {n}", path.stat().st_size, path.read_bytes))

    def calls(self, rows: int, tokens: int, kind: str = "") -> list[Call]:
        sampling = Sampling(temperature=0.0, max_tokens=tokens)
        plain = [Call(({"role": "user", "content": f"What is {n} plus {n}?"},), sampling=sampling) for n in range(rows)]
        return [replace(call, adapters=(self.adapter(kind, n),) if kind else ()) for n, call in enumerate(plain)]

    def work(self, rows: int, kind: str) -> Work:
        return lambda tokens: (self.backend.generate(self.calls(rows, tokens, kind)), 1.0)[1]

    def loading(self, kind: str, repeats: int) -> dict[str, float]:
        """Milliseconds from the file into memory, and from there into a batch."""
        from idiolect.backends._torch_adapters import Bank

        pool, taken = self.engine.adapters, list[Times]()
        for _ in range(repeats):
            one = self.adapter(kind, 0)
            pool.forget([one.id])
            start = time.perf_counter()
            weights = pool.weights([one])
            loaded = time.perf_counter()
            assert weights is not None
            bank = Bank(weights.form, weights.flat)
            bank.filled([weights])
            again = replace(weights)
            copied = time.perf_counter()
            bank.filled([again])
            taken.append((loaded - start, time.perf_counter() - copied))
        size = round(weights.size / 1e6, 2)
        into = [round(1e3 * statistics.median(one[at] for one in taken), 2) for at in (0, 1)]
        return {"MB": size, "ms from disk": into[0], "ms into the batch": into[1]}

    def floor(self, rows: int, kind: str, rates: dict[str, float]) -> dict[str, float]:
        """Milliseconds that a step cannot be shorter than."""
        model = self.engine.model
        read = {id(weight): weight.numel() for weight in model.parameters()}
        weights = sum(read.values())  # the embedding is also the head
        factors = 0
        if kind:
            found = self.engine.adapters.weights([self.adapter(kind, 0)])
            assert found is not None
            factors = found.flat.numel()
        item = next(model.parameters()).element_size()
        memory = item * (weights + rows * factors) / rates["GB/s"] / 1e6
        return {
            "memory ms": round(memory, 1),
            "products ms": round(rows * 2e-6 * (weights + factors) / rates["GFLOP/s"], 1),
        }


class Peft:
    """PEFT with the same adapters, on a model of its own."""

    def __init__(self, files: Sequence[Path], prompts: Sequence[Sequence[int]], folder: str, dtype: str) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        base = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True).eval()
        base.generation_config.eos_token_id = None
        self.torch, self.prompts, self.names = torch, prompts, [f"a{n}" for n in range(len(files))]
        self.model = PeftModel.from_pretrained(base, str(files[0]), "a0", low_cpu_mem_usage=True)
        for name, path in zip(self.names[1:], files[1:], strict=True):
            self.model.load_adapter(str(path), adapter_name=name, low_cpu_mem_usage=True)
        self.model.eval()

    def mixed(self, rows: int) -> Work:
        def work(tokens: int) -> float:
            self.answers(range(rows), tokens, adapter_names=self.names[:rows])
            return 1.0

        return work

    def in_turn(self, rows: int) -> Work:
        def work(tokens: int) -> float:
            few = range(min(rows, ALONE))
            for n in few:
                self.model.set_adapter(self.names[n])
                self.answers([n], tokens)
            return rows / len(few)

        return work

    def answers(self, which: Sequence[int], tokens: int, **given: Any) -> list[list[int]]:
        torch, prompts = self.torch, [list(self.prompts[n]) for n in which]
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        with torch.inference_mode():
            made = self.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=0, **given
            )
        return [row[width:].tolist() for row in made]


def rates(threads: int) -> dict[str, float]:
    """What the machine does at best: reading memory, and multiplying large matrices in float32."""
    import torch

    torch.set_num_threads(threads)
    big, vector, square = torch.ones(16384, 8192), torch.ones(8192), torch.ones(1536, 1536)
    read = min(_timed(lambda _: (big @ vector, 1.0)[1])[1] for _ in range(7))
    multiply = min(_timed(lambda _: (square @ square, 1.0)[1])[1] for _ in range(7))
    return {"GB/s": round(4 * big.numel() / read / 1e9, 2), "GFLOP/s": round(2 * 1536**3 / multiply / 1e9, 1)}


def _timed(work: Work, tokens: int = 1) -> tuple[float, float, float]:
    # The scale, the time that passed and the processor time.
    start, used = time.perf_counter(), time.process_time()
    scale = work(tokens)
    return scale, time.perf_counter() - start, time.process_time() - used


def steps(jobs: dict[str, Work], tokens: int, repeats: int) -> dict[str, list[Times]]:
    """Return each round's time of one decode step."""
    taken: dict[str, list[Times]] = {name: [] for name in jobs}
    for work in jobs.values():
        work(2)  # a warm-up
    for turn in range(repeats):
        for name, work in jobs.items():
            _, *short = _timed(work, 1)
            scale, *long = _timed(work, tokens)
            passed, used = (scale * (b - a) / (tokens - 1) for a, b in zip(short, long, strict=True))
            taken[name].append((passed, used))
            print(turn, name, f"{1e3 * passed:.0f} ms, processor {1e3 * used:.0f} ms", file=sys.stderr)
    return taken


def rows_of(taken: dict[str, list[Times]], rows: int, threads: int) -> dict[str, dict[str, float]]:
    out = {}
    for name, found in taken.items():
        ratio = [[b[at] / a[at] for a, b in zip(found, taken["base"], strict=True)] for at in (0, 1)]
        out[name] = {
            "tokens/s": round(rows / statistics.median(one[0] for one in found), 2),
            "ratio": round(statistics.median(ratio[0]), 3),
            "step ms": round(1e3 * statistics.median(one[0] for one in found), 1),
            "processor ms / threads": round(1e3 * statistics.median(one[1] for one in found) / threads, 1),
            "processor ratio": round(statistics.median(ratio[1]), 3),
        }
    return out


def peak_of(given: dict[str, Any]) -> float:
    """Return the most memory [MB] of this process, which answers once by one of the ways; run in one of its own."""
    rows, how, kind = given["rows"], given["how"], given["kind"]
    if how == "ours":
        work = Ours(given["model"], given["dtype"], given["threads"], rows, Path(given["folder"])).work(rows, kind)
    else:
        import torch

        torch.set_num_threads(given["threads"])
        files = [Path(given["folder"]) / f"{kind} {n}" for n in range(rows)]
        peft = Peft(files, given["prompts"], given["model folder"], given["dtype"])
        work = peft.mixed(rows) if how == "mixed" else peft.in_turn(rows)
    work(given["tokens"])
    return peak_mb()


def peak(given: dict[str, Any], folder: Path) -> int:
    path = folder / "given.json"
    path.write_text(json.dumps(given), "utf-8")
    done = subprocess.run([sys.executable, __file__, "--peak", str(path)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the memory of {given['how']} was not measured:\n{done.stderr[-3000:]}")
    return round(float(done.stdout.strip().splitlines()[-1]))


def peaks(args: argparse.Namespace, rows: int, folder: Path, prompts: Sequence[Sequence[int]]) -> dict[str, int]:
    """Return the most memory [MB] of each way of answering so many rows."""
    from idiolect import models

    alike = {
        "rows": rows, "model": args.model, "model folder": str(models.hf_folder(args.model)), "dtype": args.dtype,
        "threads": args.threads, "tokens": args.tokens, "folder": str(folder), "prompts": prompts[:rows],
    }  # fmt: skip
    wanted = {"base": ("ours", "")}
    for kind in KINDS:
        wanted |= {kind: ("ours", kind), f"PEFT mixed, {kind}": ("mixed", kind), f"PEFT in turn, {kind}": ("in", kind)}
    return {name: peak({**alike, "how": how, "kind": kind}, folder) for name, (how, kind) in wanted.items()}


def measure(args: argparse.Namespace, folder: Path, document: Document) -> None:
    """Measure the row counts that are missing, and write the result file after each."""
    from idiolect import models

    found: dict[str, Any] = document["results"]
    missing = [rows for rows in args.rows if args.anew or str(rows) not in found["rows"]]
    if not missing:
        return
    ours = Ours(args.model, args.dtype, args.threads, max(missing), folder)
    prompts = [list(ours.engine.prompt(call.messages, call)) for call in ours.calls(max(missing), args.tokens)]
    hf_folder = str(models.hf_folder(args.model))
    pefts = {kind: Peft(ours.files[kind], prompts, hf_folder, args.dtype) for kind in KINDS}
    machine = found["machine"] = rates(args.threads)
    same = found.setdefault("same answers as PEFT", {})
    for kind, peft in pefts.items():
        rows, decode = min(4, max(missing)), ours.engine.tokenizer.decode
        mine = [answer.text for answer in ours.backend.generate(ours.calls(rows, args.tokens, kind))]
        theirs = peft.answers(range(rows), args.tokens, adapter_names=peft.names[:rows])
        same[kind] = mine == [decode(ids, skip_special_tokens=True) for ids in theirs]
    found["loading"] = {kind: ours.loading(kind, 7) for kind in KINDS}
    for rows in missing:
        jobs: dict[str, Work] = {"base": ours.work(rows, "")}
        for kind in KINDS:
            jobs[kind] = ours.work(rows, kind)
            jobs[f"PEFT mixed, {kind}"] = pefts[kind].mixed(rows)
            jobs[f"PEFT in turn, {kind}"] = pefts[kind].in_turn(rows)
        result: dict[str, Any] = rows_of(steps(jobs, args.tokens, args.repeats), rows, args.threads)
        for kind in ("", *KINDS):
            result[kind or "base"]["floor"] = ours.floor(rows, kind, machine)
        for kind in KINDS:
            of = {at: result[kind][at] / result[f"PEFT mixed, {kind}"][at] for at in ("ratio", "processor ratio")}
            result[kind]["times PEFT mixed"] = {at: round(value, 2) for at, value in of.items()}
        for name, most in peaks(args, rows, folder, prompts).items():
            result[name]["peak MB"] = most
        about = {"made": now(), "load average": round(os.getloadavg()[0], 1), **machine}
        found["rows"][str(rows)] = {**result, "about": about}
        print(rows, json.dumps(result, indent=1), file=sys.stderr)
        write(args.out, document)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--tokens", type=int, default=17)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--anew", action="store_true", help="measure again what stands in --out")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        print(peak_of(json.loads(args.peak.read_text("utf-8"))))
        return
    try:
        document = opened(args.out, _fresh(args), ("dtype", "tokens", "threads", "repeats"))
        with tempfile.TemporaryDirectory() as folder:
            measure(args, Path(folder), document)
    except IdiolectError as error:  # not installed, or its weights are not here
        sys.exit(str(error))
    except ImportError as error:
        sys.exit(f"the comparison needs {error.name}. Run: pip install peft accelerate")
    print(json.dumps(document, indent=1))


def _fresh(args: argparse.Namespace) -> Document:
    import peft
    import torch
    import transformers

    from idiolect import models
    from idiolect.bench.run import machine

    versions = {one.__name__: one.__version__ for one in (torch, transformers, peft)}
    return {
        "made": now(), "machine": {**machine(), **versions}, "model": models.fingerprint(args.model),
        "settings": settings_of(args), "rank": RANK, "results": {"rows": {}},
    }  # fmt: skip


if __name__ == "__main__":
    main()
