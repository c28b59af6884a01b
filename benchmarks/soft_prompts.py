"""Fitting soft prompts for 100 people: in batches of many people, beside a loop that takes one person at a time.

    python benchmarks/soft_prompts.py                        # SmolLM2-135M through PyTorch, the processor
    python benchmarks/soft_prompts.py --device cuda --steps 100

Both see the same examples, once each, through the same encoder and the same frozen model; the loop takes them one at
a time, one person's in each step. The two are run in turn, so that other work on the machine meets both. The result
has medians over the repetitions of the time an example takes, and of the ratio within a repetition.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from idiolect import registry
from idiolect.training.soft_prompts import Example, Model, Training, fit
from idiolect.training.user_encoder import FEATURES, Person, UserEncoder
from idiolect.types import Call

DIM, RECORDS, TOKENS = 384, 32, 4
QUESTIONS = (
    "What would you like to drink?",
    "Where shall we go on Sunday?",
    "What is for dinner?",
    "Which film is it?",
)
ANSWERS = (
    ("A pot of green tea.", "To the quiet lake.", "Rice with vegetables.", "A slow French drama."),
    ("A cold beer.", "To the loud race track.", "A big burnt steak.", "A fast action movie."),
)


def population(people: int, seed: int = 0) -> tuple[list[Person], list[Example]]:
    """Return people of two tastes and one example of each for every question."""
    rng = np.random.default_rng(seed)
    tastes = rng.normal(size=(2, DIM))
    persons, examples = [], list[Example]()
    for n in range(people):
        items = np.zeros((RECORDS, DIM + FEATURES), np.float32)
        items[:, :DIM] = tastes[n % 2] + rng.normal(size=(RECORDS, DIM))
        persons.append(Person(items / np.linalg.norm(items, axis=1, keepdims=True)))
        for question, answer in zip(QUESTIONS, ANSWERS[n % 2], strict=True):
            examples.append((n, Call(({"role": "user", "content": question},)), answer))
    return persons, examples


def seconds(model: Model, persons: list[Person], examples: list[Example], batch: int) -> tuple[float, float]:
    """Fit once over the examples in batches; return seconds an example and the loss of the last tenth of the steps."""
    encoder = UserEncoder.new("mean", DIM, TOKENS, model.hidden, model.embedding_norm)
    steps = len(examples) // batch
    start = time.perf_counter()
    made = fit(model, encoder, persons, examples, Training(steps=steps, batch=batch))
    taken = time.perf_counter() - start
    return taken / (steps * batch), float(np.mean(made.losses[-max(1, steps // 10) :]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--examples", type=int, default=96, help="of all people together, in each repetition")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    settings = {"model": args.model, "device": args.device, "dtype": args.dtype, "threads": args.threads}
    model = registry.build(registry.backends.get("transformers"), {**settings, "batch": max(args.batch)})
    persons, examples = population(args.people)
    spread = [examples[n] for n in np.linspace(0, len(examples) - 1, args.examples).astype(int)]
    seconds(model, persons, spread[: max(args.batch)], max(args.batch))  # loads the model
    found: dict[int, list[tuple[float, float]]] = {size: [] for size in (1, *args.batch)}
    for _ in range(args.repeat):
        for size, rows in found.items():
            rows.append(seconds(model, persons, spread, size))
    times = {size: statistics.median(row[0] for row in rows) for size, rows in found.items()}
    document = {
        "settings": settings, "people": args.people, "examples": args.examples, "repetitions": args.repeat,
        "ms an example, one at a time": round(times.pop(1) * 1e3, 1),
        "ms an example in batches of": {str(size): round(value * 1e3, 1) for size, value in times.items()},
        "times as fast": {
            str(size): round(statistics.median(a[0] / b[0] for a, b in zip(found[1], found[size], strict=True)), 2)
            for size in times
        },
        "last loss [nats a token]": {str(size): round(rows[-1][1], 3) for size, rows in found.items()},
    }  # fmt: skip
    print(json.dumps(document, indent=1))
    if args.out:
        args.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    model.close()


if __name__ == "__main__":
    main()
