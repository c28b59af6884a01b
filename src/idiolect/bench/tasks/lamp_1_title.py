"""LaMP-1 asked by title: the same decision for models that answer every question about labels with the same label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from idiolect.bench.metrics import ACCURACY
from idiolect.bench.predictors import popularity
from idiolect.bench.task import Dataset, Metric, Predictor, Query
from idiolect.bench.tasks._lamp import LICENCE, PAPER, PUBLISHED
from idiolect.bench.tasks._shared import exact_label
from idiolect.bench.tasks.lamp_1 import Citation, overlap
from idiolect.registry import task
from idiolect.types import Record


@task("lamp-1-title", paper=PAPER, published=PUBLISHED, licence=LICENCE)
@dataclass(frozen=True)
class CitationByTitle(Citation):
    """LaMP-1 by title: which of two references is the likelier title of a paper that the author cites?

    People, questions and right answers are LaMP-1's; the model scores the titles themselves instead of "[1]" and "[2]",
    and the history shows the author's titles alone. Figures do not compare with LaMP-1's.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)
    predictors: ClassVar[Mapping[str, Predictor]] = {"popularity": popularity, "overlap": overlap}
    normalize: ClassVar[Literal["sum", "byte"]] = "byte"
    name: ClassVar[str] = "lamp-1-title"

    def load(self, data: Path) -> Dataset:
        """Read LaMP-1 and ask it by title; a question with two equal titles is dropped."""
        found = super().load(data)
        queries = [self._asked_by_title(query) for query in found.queries]
        kept = [query for query in queries if len(set(query.options)) == 2]
        histories = {person: [_title(record) for record in history] for person, history in found.histories.items()}
        same = {"question whose two titles are the same": len(queries) - len(kept)} if len(kept) < len(queries) else {}
        return Dataset(histories, kept, found.files, {**found.dropped, **same})

    def parse(self, text: str, query: Query) -> str | None:
        """Return the title that a text is, exactly."""
        return exact_label(text, query.options)

    def _asked_by_title(self, query: Query) -> Query:
        titles = tuple(query.focus.split("\n"))
        message = {"role": "user", "content": "Give the title of a research paper that this author cites."}
        gold = titles[self.labels.index(query.gold)]
        return replace(query, messages=(message,), options=titles, gold=gold)


def _title(record: Record) -> Record:
    return replace(record, input="", output=" ".join(record.input.split()))
