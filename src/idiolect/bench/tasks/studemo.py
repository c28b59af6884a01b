"""StudEmo: how strongly does this annotator feel what a review tells?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from idiolect.bench.metrics import ACCURACY, MACRO_F1
from idiolect.bench.task import Dataset, Metric, Population, Predictor, Query, Task
from idiolect.bench.tasks._judgments import Row, Split, csv_rows, whole
from idiolect.bench.tasks._shared import found, item_of, number
from idiolect.errors import ConfigError
from idiolect.registry import task
from idiolect.types import Record

_PUBLISHED = "https://aclanthology.org/2022.nlperspectives-1.7"
_NAME = "studemo"
_SCALES = ("joy", "trust", "anticipation", "surprise", "fear", "sadness", "disgust", "anger", "valence", "arousal")
_ENDS = {
    "valence": "how pleasant it feels: a negative number for unpleasant, a positive one for pleasant",
    "arousal": "how stirred up one feels: 0 for calm, more for more stirred up",
}


def _mode(query: Query, records: Iterable[Record]) -> str | None:
    """Return the commonest value on the query's scale, the smallest of those that tie."""
    counts = Counter(record.output for record in records if record.meta["scale"] == query.group)
    return min(counts, key=lambda value: (-counts[value], float(value))) if counts else None


def _others_mode(query: Query, own: Sequence[Record], people: Population) -> str | None:
    """The value that the other annotators gave most often on this scale."""
    return _mode(query, (r for user, records in people.histories.items() if user != query.user for r in records))


def _own_mode(query: Query, own: Sequence[Record], people: Population) -> str | None:
    """The value that this annotator gave most often on this scale; without any, the others' one."""
    return _mode(query, own) or _others_mode(query, own, people)


def _item(query: Query, own: Sequence[Record], people: Population) -> str | None:
    """The value that others gave the same text on this scale; without any, this scale's commonest."""
    return _mode(query, people.item(query.item, query.user)) or _others_mode(query, own, people)


@task(_NAME, paper="Ngo et al. 2022 (ACL 2022.nlperspectives-1.7)", published=_PUBLISHED, licence="as the source says")
@dataclass(frozen=True)
class StudEmo(Task):
    """One annotator's rating of a held-out review, on each of the chosen emotion scales.

    A text is held out on all its scales at once. Of who rated fewer than ``least`` texts nothing is asked.
    """

    form: ClassVar = "choice"
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY, MACRO_F1)
    predictors: ClassVar[Mapping[str, Predictor]] = {
        "majority": _others_mode,
        "item mode": _item,
        "own mode": _own_mode,
    }
    max_tokens: ClassVar[int] = 8
    scales: tuple[str, ...] = ("valence", "arousal")
    least: int = 40

    def load(self, data: Path) -> Dataset:
        """Read ``studemo/*annotation*.csv`` and ``studemo/*text*.csv``."""
        if not self.scales or not set(self.scales) <= set(_SCALES):
            raise ConfigError(f"studemo.scales must be one or more of {', '.join(_SCALES)}; got {self.scales!r}")
        files = found(data, "studemo/*annotation*.csv", where=_PUBLISHED)
        read = found(data, "studemo/*text*.csv", where=_PUBLISHED)
        texts = {row["text_id"]: row["text"].strip() for path in read for row in csv_rows(path, "text_id", "text")}
        dropped: Counter[str] = Counter()
        people: dict[str, list[Row]] = {}
        for path in files:
            for cells in csv_rows(path, "text_id", "annotator_id", *self.scales):
                text = texts.get(cells["text_id"])
                if not text or not cells["annotator_id"].strip():
                    dropped["a rating of a text that is not there" if not text else "no annotator"] += 1
                    continue
                for scale in self.scales:
                    value = whole(cells[scale])
                    if value is None:
                        dropped[f"{scale} is no whole number"] += 1
                    else:
                        people.setdefault(cells["annotator_id"].strip(), []).append(_row(text, scale, value))
        options = {scale: _values(people, scale) for scale in self.scales}
        people = {user: [_with_choice(row, options) for row in rows] for user, rows in people.items()}
        # 20 texts of each annotator, whatever the number of scales.
        split = Split(0.0, 20, 20, self.least * len(self.scales))
        histories, asked = split.apply(_NAME, "interaction", people, dropped)
        return Dataset(histories, [_query(*one, options) for one in asked], [*files, *read], dropped)

    def parse(self, text: str, query: Query) -> str | None:
        """Return the first number of the answer, where it is on the scale."""
        value = number(text, float(query.options[0]), float(query.options[-1]))
        return value if value in query.options else None


def _row(text: str, scale: str, value: str) -> Row:
    unit = item_of(text)
    # The scale stands first: a line of history is cut at the end of its input.
    return Row(f"{unit}/{scale}", unit, f"{scale} | {text}", value, {"scale": scale})


def _with_choice(row: Row, options: Mapping[str, tuple[str, ...]]) -> Row:
    """Return a row that tells which values of its scale there are, and which one was given."""
    values = options[row.meta["scale"]]
    told = {"options": list(values), "choice": values.index(row.output), "labels": True}
    return replace(row, meta={**row.meta, **told})


def _values(people: Mapping[str, Sequence[Row]], scale: str) -> tuple[str, ...]:
    """Return the values that anybody gave on a scale, rising."""
    given = {row.output for rows in people.values() for row in rows if row.meta["scale"] == scale}
    return tuple(sorted(given, key=float))


def _query(user: str, row: Row, time: float, options: Mapping[str, tuple[str, ...]]) -> Query:
    scale = str(row.meta["scale"])
    values = options[scale]
    meaning = _ENDS.get(scale, "0 for not at all, more for stronger")
    prompt = (
        f"Read this review.\n\n{row.input.removeprefix(f'{scale} | ')}\n\n"
        f"How do you rate the {scale} that it makes you feel ({meaning})? "
        f"Answer with one of these numbers alone: {', '.join(values)}."
    )
    return Query(
        f"{user}/{row.item}",
        user,
        ({"role": "user", "content": prompt},),
        gold=row.output,
        options=values,
        focus=row.input,
        time=time,
        item=row.item,
        group=scale,
    )
