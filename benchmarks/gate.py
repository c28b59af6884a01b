"""The gate in simulation: what serving each person by their own evidence gains, beside one method for all.

    python benchmarks/gate.py

People's true gains from two methods lie around +.03 and -.02 with a spread that is varied; each is measured on a
few questions with a noise of .3 a question. Beside: the best single method for all (chosen with the truth), each
person's own mean alone (no shrinkage), and the truth for each person. Seconds; writes results/gate.json.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

from idiolect.evidence.shrinkage import Measured, choose, pool, posterior

OUT = Path(__file__).parent / "results" / "gate.json"
NOISE, MEAN, CAUTION, REPEATS = 0.3, (0.03, -0.02), 0.25, 100
SIZES = ((200, 8), (40, 3), (40, 1))
"""People and questions each."""


def world(rng: np.random.Generator, spread: float, people: int, questions: int) -> dict[str, float]:
    true = np.array(MEAN) + rng.normal(size=(people, 2)) * spread
    found = [Measured.of(one[:, None] + rng.normal(size=(2, questions)) * NOISE) for one in true]
    prior = pool(found)
    judged = [posterior(one, prior) for one in found]
    gate = [choose(mean, sd, CAUTION) for mean, sd in judged]
    own = [choose(one.mean, one.mean * 0, 0.0) for one in found]

    def worth(picks: list[int]) -> float:
        return float(np.mean([0.0 if pick < 0 else gains[pick] for pick, gains in zip(picks, true, strict=True)]))

    covered = [np.abs(mean - gains) < 1.96 * sd for (mean, sd), gains in zip(judged, true, strict=True)]
    harmed = [pick >= 0 and gains[pick] < 0 for pick, gains in zip(gate, true, strict=True)]
    return {
        "gate": worth(gate), "best single method": max(0.0, float(true.mean(axis=0).max())),
        "own mean alone": worth(own), "truth": float(np.maximum(true, 0).max(axis=1).mean()),
        "covered": float(np.mean(covered)), "served to their harm": float(np.mean(harmed)),
    }  # fmt: skip


def main() -> None:
    rows = []
    for (people, questions), spread in itertools.product(SIZES, (0.0, 0.05, 0.1, 0.2, 0.4)):
        rng = np.random.default_rng(0)
        worlds = [world(rng, spread, people, questions) for _ in range(REPEATS)]
        means = {key: round(float(np.mean([w[key] for w in worlds])), 4) for key in worlds[0]}
        rows.append({"people": people, "questions": questions, "spread": spread} | means)
        print(rows[-1])
    told = {"noise": NOISE, "mean": MEAN, "caution": CAUTION, "repeats": REPEATS}
    OUT.write_text(json.dumps({"settings": told, "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
