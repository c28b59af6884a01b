"""How many questions tell what a person likes best: chosen pairs beside random ones, with people whose taste is known.

    python benchmarks/asking.py --out benchmarks/results/asking.json
    python benchmarks/asking.py --people 100 --ways asking random disagreement bald    # the rules that were tried

Each person has a taste drawn from the prior, 50 candidates with features drawn from a normal distribution, and answers
"this one or that one" with the noise of a logit. Every way updates the same posterior with each answer and never asks a
pair twice; they differ in which pair is asked alone. "needed" is the number of questions after which the candidate of
the highest mean is one of the person's three best and stays so for the rest of the run; who is not there at its end
counts as one more than were asked. "scale" is the standard deviation of a weight: at 1, two random candidates of 8
features differ by 4 nats on the average, at 0.5 by 2.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

import idiolect
from idiolect.alignment.shared.asking import DRAWS, SURE, Pair, best_chances, next_pair
from idiolect.alignment.shared.posterior import Choices, Doubles, Prior, draw_weights, laplace

CANDIDATES, TOP, SHOWN = 50, 3, (0, 1, 2, 3, 5, 8, 10, 15, 20)
Pick = Callable[[Doubles, Doubles, Doubles, Sequence[Pair], np.random.Generator], Pair]


def asking(x: Doubles, mean: Doubles, covariance: Doubles, asked: Sequence[Pair], rng: np.random.Generator) -> Pair:
    """The package's own: what tells most about which candidate is the best."""
    return next_pair(x, mean, covariance, asked) or random(x, mean, covariance, asked, rng)


def random(x: Doubles, mean: Doubles, covariance: Doubles, asked: Sequence[Pair], rng: np.random.Generator) -> Pair:
    """Any pair that was not asked."""
    while True:
        first, second = (int(one) for one in rng.choice(len(x), 2, replace=False))
        if (first, second) not in asked and (second, first) not in asked:
            return first, second


def uncertainty(
    x: Doubles, mean: Doubles, covariance: Doubles, asked: Sequence[Pair], rng: np.random.Generator
) -> Pair:
    """The pair whose answer is nearest to even under the mean taste."""
    utility = x @ mean
    pairs = _pairs(len(x))
    apart = np.abs(utility[pairs[:, 0]] - utility[pairs[:, 1]])
    return _best(pairs, -apart + 1e-9 * rng.random(len(apart)), asked)


def disagreement(
    x: Doubles, mean: Doubles, covariance: Doubles, asked: Sequence[Pair], rng: np.random.Generator
) -> Pair:
    """How evenly the draws disagree, times the variance of the difference."""
    pairs, utility = _pairs(len(x)), (draw_weights(mean, covariance, DRAWS) @ x.T).T
    apart = np.ascontiguousarray(utility)[pairs[:, 0]] - utility[pairs[:, 1]]
    even = (apart > 0).mean(axis=1)
    return _best(pairs, np.minimum(even, 1 - even) * apart.var(axis=1), asked)


def bald(x: Doubles, mean: Doubles, covariance: Doubles, asked: Sequence[Pair], rng: np.random.Generator) -> Pair:
    """What the answer tells about the taste as a whole."""
    pairs, utility = _pairs(len(x)), (draw_weights(mean, covariance, DRAWS) @ x.T).T
    likely = 1.0 / (1.0 + np.exp(utility[pairs[:, 1]] - utility[pairs[:, 0]]))
    return _best(pairs, _entropy(likely.mean(axis=1)) - _entropy(likely).mean(axis=1), asked)


WAYS: dict[str, Pick] = {
    "asking": asking, "random": random, "uncertainty": uncertainty, "disagreement": disagreement, "bald": bald,
}  # fmt: skip


def _pairs(count: int) -> np.ndarray:
    return np.array(list(combinations(range(count), 2)), np.int64)


def _entropy(likely: Doubles) -> Doubles:
    inside = np.clip(likely, 1e-12, 1 - 1e-12)
    return np.asarray(-inside * np.log(inside) - (1 - inside) * np.log1p(-inside))


def _best(pairs: np.ndarray, worth: Doubles, asked: Sequence[Pair]) -> Pair:
    done = {frozenset(pair) for pair in asked}
    found = (pairs[place].tolist() for place in np.argsort(-worth, kind="stable"))
    return next((first, second) for first, second in found if frozenset((first, second)) not in done)


def simulate(pick: Pick, people: int, features: int, scale: float, questions: int) -> dict[str, object]:
    """Ask everybody; all people's posteriors are updated at once."""
    rngs = [np.random.default_rng([11, features, number]) for number in range(people)]
    weights = np.array([scale * rng.normal(size=features) for rng in rngs])
    x = np.array([rng.normal(size=(CANDIDATES, features)) for rng in rngs])
    noise = np.array([rng.random(questions) for rng in rngs])
    utility = np.einsum("pcf,pf->pc", x, weights)
    top = np.argsort(-utility, axis=1)[:, :TOP]
    prior = Prior(np.zeros(features), scale**2 * np.eye(features))
    mean, covariance = np.zeros((people, features)), np.tile(prior.covariance, (people, 1, 1))
    asked: list[list[Pair]] = [[] for _ in rngs]
    taken: list[list[int]] = [[] for _ in rngs]
    good, gained, sure = [], [], []
    seconds = 0.0
    for turn in range(questions + 1):
        best = np.array([int((x[p] @ mean[p]).argmax()) for p in range(people)])
        good.append((top == best[:, None]).any(axis=1))
        level = utility.mean(axis=1)
        gained.append(((utility[np.arange(people), best] - level) / (utility.max(axis=1) - level)).mean())
        sure.append([best_chances(x[p], mean[p], covariance[p]).max() > SURE for p in range(people)])
        if turn == questions:
            break
        start = time.process_time()
        for p, rng in enumerate(rngs):
            asked[p].append(pick(x[p], mean[p], covariance[p], asked[p], rng))
        seconds += time.process_time() - start
        for p in range(people):
            first, second = asked[p][-1]
            taken[p].append(int(noise[p, turn] >= 1 / (1 + np.exp(utility[p, second] - utility[p, first]))))
        mean, covariance = _learnt(x, asked, taken, prior, mean)
    return _summary(np.array(good), gained, np.array(sure), seconds / people / questions)


def _learnt(
    x: Doubles, asked: Sequence[Sequence[Pair]], taken: Sequence[Sequence[int]], prior: Prior, start: Doubles
) -> tuple[Doubles, Doubles]:
    rows = np.concatenate([x[p][np.array(pairs)] for p, pairs in enumerate(asked)])
    person = np.repeat(np.arange(len(x)), len(asked[0]))
    choices = Choices(rows, np.ones(rows.shape[:2], bool), np.concatenate(taken).astype(np.int64), person, len(x))
    found = laplace(choices, prior, start)
    return found.mean, found.covariance


def _summary(good: np.ndarray, gained: Sequence[float], sure: np.ndarray, seconds: float) -> dict[str, object]:
    questions = len(good) - 1
    needed = np.where(good.all(axis=0), 0, len(good) - np.argmax(~good[::-1], axis=0))
    spread = np.percentile(needed, [25, 50, 75])
    stopped = np.where(sure.any(axis=0), np.argmax(sure, axis=0), questions + 1)
    shown = [count for count in SHOWN if count <= questions]
    return {
        "needed, quartiles": [float(one) for one in spread],
        "among the three best after": {str(count): round(float(good[count].mean()), 3) for count in shown},
        "share of the possible gain after": {str(count): round(float(gained[count]), 3) for count in shown},
        f"questions until P(best) > {SURE}, median": float(np.median(stopped)),
        "processor ms a question": round(seconds * 1e3, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--features", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0])
    parser.add_argument("--questions", type=int, default=30)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=["asking", "random", "uncertainty"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    results = {
        f"{features} features, scale {scale:g}": {
            way: simulate(WAYS[way], args.people, features, scale, args.questions) for way in args.ways
        }
        for features in args.features
        for scale in args.scales
    }
    document = {
        "machine": {
            "cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform(),
            "numpy": np.__version__, "load before": round(load, 1), "load after": round(os.getloadavg()[0], 1),
        },
        "idiolect": idiolect.__version__, "commit": _commit(), "people": args.people, "candidates": CANDIDATES,
        "questions": args.questions, "draws": DRAWS, "seed": 11, "results": results,
    }  # fmt: skip
    print(json.dumps(document, indent=1))
    if args.out:
        args.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _commit() -> str:
    here = Path(__file__).parent
    done = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
