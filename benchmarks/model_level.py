"""Weights for every person on public data, beside none, retrieval, another person's history and predictors.

    python benchmarks/model_level.py --data ../shared/data --out benchmarks/results/model
    python benchmarks/model_level.py --data DIR --out DIR --only lamp-2n --scale 0.3

Hours on 2 cores: training 940 records of 255 tokens twice over the last ten layers is 92 * 10^12 operations, and as
much again for each person's own adapter on top. Answers and adapters are kept, so that a run that was ended goes on.
"""

from __future__ import annotations

from input_level import Runs, run

TASK = "task_lora:layers=10:newest=40:epochs=2:batch=16:rate=0.001"
OWN = f"lora:context=[{TASK}]:layers=10:newest=40:epochs=2:rate=0.001"
METHODS = ("retrieval", "profile+retrieval", TASK, f"{TASK}@other", OWN)
"""What everybody's adapter does with another person's records costs no training; another person's adapter does."""
WRONG = (TASK, OWN, f"{OWN}@other")
PYTORCH = ("--backend", "transformers", "--set", "dtype=float32")
RUNS: Runs = {
    "lamp-2n": ("lamp-2n", 141, METHODS, PYTORCH),
    "lamp-2n.wrong": ("lamp-2n", 141, WRONG, PYTORCH),
    "lamp-4": ("lamp-4", 100, METHODS, PYTORCH),
    "studemo": ("studemo", 160, METHODS, PYTORCH),
    "md-agreement": ("md-agreement", 160, METHODS, PYTORCH),
    "ukpconvarg": ("ukpconvarg", 160, METHODS, PYTORCH),
    "panza": ("panza", 40, METHODS, PYTORCH),
}

if __name__ == "__main__":
    run(RUNS, __doc__, tokens=100, peers=30)
