"""What is brought up where it does not belong: people with one preference for each topic of PrefEval.

    python benchmarks/memory/abstention.py --data ../shared/data --out benchmarks/results/memory/abstention.json

Each person has stated one preference a topic, all of them different people's. They ask a question of one topic: does
that preference enter the prompt, and how many of the other topics? Then they ask something that has to do with none
(``--neutral``: the exchanges labelled question, task and smalltalk of the write-side set): does anything enter? Beside
the bound that method ``memory`` has, none (the nearest always enter, as memory layers do) and stricter ones.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

import idiolect
from idiolect.backends.toy import ToyBackend
from idiolect.config import parse
from idiolect.measure.statistics import mean_interval
from idiolect.opening import open_store
from idiolect.pipeline import Idiolect
from idiolect.types import Call, Record

PEOPLE, SEED, START = 50, 0, 1_600_000_000.0
BOUNDS = (-1.0, 0.15, 0.2, 0.25, 0.3, 0.35)
NEUTRAL = ("question", "task", "smalltalk")


def topics(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Return (preference, question) by topic; every other pair, in order, served to choose the bound."""
    found = {}
    for path in sorted((folder / "prefeval" / "explicit_preference").glob("*.json")):
        rows = json.loads(path.read_text("utf-8"))
        found[path.stem] = [(row["preference"], row["question"]) for row in rows][1::2]
    return found


def neutral(file: Path) -> list[str]:
    """Return what people said that leaves nothing and asks for nothing personal."""
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return [row["messages"][-1]["content"] for row in rows if row["why_not"] in NEUTRAL]


def entered(app: Idiolect, user: str, text: str, least: float) -> list[str]:
    """Return the memories that enter the prompt for a message."""
    spec = {"name": "memory", "least": least}
    call = app.plan(Call(({"role": "user", "content": text},)), user, methods=[spec], tokens=400).call
    return [used.id for used in call.used]


def measure(
    app: Idiolect, asked: Sequence[tuple[str, str, str]], others: Sequence[str], least: float
) -> dict[str, Any]:
    """Return the rates of one bound; ``asked`` is (user, question, id of the preference that bears on it)."""
    right, wrong = list[float](), list[float]()
    for user, question, wanted in track(asked, f"bound {least}"):
        there = entered(app, user, question, least)
        right.append(float(wanted in there))
        wrong.append(float(sum(one != wanted for one in there)))
    users = sorted({user for user, _, _ in asked})
    idle = [float(len(entered(app, users[n % len(users)], text, least))) for n, text in enumerate(others)]
    found = mean_interval(right, seed=SEED)
    return {
        "least": least,
        "brought_up": round(float(np.mean(right)), 4),
        "interval": [round(found.low, 4), round(found.high, 4)],
        "of_other_topics": round(float(np.mean(wrong)), 4),
        "questions_with_none_of_other_topics": round(float(np.mean([one == 0 for one in wrong])), 4),
        "neutral_with_none": round(float(np.mean([one == 0 for one in idle])), 4),
        "memories_a_neutral_message": round(float(np.mean(idle)), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--neutral", type=Path, default=Path("benchmarks/memory/exchanges.dev.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory/abstention.json"))
    parser.add_argument("--embedder", default="minilm", help="minilm, static or none")
    args = parser.parse_args()
    pairs, rng = topics(args.data), random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder:
        settings = parse({"paths": {"data": f"{folder}/data", "keys": f"{folder}/keys"}, "embedder": args.embedder})
        with Idiolect(open_store(settings), ToyBackend(), settings, backend_name="toy") as app:
            asked = list[tuple[str, str, str]]()
            for n in range(PEOPLE):
                for at, rows in enumerate(pairs.values()):
                    preference, question = rng.choice(rows)
                    record = Record.new(f"u{n}", preference, time=START + at, kind="profile", source="memory")
                    app.store.add([record])
                    asked.append((f"u{n}", question, record.id))
            others = neutral(args.neutral)
            found = [measure(app, asked, others, least) for least in BOUNDS]
    files = [*sorted((args.data / "prefeval" / "explicit_preference").glob("*.json")), args.neutral]
    out = {
        "task": "abstention-1",
        "people": PEOPLE,
        "questions": len(asked),
        "neutral_messages": len(others),
        "topics": len(pairs),
        "bounds": found,
        "seed": SEED,
        "embedder": args.embedder,
        "data_sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "versions": {"idiolect": idiolect.__version__, "numpy": np.__version__, "python": platform.python_version()},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(out, indent=1) + "\n", "utf-8")
    for row in found:
        print(row)


if __name__ == "__main__":
    main()
