"""What enters the prompt: how much of the evidence for LoCoMo's questions each way of reading a memory brings.

    python benchmarks/memory/read_side.py --data ../shared/data --out benchmarks/results/memory/read_side.json

Each arm is a list of method specs, folded through the pipeline as a request would be. A question's evidence recall is
the share of its evidence turns that are among what entered (``call.used``), whole; a record that was written from a
turn (``meta["sources"]``) stands for the turn. Tokens are words times 1.35. Of the dialogues, in order of their names,
every other one served to choose constants (half "choose"); figures to be quoted are those of the half "report".
Category 5 and questions without a turn as evidence are left out. To add an arm, add a line to ``ARMS``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import idiolect
from idiolect import registry, sources
from idiolect.backends.toy import ToyBackend
from idiolect.config import parse
from idiolect.measure.statistics import paired
from idiolect.opening import open_store
from idiolect.pipeline import Idiolect
from idiolect.types import Call, Fits, Record

BUDGETS = (250, 500, 1000)  # tokens
SEED = 0
K = 100  # candidates: enough for the largest budget, in every arm
ARMS: dict[str, list[dict[str, Any]]] = {
    "retrieval": [{"name": "retrieval", "k": K}],
    "clues": [{"name": "clues", "k": K}],
    "clues, by rank": [{"name": "clues", "k": K, "fuse": "rank", "weight": 0.25}],
    "behaviour": [{"name": "behaviour", "k": K}],
    "behaviour, visited first": [{"name": "behaviour", "k": K, "merge": "first"}],
}
BASE = "retrieval"
FIT: tuple[str, ...] = ()
"""Methods that learn offline first, for every arm."""


class Counter(ToyBackend):
    """No model is asked: it counts tokens, 1.35 to a word."""

    def count_tokens(self, text: str) -> int:
        return math.ceil(1.35 * len(text.split()))


@dataclass(frozen=True)
class Question:
    user: str
    text: str
    category: int
    evidence: frozenset[str]  # ids of records
    now: float  # just after the last turn of the dialogue


@dataclass(frozen=True)
class Row:
    recall: float
    tokens: int
    ms: float


def turns(files: Sequence[Path]) -> dict[str, dict[str, Record]]:
    """Read the dialogues; return the record of each turn, by person and the turn's own id."""
    of: dict[str, dict[str, Record]] = {}
    for path in files:
        for record in sources.read(path, format="locomo"):
            if isinstance(record, Record):
                of.setdefault(record.user_id, {})[str(record.meta["dia_id"])] = record
    return of


def evidence_of(qa: Mapping[str, Any], turns: Mapping[str, Record]) -> frozenset[str]:
    """Return the ids of the records that a question names as its evidence."""
    named = {dia for e in qa.get("evidence", []) for dia in re.findall(r"D\d+:\d+", str(e))}
    return frozenset(turns[dia].id for dia in named if dia in turns)


def end_of(turns: Mapping[str, Record]) -> float:
    """Return the moment of asking: a second after the last turn."""
    return max(record.time for record in turns.values()) + 1


def questions(path: Path, of: Mapping[str, Mapping[str, Record]]) -> Iterator[Question]:
    for sample in json.loads(path.read_text("utf-8")):
        user = str(sample["sample_id"])
        for qa in sample["qa"]:
            evidence = evidence_of(qa, of[user])
            if qa["category"] != 5 and evidence:
                yield Question(user, qa["question"], qa["category"], evidence, end_of(of[user]))


def origins(app: Idiolect, user: str) -> dict[str, set[str]]:
    """Return for each record the turns that it stands for: itself, and what it was written from."""
    records = list(app.store.all_records(user))
    return {record.id: {record.id, *record.meta.get("sources", ())} for record in records}


def ask(app: Idiolect, specs: list[dict[str, Any]], question: Question, budget: int, of: Mapping[str, set[str]]) -> Row:
    call = Call(({"role": "user", "content": question.text},))
    start = time.perf_counter()
    used = app.plan(call, question.user, methods=specs, now=question.now, tokens=budget).call.used
    ms = (time.perf_counter() - start) * 1e3
    whole = [one for one in used if one.what == "record" and not one.text.endswith(" ...")]
    there = set[str]().union(*(of.get(one.id, set()) for one in whole))
    headers = {one.header for one in used if one.header}
    tokens = sum(app.backend.count_tokens(text) for text in (*(one.text for one in used), *headers))
    return Row(len(question.evidence & there) / len(question.evidence), tokens, ms)


def run(
    app: Idiolect, arms: Mapping[str, list[dict[str, Any]]], asked: Sequence[Question]
) -> dict[str, dict[int, list[Row]]]:
    """Return one row a question, by arm and budget."""
    users = sorted({question.user for question in asked})
    for name in FIT:
        app.fit(name, users)
    of = {user: origins(app, user) for user in users}
    for question in asked:  # the vectors of the questions are made once, before the clock runs
        app.plan(Call(({"role": "user", "content": question.text},)), question.user, methods=arms[BASE])
    found: dict[str, dict[int, list[Row]]] = {}
    for name, specs in arms.items():
        found[name] = {b: [ask(app, specs, q, b, of[q.user]) for q in asked] for b in BUDGETS}
        print(f"{name:40s}" + " ".join(f"{np.mean([r.recall for r in rows]):.4f}" for rows in found[name].values()))
    return found


def table(found: Mapping[str, Mapping[int, list[Row]]], asked: Sequence[Question], users: Sequence[str]) -> dict:
    """Return the figures of some dialogues, by arm and budget."""
    at = [n for n, question in enumerate(asked) if question.user in users]
    out: dict[str, Any] = {"dialogues": list(users), "questions": len(at), "arms": {}}
    for name, budgets in found.items():
        out["arms"][name] = {
            str(budget): cell([rows[n] for n in at], [found[BASE][budget][n] for n in at], [asked[n] for n in at])
            for budget, rows in budgets.items()
        }
    return out


def cell(rows: Sequence[Row], base: Sequence[Row], asked: Sequence[Question]) -> dict[str, Any]:
    recall, other = np.array([row.recall for row in rows]), np.array([row.recall for row in base])
    over = paired(recall.tolist(), other.tolist(), seed=SEED)
    by_user = [float((recall - other)[[q.user == user for q in asked]].mean()) for user in users_of(asked)]
    return {
        "recall": round(float(recall.mean()), 4),
        "difference": round(over.difference, 4),
        "interval_over_questions": [round(over.low, 4), round(over.high, 4)],
        "questions_better_worse": [over.helped, over.harmed],
        "dialogues_better_worse": [sum(d > 0 for d in by_user), sum(d < 0 for d in by_user)],
        "by_category": {
            str(c): round(float(recall[[q.category == c for q in asked]].mean()), 4)
            for c in sorted({q.category for q in asked})
        },
        "tokens_mean": round(float(np.mean([row.tokens for row in rows])), 1),
        "plan_ms_median": round(float(np.median([row.ms for row in rows])), 2),
    }


def users_of(asked: Sequence[Question]) -> list[str]:
    return sorted({question.user for question in asked})


def open_app(folder: str, embedder: str) -> Idiolect:
    settings = parse({"paths": {"data": f"{folder}/data", "keys": f"{folder}/keys"}, "embedder": embedder})
    return Idiolect(open_store(settings), Counter(), settings, backend_name="toy")


def result(app: Idiolect, arms: Mapping[str, Any], files: Sequence[Path], found: Any, asked: list[Question]) -> dict:
    users = users_of(asked)
    embedder = app.store.embedder
    made = {name: [registry.make_method(spec) for spec in specs] for name, specs in arms.items()}
    return {
        "task": "locomo-read-side-1",
        "report": table(found, asked, users[1::2]),
        "choose": table(found, asked, users[::2]),
        "base": BASE,
        "settings": {
            name: [{"name": one, **registry.settings_of(method)} for one, method in pairs]
            for name, pairs in made.items()
        },
        "fitted_first": [name for name in FIT if isinstance(registry.make_method(name)[1], Fits)],
        "tokens": "words * 1.35",
        "seed": SEED,
        "embedder": "" if embedder is None else embedder.fingerprint,
        "data_sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "versions": {"idiolect": idiolect.__version__, "numpy": np.__version__, "python": platform.python_version()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory/read_side.json"))
    parser.add_argument("--embedder", default="minilm", help="minilm, static or none")
    parser.add_argument("--half", choices=["both", "choose"], default="both", help="ask about one half alone")
    parser.add_argument("--arms", type=Path, help="a JSON file of further arms: {name: [method spec, ...]}")
    args = parser.parse_args()
    files = sorted((args.data / "locomo").glob("*.json"))
    if not files:
        sys.exit(f"no {args.data}/locomo/*.json; the data set is published at github.com/snap-research/locomo")
    arms = ARMS | (json.loads(args.arms.read_text("utf-8")) if args.arms else {})
    with tempfile.TemporaryDirectory() as folder, open_app(folder, args.embedder) as app:
        of = turns(files)
        for records in of.values():
            app.store.add(records.values())
        asked = [question for path in files for question in questions(path, of)]
        if args.half == "choose":
            asked = [question for question in asked if question.user in users_of(asked)[::2]]
        out = result(app, arms, files, run(app, arms, asked), asked)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(out, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
