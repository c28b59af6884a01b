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
BATCHED = (*PYTORCH, "--set", "deterministic=false", "--set", "batch=16")
"""Sixteen at a time, several times as fast: in float32 what shares a batch moves a score by no more than a rounding."""
HALF = (*BATCHED, "--set", "dtype=bfloat16")
"""For processors with bfloat16 products: several times as fast again."""
FEW = "task_lora:layers=10:newest=12:epochs=2:batch=16:rate=0.001"
FEW_OWN = f"lora:context=[{FEW}]:layers=10:newest=20:epochs=2:rate=0.001"
JUDGING = ("profile+retrieval", FEW, f"{FEW}@other", FEW_OWN)
"""Tasks with hundreds of records a person."""
ALL = "task_lora:layers=15:newest=200:epochs=3:batch=16:rate=0.001"
EVERYBODY = (ALL, f"{ALL}@other")
BARE = "task_lora:context=none:layers=10:newest=40:epochs=2:batch=16:rate=0.001"
META = "meta_lora:context=none:layers=10"
MARKED = ("user_identifier:newest=40:epochs=2", "plora:newest=40:epochs=2")
"""What stands for the person in everybody's weights; with another person's costs no training."""
OTHERS = (
    BARE,
    *MARKED,
    *(f"{one}@other" for one in MARKED),
    f"user_adapter:context=[{BARE}]:newest=40:epochs=4",
    "lora:context=none:layers=10:newest=40:epochs=2",
    f"lora:context=none:layers=10:newest=40:epochs=2:start=[{META}]",
    "per_pcs:records=40:epochs=2:sharers=20",
    "profile_to_peft",
)
"""Without prompts: what the weights alone know of a person."""
RUNS: Runs = {
    "lamp-2n": ("lamp-2n", 141, METHODS, PYTORCH),
    "lamp-2n.wrong": ("lamp-2n", 141, WRONG, HALF),
    "lamp-2n.others": ("lamp-2n", 141, OTHERS, HALF),
    "lamp-4": ("lamp-4", 60, METHODS, BATCHED),
    "lamp-4.all": ("lamp-4", 254, EVERYBODY, HALF),
    "studemo": ("studemo", 48, JUDGING, BATCHED),
    "md-agreement": ("md-agreement", 40, JUDGING, BATCHED),
    "ukpconvarg": ("ukpconvarg", 30, JUDGING, HALF),
    "panza": ("panza", 40, METHODS, BATCHED),
}

if __name__ == "__main__":
    run(RUNS, __doc__, tokens=100, peers=30)
