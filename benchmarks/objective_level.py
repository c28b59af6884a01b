"""Whose preferences, with a language model beside: past choices in the prompt, another person's, and the same on text.

    python benchmarks/objective_level.py --data ../shared/data --out benchmarks/results/objective
    python benchmarks/objective_level.py --data DIR --out DIR --only lamp-4 --scale 0.5

``retrieval`` puts a person's past choices into the prompt, the baseline that is hard to beat (arXiv:2512.23067);
``@other`` reads another person's. What is written (headlines, rewritten e-mails) is the best of eight drafts by the
reward that was learnt from people's own texts over drafts.
"""

from __future__ import annotations

from input_level import Runs, run
from model_level import HALF

CHOICES = ("retrieval", "preference", "preference@other")
BEST = "preference:n=8:replays=2"
ANY = "preference:n=1:replays=2"
"""A single draft is one at random: what choosing among eight is worth shows beside it."""
WRITTEN = ("retrieval", ANY, BEST, f"{BEST}@other", f"retrieval+{BEST}")
WRITING = (*HALF, "--set", "batch=32", "--peers", "20")
RUNS: Runs = {
    **{
        task: (task, 60, CHOICES, HALF)
        for task in ("ukpconvarg", "opinionqa", "p-soups", "md-agreement", "popquorn", "studemo")
    },
    "lamp-4": ("lamp-4", 40, WRITTEN, WRITING),
    "popquorn-email": ("popquorn-email", 24, WRITTEN, WRITING),
}

if __name__ == "__main__":
    run(RUNS, __doc__, tokens=200, peers=3000)
