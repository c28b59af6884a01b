"""LaMP-3: the stars that a person gives with a review."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from idiolect.bench.metrics import ACCURACY, mae, rmse
from idiolect.bench.predictors import item_mean, majority_output, mean_output, nearest, own_mean, own_mode
from idiolect.bench.task import Metric, Predictor, Query
from idiolect.bench.tasks._lamp import LICENCE, PAPER, PUBLISHED, Lamp
from idiolect.registry import task
from idiolect.types import Kind


@task("lamp-3", paper=PAPER, published=PUBLISHED, licence=f"{LICENCE}; the reviews: the source's terms")
@dataclass(frozen=True)
class ProductRating(Lamp):
    """LaMP-3, product rating: how many stars, 1 to 5, go with the person's review?"""

    version: ClassVar[int] = 2
    ordered: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (mae(1, 5), rmse(1, 5), ACCURACY)
    predictors: ClassVar[Mapping[str, Predictor]] = {
        "majority": majority_output,
        "mean": mean_output,
        "item mean": item_mean,
        "own mean": own_mean,
        "own mode": own_mode,
        "nearest own": nearest,
    }
    max_tokens: ClassVar[int] = 8
    name: ClassVar[str] = "lamp-3"
    official: ClassVar[tuple[str, ...]] = ("LaMP_3",)
    files: ClassVar[str] = "lamp3_*"
    before: ClassVar[str] = "text"
    after: ClassVar[str] = "score"
    kind: ClassVar[Kind] = "interaction"
    thing: ClassVar[str] = "product"
    marker: ClassVar[str] = "review:"
    ask: ClassVar[str] = (
        "How many stars, from 1 to 5, did the author of this review give? "
        "Answer with the number alone.\n\nReview: {text}"
    )
    labels: ClassVar[tuple[str, ...]] = ("1", "2", "3", "4", "5")

    def gold(self, value: object) -> str | None:
        """Return whole stars out of "5", "5.0" or 5.0; None for what is not on the scale."""
        try:
            stars = float(str(value))
        except ValueError:
            return None
        return f"{stars:g}" if f"{stars:g}" in self.labels else None

    def output(self, value: object) -> str | None:
        """Return a history item's stars; the same rule."""
        return self.gold(value)

    def parse(self, text: str, query: Query) -> str | None:
        """Return the number that the text is, by LaMP's rule also one off the scale; None where it is no number."""
        try:
            value = float(text)
        except ValueError:
            return None
        return f"{value:g}" if math.isfinite(value) else None
