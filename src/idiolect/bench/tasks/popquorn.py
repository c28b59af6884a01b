"""POPQUORN: how offensive does this person find a comment, from 1 to 5?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from idiolect.bench.metrics import ACCURACY, mae, rmse
from idiolect.bench.predictors import item_and_own_mean, item_mean, majority_output, mean_output, own_mean
from idiolect.bench.task import Dataset, Metric, Predictor, Query, Task
from idiolect.bench.tasks._judgments import Row, Split, choice_query, csv_rows, whole
from idiolect.bench.tasks._shared import found, item_of, number
from idiolect.registry import task

_PUBLISHED = "https://github.com/Jiaxin-Pei/potato-prolific-dataset"
_NAME = "popquorn"
_OPTIONS = ("1", "2", "3", "4", "5")


@task(_NAME, paper="arXiv:2306.06826", published=_PUBLISHED, licence="as the source says")
@dataclass(frozen=True)
class Popquorn(Task):
    """A person's ratings of held-out comments, from the same person's other ratings; demographics are never shown.

    Of people with fewer than ``least`` ratings nothing is asked.
    """

    version: ClassVar = 2
    form: ClassVar = "choice"
    ordered: ClassVar = True
    metrics: ClassVar[tuple[Metric, ...]] = (mae(1, 5), rmse(1, 5), ACCURACY)
    predictors: ClassVar[Mapping[str, Predictor]] = {
        "majority": majority_output,
        "mean": mean_output,
        "item mean": item_mean,
        "own mean": own_mean,
        "item and own mean": item_and_own_mean,
    }
    max_tokens: ClassVar[int] = 8
    least: int = 10

    def load(self, data: Path) -> Dataset:
        """Read ``popquorn/*offensiveness*.csv``."""
        files = found(data, "popquorn/*offensiveness*.csv", where=_PUBLISHED)
        dropped: Counter[str] = Counter()
        people: dict[str, list[Row]] = {}
        for path in files:
            for cells in csv_rows(path, "user_id", "text", "offensiveness"):
                user, text = whole(cells["user_id"]) or cells["user_id"].strip(), cells["text"].strip()
                rating = whole(cells["offensiveness"])
                if not user or not text:
                    dropped["no user or no text"] += 1
                elif rating not in _OPTIONS:
                    dropped["a rating other than 1 to 5"] += 1
                else:
                    item = item_of(text)
                    people.setdefault(user, []).append(Row(item, item, text, rating))
        histories, asked = Split(0.2, 5, 20, self.least).apply(_NAME, "interaction", people, dropped)
        return Dataset(histories, [_query(*one) for one in asked], files, dropped)

    def parse(self, text: str, query: Query) -> str | None:
        """Return the first number of the answer, where it is from 1 to 5."""
        return number(text, 1, 5)


def _query(user: str, row: Row, time: float) -> Query:
    prompt = (
        f"Read this comment.\n\n{row.input}\n\n"
        "How offensive do you find it, from 1 (not at all) to 5 (very)? Answer with the number alone."
    )
    return choice_query(user, row, time, prompt, _OPTIONS, row.output)
