"""What a memory costs as it grows: one person with up to 100,000 memories, and up to 10,000 people.

    python benchmarks/memory/scale.py --out benchmarks/results/memory/scale.json

Write is ``observe`` of an exchange that says something new (extraction by rules, held against what is known, kept
durably); contradict is one that closes an earlier statement; read is the method's ``apply`` for a question, warm.
Median and 95th percentile over the same exchanges at every size, in one run. Bytes are those of the whole store.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

import idiolect
from idiolect import registry
from idiolect.backends.toy import ToyBackend
from idiolect.config import parse
from idiolect.opening import open_store
from idiolect.pipeline import Idiolect
from idiolect.store.view import view
from idiolect.types import Call, Record, Turn

START, SEED = 1_600_000_000.0, 0
SIZES = (100, 1_000, 10_000, 100_000)
PEOPLE = (100, 1_000, 10_000)
EACH = 40
THINGS = "kettle loom canoe harp lathe quilt kiln cello drone bonsai easel forge globe hammock iguana jigsaw".split()
PLACES = "Porto Lima Oslo Accra Turin Hanoi Quito Cork Riga Tunis Kyoto Perth Split Leeds Bergen Osaka Graz".split()
WORDS = [f"{a}{b}" for a in "ba ce di fo gu ha je ki lo mu".split() for b in "lan mer nor pas qui ros sel tam".split()]


def memory(user: str, number: int, rng: random.Random) -> Record:
    """One of very many statements of a person, all different."""
    word, thing = rng.choice(WORDS) + rng.choice(WORDS), rng.choice(THINGS)
    text = f"I keep a {word} {thing} from {rng.choice(PLACES)} in room {number}."
    return Record.new(user, text, time=START + number, kind="profile", source="memory", meta={"said_by": "user"})


def turn(text: str, at: float) -> Turn:
    """An exchange in which a text is said."""
    return Turn(({"role": "user", "content": text},), "Noted.", at, session=f"s{at}")


def timed(work: Callable[[int], object], times: int) -> dict[str, float]:
    """Return the median and the 95th percentile of some calls [ms]."""
    spent = []
    for n in range(times):
        start = time.perf_counter()
        work(n)
        spent.append((time.perf_counter() - start) * 1e3)
    return {"p50_ms": round(float(np.median(spent)), 3), "p95_ms": round(float(np.percentile(spent, 95)), 3)}


def costs(app: Idiolect, user: str, at: float, tag: str) -> dict[str, Any]:
    """Return what writing, contradicting and reading cost for a person now."""
    methods = app.methods(["memory"])

    def write(n: int) -> None:
        said = f"My {tag} {WORDS[n]} {THINGS[n % 16]} is {PLACES[n % 17]} green. What is on tonight?"
        app.observe(turn(said, at + n), user, methods)

    def contradict(n: int) -> None:
        app.observe(turn(f"I live in {PLACES[n % 17]} now.", at + 1000 + n), user, methods)

    def read(n: int) -> None:
        question = f"Where is the {WORDS[n]} {THINGS[n % 16]}?"
        methods[0][1].apply(Call(({"role": "user", "content": question},)), view(app.store, user), app.context())

    read(0)
    return {"write": timed(write, EACH), "contradict": timed(contradict, EACH), "read": timed(read, EACH)}


def one_person(embedder: str, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Let one person's memory grow."""
    rows, rng = list[dict[str, Any]](), random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder, opened(folder, embedder) as app:
        have = 0
        for size in sizes:
            steps = range(have, size, 2000)
            for first in track(steps, f"one person, {size:,} memories"):
                batch = [memory("ana", n, rng) for n in range(first, min(size, first + 2000))]
                app.store.add(batch)
            have = size
            row = {"memories": size, **costs(app, "ana", START + 2 * size, f"n{size}")}
            rows.append({**row, "bytes_a_memory": round(app.store.rows.size() / size)})
            print(row)
    return rows


def many_people(embedder: str, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Let the number of people grow, ten memories each."""
    rows, rng = list[dict[str, Any]](), random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder, opened(folder, embedder) as app:
        have = 0
        for size in sizes:
            for first in track(range(have, size, 100), f"{size:,} people"):
                app.store.add([memory(f"u{u}", n, rng) for u in range(first, first + 100) for n in range(10)])
            have = size
            row = {"people": size, **costs(app, f"u{size // 2}", START + 1e6, f"p{size}")}
            rows.append({**row, "bytes_a_person": round(app.store.rows.size() / size)})
            print(row)
    return rows


def opened(folder: str, embedder: str) -> Idiolect:
    """A new house in a folder."""
    settings = parse({"paths": {"data": f"{folder}/data", "keys": f"{folder}/keys"}, "embedder": embedder})
    return Idiolect(open_store(settings), ToyBackend(), settings, backend_name="toy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory/scale.json"))
    parser.add_argument("--embedder", default="static", help="minilm, static or none")
    parser.add_argument("--scale", type=float, default=1.0, help="times the sizes")
    args = parser.parse_args()
    sizes = [max(10, int(n * args.scale)) for n in SIZES]
    people = [max(100, int(n * args.scale)) for n in PEOPLE]
    found = {
        "task": "memory-scale-1",
        "one_person": one_person(args.embedder, sizes),
        "many_people": many_people(args.embedder, people),
        "each": EACH,
        "seed": SEED,
        "embedder": args.embedder,
        "method": registry.settings_of(registry.make_method("memory")[1]),
        "versions": {"idiolect": idiolect.__version__, "numpy": np.__version__, "python": platform.python_version()},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
