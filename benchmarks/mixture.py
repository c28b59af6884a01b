"""What personal decoding costs beside a plain answer: mixtures, soft prompts, steering, in PyTorch on a CPU.

    python benchmarks/mixture.py --out benchmarks/results/mixture.json
    python benchmarks/mixture.py --dtypes float32 --repeats 3

Eight questions at once, 64 new tokens each, greedy. The personal prompt has about 200 tokens, the bare one about 60;
the mixture reads both and writes one answer. Beside it what published code does by hand: two models side by side, each
with its own cache and a pass of its own for every token; and the same without caches, timed for a few tokens and
scaled to all. All are run in turn, several rounds, so that a slow minute of the machine meets all of them. Ratios are
medians of each round's ratio to that round's plain answers: of the time that passed, and of the processor time, which
is what a machine with nothing else to do would show.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from idiolect.backends._generation import log_softmax
from idiolect.backends.transformers import TransformersBackend
from idiolect.decoding.mixture import mixture
from idiolect.errors import IdiolectError
from idiolect.types import Branch, Call, Floats, Message, Sampling, Steer

ROWS, TOKENS, UNCACHED, SOFT = 8, 64, 3, 8
WEIGHTS = (1.5, -0.5)
NOTE = "Ana said that she likes green tea and walks by the river in the evening with her dog Bruno. "
ASKED = "Question {n}: what should I cook for my friends on Saturday evening, and why? Please answer in a few words."


def questions(personal: bool) -> list[tuple[Message, ...]]:
    notes = [{"role": "system", "content": "Notes about the person: " + NOTE * 7}] if personal else []
    return [(*notes, {"role": "user", "content": ASKED.format(n=n)}) for n in range(ROWS)]


def ways(backend: TransformersBackend) -> dict[str, list[Call]]:
    plain = [Call(messages, sampling=Sampling(temperature=0.0, max_tokens=TOKENS)) for messages in questions(True)]
    rng = np.random.default_rng(0)
    soft = rng.normal(size=(SOFT, backend.hidden)).astype(np.float32)
    soft *= backend.embedding_norm / np.linalg.norm(soft, axis=1, keepdims=True)
    steer = Steer(backend.layers // 2, rng.normal(scale=0.1, size=backend.hidden).astype(np.float32))
    mix = [(Branch(None, WEIGHTS[0]), Branch(bare, WEIGHTS[1])) for bare in questions(False)]
    return {
        "plain": plain,
        "mixture of 2": [replace(call, mix=both) for call, both in zip(plain, mix, strict=True)],
        f"soft prompt of {SOFT}": [replace(call, soft_prompt=soft) for call in plain],
        "steering": [replace(call, steering=(steer,)) for call in plain],
    }


class ByHand:
    """The mixture as two decoding loops over the model itself."""

    def __init__(self, backend: TransformersBackend) -> None:
        self.engine = backend._loaded()
        call = Call(())
        self.prompts = [[self.engine.prompt(m, call) for m in questions(personal)] for personal in (True, False)]

    def two_caches(self) -> float:
        torch, model = self.engine.torch, self.engine.model
        with torch.inference_mode():
            given = [self._padded(prompts) for prompts in self.prompts]
            ids, masks, caches = [one for one, _ in given], [mask for _, mask in given], [None, None]
            for _ in range(TOKENS):
                rows = []
                for n in range(2):
                    places = (masks[n].cumsum(1) - 1).clamp(min=0)[:, -ids[n].shape[1] :]
                    out = model(input_ids=ids[n], attention_mask=masks[n], position_ids=places,
                                past_key_values=caches[n], use_cache=True, logits_to_keep=1)  # fmt: skip
                    caches[n] = out.past_key_values
                    rows.append(out.logits[:, -1].float().numpy())
                ids = [torch.tensor(_best(rows))[:, None]] * 2
                masks = [torch.cat([mask, mask.new_ones(ROWS, 1)], dim=1) for mask in masks]
        return 1.0

    def no_caches(self) -> float:
        torch, model = self.engine.torch, self.engine.model
        answers: list[list[int]] = [[] for _ in range(ROWS)]
        with torch.inference_mode():
            for _ in range(UNCACHED):
                rows = []
                for prompts in self.prompts:
                    ids, mask = self._padded([[*p, *a] for p, a in zip(prompts, answers, strict=True)])
                    places = (mask.cumsum(1) - 1).clamp(min=0)
                    out = model(input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False,
                                logits_to_keep=1)  # fmt: skip
                    rows.append(out.logits[:, -1].float().numpy())
                for answer, token in zip(answers, _best(rows), strict=True):
                    answer.append(token)
        return TOKENS / UNCACHED

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[object, object]:
        torch, width = self.engine.torch, max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts])
        return ids, torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])


def _best(rows: Sequence[Floats]) -> list[int]:
    both = np.stack(rows, axis=1)  # [calls, branches, vocab]
    return [int(np.argmax(mixture(log_softmax(one), WEIGHTS))) for one in both]


def measure(dtype: str, threads: int, repeats: int, model: str) -> dict[str, object]:
    backend = TransformersBackend(model, dtype=dtype, device="cpu", threads=threads, batch=2 * ROWS)
    backend._loaded().ends = frozenset()  # every answer has the same length
    hand = ByHand(backend)
    jobs: dict[str, Callable[[], float]] = {}
    for name, calls in ways(backend).items():
        jobs[name] = lambda calls=calls: (backend.generate(calls), 1.0)[1]  # type: ignore[misc]
    jobs |= {"mixture, two caches by hand": hand.two_caches, "mixture, no caches": hand.no_caches}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, work in jobs.items():
            start, used = time.perf_counter(), time.process_time()
            scale = work()
            passed = scale * (time.perf_counter() - start), scale * (time.process_time() - used)
            if turn:  # the first is a warm-up
                taken[name].append(passed)
    tokens = [len(prompts[0]) for prompts in hand.prompts]
    backend.close()
    return {"prompt tokens": tokens, "ways": {name: _row(found, taken["plain"]) for name, found in taken.items()}}


def _row(found: Sequence[tuple[float, float]], plain: Sequence[tuple[float, float]]) -> dict[str, float]:
    out = {}
    for at, name in enumerate(("", "processor ")):
        out[f"{name}s"] = round(statistics.median(one[at] for one in found), 2)
        ratios = [one[at] / base[at] for one, base in zip(found, plain, strict=True)]
        out[f"{name}ratio"] = round(statistics.median(ratios), 3)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load, results = os.getloadavg()[0], {}
    try:
        for dtype in args.dtypes:
            results[dtype] = measure(dtype, args.threads, args.repeats, args.model)
            print(dtype, json.dumps(results[dtype], indent=1), file=sys.stderr)
    except IdiolectError as error:  # not installed, or its weights are not here
        sys.exit(str(error))
    import torch
    import transformers

    document = {
        "machine": {
            "cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform(),
            "torch": torch.__version__, "transformers": transformers.__version__, "load before": round(load, 1),
            "load after": round(os.getloadavg()[0], 1),
        },
        "model": args.model, "threads": args.threads, "repeats": args.repeats, "calls": ROWS, "new tokens": TOKENS,
        "results": results,
    }  # fmt: skip
    print(json.dumps(document, indent=1))
    if args.out:
        args.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
