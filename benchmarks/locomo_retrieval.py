"""Finding the evidence: LoCoMo's questions against the dialogues they were asked of, through the package's own path.

    python benchmarks/locomo_retrieval.py --data ../shared/data            # or any folder with locomo/*.json
    python benchmarks/locomo_retrieval.py --data DIR --json > result.json

The file is imported with the ``locomo`` source, stored, embedded, and searched as a request would; the context is what
the ``retrieval`` method and the prompt assembly hand to the model, counted with the model's tokenizer. Category 5
(adversarial) is left out, and a question counts when at least one of its evidence ids exists.

hit@k: a turn of the evidence is among the first k. recall@10: mean share of the evidence among the first 10.
coverage N: share of questions with at least one (any) and with all (all) of their evidence turns inside N tokens.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import idiolect
from idiolect import registry, sources
from idiolect.config import parse
from idiolect.pipeline import Idiolect
from idiolect.prompting.assembly import CLOSE, OPEN
from idiolect.store.search import DENSE, HYBRID, LEXICAL, Ranker
from idiolect.store.view import StoredUser
from idiolect.types import Call, Record

BUDGETS = (250, 500, 1000)
POINT = {"words": (), "speaker": 0.0, "date": 0.0, "session": 0.0, "recency": 0.0}
RANKERS = {
    "bm25, turn alone": Ranker(**{**POINT, "dense": 0.0}),
    "dense, turn alone": DENSE,
    "bm25, windowed": LEXICAL,
    "default": HYBRID,
}
DEPTH = 100
RETRIEVAL = {"name": "retrieval", "k": DEPTH}  # enough candidates for the largest budget


@dataclass(frozen=True)
class Question:
    user: str
    text: str
    category: int
    evidence: frozenset[str]  # record ids


def questions(path: Path, by_dia: dict[str, dict[str, str]]) -> Iterator[Question]:
    for sample in json.loads(path.read_text("utf-8")):
        user = str(sample["sample_id"])
        for qa in sample["qa"]:
            named = {d for e in qa.get("evidence", []) for d in re.findall(r"D\d+:\d+", str(e))}
            evidence = frozenset(by_dia[user][d] for d in named if d in by_dia[user])
            if qa["category"] != 5 and evidence:
                yield Question(user, qa["question"], qa["category"], evidence)


def rrf(lists: Sequence[Sequence[str]], k: int = 60) -> list[str]:
    """Reciprocal-rank fusion (Cormack et al. 2009)."""
    score: dict[str, float] = {}
    for ranked in lists:
        for rank, rid in enumerate(ranked, 1):
            score[rid] = score.get(rid, 0.0) + 1 / (k + rank)
    return sorted(score, key=lambda rid: -score[rid])


def score_hits(ranked: Sequence[str], evidence: frozenset[str]) -> list[float]:
    at = [rid in evidence for rid in ranked]
    return [*(float(any(at[:k])) for k in (1, 5, 10, 20)), sum(at[:10]) / len(evidence)]


def coverage(app: Idiolect, question: Question, budget: int) -> tuple[float, float, int]:
    call = Call(({"role": "user", "content": question.text},))
    plan = app.plan(call, question.user, methods=[RETRIEVAL], tokens=budget)
    inside = {u.id for u in plan.call.used if not u.text.endswith(" ...")}
    text = plan.call.messages[-1]["content"]
    handed = text[text.index(OPEN) + len(OPEN) : text.index(CLOSE)] if OPEN in text else ""
    there = [rid in inside for rid in question.evidence]
    return float(any(there)), float(all(there)), app.backend.count_tokens(handed)


def open_app(folder: str, args: argparse.Namespace) -> Idiolect:
    paths = {"data": f"{folder}/data", "keys": f"{folder}/keys"}
    backend = "llamacpp" if args.tokenizer == "model" else "toy"
    return Idiolect.build(parse({"paths": paths, "embedder": args.embedder, "backend": backend}))


def import_all(app: Idiolect, files: Sequence[Path]) -> dict[str, dict[str, str]]:
    by_dia: dict[str, dict[str, str]] = {}
    for path in files:
        records = [r for r in sources.read(path, format="locomo") if isinstance(r, Record)]
        app.store.add(records)
        for record in records:
            by_dia.setdefault(record.user_id, {})[record.meta["dia_id"]] = record.id
    return by_dia


def run(args: argparse.Namespace) -> dict[str, object]:
    files = sorted((args.data / "locomo").glob("*.json"))
    if not files:
        sys.exit(f"no {args.data}/locomo/*.json; the data set is published at github.com/snap-research/locomo")
    with tempfile.TemporaryDirectory() as folder, open_app(folder, args) as app:
        start = time.perf_counter()
        by_dia = import_all(app, files)
        imported = time.perf_counter() - start
        asked = [q for path in files for q in questions(path, by_dia)]
        if args.limit:
            asked = asked[:: max(1, len(asked) // args.limit)]
        names = [*RANKERS, "rrf of the two, turn alone"]
        hits: dict[str, list[list[float]]] = {name: [] for name in names}
        covered: dict[int, list[tuple[float, float, int]]] = {b: [] for b in BUDGETS}
        for question in asked:
            vectors: dict[str, np.ndarray] = {}
            ranked = {}
            for name, ranker in RANKERS.items():
                found = StoredUser(app.store, question.user, vectors=vectors).search(
                    question.text, DEPTH, ranker=ranker
                )
                ranked[name] = [hit.record.id for hit in found]
            ranked[names[-1]] = rrf([ranked["bm25, turn alone"], ranked["dense, turn alone"]])
            for name in names:
                hits[name].append(score_hits(ranked[name], question.evidence))
            for budget in BUDGETS:
                covered[budget].append(coverage(app, question, budget))
        return result(args, app, files, asked, hits, covered, imported)


def result(args, app, files, asked, hits, covered, imported) -> dict[str, object]:  # noqa: ANN001
    per_user: dict[str, list[list[float]]] = {}
    for question, row in zip(asked, hits["default"], strict=True):
        per_user.setdefault(question.user, []).append(row)
    embedder = app.store.embedder
    return {
        "task": "locomo-retrieval-1",
        "questions": len(asked),
        "conversations": len(per_user),
        "metrics": ["hit@1", "hit@5", "hit@10", "hit@20", "recall@10"],
        "retrieval": {name: np.mean(rows, axis=0).round(4).tolist() for name, rows in hits.items()},
        "default_by_conversation": {u: np.mean(r, axis=0).round(3).tolist() for u, r in per_user.items()},
        "coverage": {
            str(b): {
                "any": round(float(np.mean([r[0] for r in rows])), 4),
                "all": round(float(np.mean([r[1] for r in rows])), 4),
                "tokens_mean": round(float(np.mean([r[2] for r in rows])), 1),
                "tokens_max": max(r[2] for r in rows),
            }
            for b, rows in covered.items()
        },
        "import_seconds": round(imported, 1),
        "settings": {"ranker": str(HYBRID), "retrieval": registry.settings_of(registry.make_method(RETRIEVAL)[1])},
        "embedder": "" if embedder is None else embedder.fingerprint,
        "tokenizer": app.backend.fingerprint,
        "data_sha256": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files},
        "versions": {"idiolect": idiolect.__version__, "numpy": np.__version__, "python": platform.python_version()},
    }


def show(out: dict) -> None:
    print(f"{out['questions']} questions over {out['conversations']} conversations")
    print(f"{'':28s}" + "  ".join(f"{m:>9s}" for m in out["metrics"]))
    for name, row in out["retrieval"].items():
        print(f"{name:28s}" + "  ".join(f"{x:9.3f}" for x in row))
    print("\ncontext [tokens]   any    all   tokens used: mean, max")
    for budget, c in out["coverage"].items():
        print(f"{budget:>15s}  {c['any']:.3f}  {c['all']:.3f}   {c['tokens_mean']:.0f}, {c['tokens_max']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--embedder", default="minilm", help="minilm, static or none")
    parser.add_argument("--tokenizer", default="model", choices=["model", "toy"])
    parser.add_argument("--limit", type=int, default=0, help="about so many questions, evenly spread")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    out = run(args)
    print(json.dumps(out, indent=1)) if args.json else show(out)


if __name__ == "__main__":
    main()
