"""Train the small heads of the memory's write side, and say by cross-validation how well they do.

    python benchmarks/memory/train.py --out src/idiolect/memory/weights.npz --report FILE.json

Data: ``clauses.jsonl`` (is a clause worth keeping, its topic, does it bear on safety) and ``pairs.jsonl`` (does a new
statement end an old one, or say the same), both written for this purpose. Logistic regression with a quadratic penalty
over MiniLM's vectors, words and pairs of words; the penalty is the one with the best log likelihood in 5-fold
cross-validation. Neither half of the labelled exchanges is read here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from idiolect.memory import sameness, trained, wording
from idiolect.text.embedding import load_embedder

Doubles = npt.NDArray[np.float64]
HERE = Path(__file__).parent
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)
FOLDS, SEED, STRANGERS, LEAST = 5, 0, 8, 7


def fit(x: Doubles, y: Doubles, penalty: float) -> Doubles:
    """Return the weights, the bias last (Newton's method; the bias is not penalised)."""
    a = np.hstack([x, np.ones((len(x), 1))])
    weights, cost = np.zeros(a.shape[1]), np.full(a.shape[1], penalty)
    cost[-1] = 1e-6
    for _ in range(40):
        p = predict(x, weights)
        step = np.linalg.solve((a * (p * (1 - p))[:, None]).T @ a + np.diag(cost), a.T @ (y - p) - cost * weights)
        weights = weights + step
        if np.abs(step).max() < 1e-6:
            break
    return weights


def predict(x: Doubles, weights: Doubles) -> Doubles:
    """Return probabilities ``[n]``."""
    z = x @ weights[:-1] + weights[-1]
    return np.exp(-np.logaddexp(0, -z))


def crossed(x: Doubles, y: Doubles, penalty: float) -> Doubles:
    """Return each row's probability from a model that did not see it."""
    fold = np.random.default_rng(SEED).permutation(len(y)) % FOLDS
    out = np.zeros(len(y))
    for n in range(FOLDS):
        out[fold == n] = predict(x[fold == n], fit(x[fold != n], y[fold != n], penalty))
    return out


def auc(y: Doubles, p: Doubles) -> float:
    """Return the chance that a positive row is above a negative one."""
    order = np.argsort(p)
    rank = np.empty(len(p))
    rank[order] = np.arange(1, len(p) + 1)
    positive = y.sum()
    return float((rank[y == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(y) - positive)))


def train(name: str, x: Doubles, y: Doubles, report: dict[str, Any]) -> Doubles:
    """Choose the penalty, note how well it does, and return the weights from all rows."""
    tried = {penalty: crossed(x, y, penalty) for penalty in PENALTIES}
    likelihood = {k: float(np.mean(np.log(np.where(y == 1, p, 1 - p) + 1e-9))) for k, p in tried.items()}
    best = max(likelihood, key=lambda penalty: likelihood[penalty])
    p = tried[best]
    at = {
        str(bound): {
            "precision": round(float(y[p >= bound].mean()), 3) if (p >= bound).any() else None,
            "recall": round(float((p >= bound)[y == 1].mean()), 3),
        }
        for bound in (0.4, 0.5, 0.6, 0.7, 0.8)
    }
    report[name] = {"rows": len(y), "positive": int(y.sum()), "penalty": best, "auc": round(auc(y, p), 4), "at": at}
    print(name, report[name])
    return fit(x, y, best)


def train_closing(
    heads: trained.Heads, new: list[Any], old: list[Any], both: Doubles, relation: list[str], report: dict[str, Any]
) -> Doubles:
    """Train the second step on the pairs and on pairs of strangers, as most of what is remembered is to a statement."""
    wanted = np.array([one == "closes" for one in relation], np.float64)
    ends = logit(crossed(both, wanted, report["ends"]["penalty"]))
    same = logit(crossed(both, np.array([one == "same" for one in relation], np.float64), report["same"]["penalty"]))
    x = [heads.of_one_matter(n, [o], ends[i : i + 1], same[i : i + 1])[0]
         for i, (n, o) in enumerate(zip(new, old, strict=True))]  # fmt: skip
    rng = np.random.default_rng(SEED)
    for i, one in enumerate(new):
        others = [old[n] for n in rng.choice(len(old), STRANGERS, replace=False) if n != i]
        features = trained.pairs(one, others, heads.signs)
        scores = (features @ w[:-1] + w[-1] for w in (heads.ends, heads.same))
        x += list(heads.of_one_matter(one, others, *scores))
    y = np.concatenate([wanted, np.zeros(len(x) - len(wanted))])
    return train("closing", np.array(x), y, report)


def common(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the words and pairs of words that stand in at least :data:`LEAST` texts."""
    counts = Counter(gram for text in texts for gram in wording.grams(text))
    return tuple(sorted(gram for gram, count in counts.items() if count >= LEAST))


def logit(p: Doubles) -> Doubles:
    return np.log(p + 1e-9) - np.log1p(1e-9 - p)


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / name).read_text("utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    args = parser.parse_args()
    embedder = load_embedder("minilm")
    assert embedder is not None
    report: dict[str, Any] = {"task": "memory-heads-1", "seed": SEED, "folds": FOLDS, "embedder": embedder.fingerprint}
    clauses, pairs = rows("clauses.jsonl"), rows("pairs.jsonl")
    words, changes = common([row["text"] for row in clauses]), common([row["new"] for row in pairs])
    x = trained.clause(
        [row["text"] for row in clauses],
        embedder.embed([row["text"] for row in clauses]), {word: n for n, word in enumerate(words)},
    )  # fmt: skip
    keep = np.array([row["keep"] for row in clauses], np.float64)
    worth = train("worth", x, keep, report)
    always = train("always", x, np.array([row["always"] for row in clauses], np.float64), report)
    kept = x[keep == 1]
    topic_of = [row["topic"] for row in clauses if row["keep"]]
    topics = sorted(set(topic_of))
    wanted = np.array([[one == topic for topic in topics] for one in topic_of], np.float64)
    topic = np.stack([fit(kept, wanted[:, n], 1.0) for n in range(len(topics))])
    guessed = np.stack([crossed(kept, wanted[:, n], 1.0) for n in range(len(topics))]).argmax(axis=0)
    report["topic"] = {"rows": len(kept), "accuracy": round(float((guessed == wanted.argmax(axis=1)).mean()), 4)}
    print("topic", report["topic"])
    old = sameness.read([row["old"] for row in pairs], embedder)
    new = sameness.read([row["new"] for row in pairs], embedder)
    relation = [row["relation"] for row in pairs]
    signs = {word: n for n, word in enumerate(changes)}
    both = np.concatenate([trained.pairs(n, [o], signs) for n, o in zip(new, old, strict=True)])
    ends = train("ends", both, np.array([r == "closes" for r in relation], np.float64), report)
    same = train("same", both, np.array([r == "same" for r in relation], np.float64), report)
    heads = trained.Heads(worth, always, topic, tuple(topics), words, ends, same, np.zeros(6), changes)
    closing = train_closing(heads, new, old, both, relation, report)
    files = [HERE / "clauses.jsonl", HERE / "pairs.jsonl"]
    report["data_sha256"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    arrays = {"worth": worth, "always": always, "topic": topic, "ends": ends, "same": same, "closing": closing}
    np.savez_compressed(
        args.out, embedder=embedder.fingerprint, topics="\n".join(topics), words="\n".join(words),
        changes="\n".join(changes),
        **{name: array.astype(np.float16) for name, array in arrays.items()},
    )  # fmt: skip
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
