"""UKPConvArg: which of two arguments does this person find more convincing?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from idiolect.bench.metrics import ACCURACY
from idiolect.bench.predictors import majority_gold
from idiolect.bench.task import Dataset, Metric, Population, Predictor, Query, Task
from idiolect.bench.tasks._judgments import Row, Split, choice_query, letter, longer, own_length, pair_meta, pair_text
from idiolect.bench.tasks._shared import found, normal, read_rows, stable_rng
from idiolect.errors import SourceError
from idiolect.registry import task
from idiolect.types import Record

_PUBLISHED = "https://github.com/UKPLab/acl2016-convincing-arguments"
_NAME = "ukpconvarg"


@dataclass(frozen=True, slots=True)
class _Argument:
    id: str
    about: str
    text: str


def _others(query: Query, own: Sequence[Record], people: Population) -> str:
    """Choose as most other workers did with the same pair; where they are divided, or there are none, the longer."""
    votes = Counter(record.meta["chosen"] for record in people.item(query.item, query.user))
    first, second = _order(query.user, query.item)
    if votes[first] == votes[second]:
        return longer(query, own, people)
    return "A" if votes[first] > votes[second] else "B"


@task(_NAME, paper="Habernal and Gurevych 2016 (ACL P16-1150)", published=_PUBLISHED, licence="CC BY 4.0")
@dataclass(frozen=True)
class UKPConvArg(Task):
    """Choosing the more convincing of two arguments as one crowd worker did; pairs of the queries are never history.

    Ties stay in the histories and are not asked for. Workers with fewer than ``least`` judgments are not asked.
    """

    form: ClassVar = "choice"
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)
    predictors: ClassVar[Mapping[str, Predictor]] = {
        "majority": majority_gold,
        "longer": longer,
        "item mode": _others,
        "own length": own_length,
    }
    max_tokens: ClassVar[int] = 8
    least: int = 20

    def load(self, data: Path) -> Dataset:
        """Read ``ukpconvarg/*args*.jsonl`` and ``ukpconvarg/*judgments*.jsonl[.gz]``."""
        texts = found(data, "ukpconvarg/*args*.jsonl*", where=_PUBLISHED)
        files = found(data, "ukpconvarg/*judgments*.jsonl*", where=_PUBLISHED)
        arguments = _arguments(texts)
        dropped: Counter[str] = Counter()
        people: dict[str, list[Row]] = {}
        for path in files:
            for place, judgment in enumerate(read_rows(path), 1):
                worker = judgment.get("worker")
                if not isinstance(worker, str) or "a1" not in judgment or "choice" not in judgment:
                    raise SourceError(f"{path}, item {place}: no worker, a1 or choice. Is it another data set's file?")
                row = _row(worker, judgment, arguments)
                if isinstance(row, str):
                    dropped[row] += 1
                else:
                    people.setdefault(worker, []).append(row)
        histories, asked = Split(0.2, 5, 20, self.least).apply(_NAME, "preference", people, dropped)
        return Dataset(histories, [_query(*one) for one in asked], [*texts, *files], dropped)

    def parse(self, text: str, query: Query) -> str | None:
        """Return the letter that the answer begins with or names."""
        return letter(text, query)


def _arguments(files: Sequence[Path]) -> dict[str, _Argument]:
    """Return the arguments by id; those of one topic with the same text are one, under the first one's id."""
    out: dict[str, _Argument] = {}
    known: dict[tuple[str, str], _Argument] = {}
    for path in files:
        for place, row in enumerate(read_rows(path), 1):
            if not all(isinstance(row.get(name), str) and row[name].strip() for name in ("id", "topic", "text")):
                raise SourceError(f"{path}, item {place}: no id, topic or text. Repair the item or take it out.")
            if "|" in row["id"]:
                raise SourceError(f"{path}, item {place}: an id may not contain '|', which joins the ids of a pair.")
            topic = row["topic"].partition("_")[0].replace("-", " ").strip()
            about = f"Topic: {topic}. Stance: {str(row.get('stance') or 'not given').strip()}"
            new = _Argument(row["id"], about, " ".join(row["text"].split()))
            out[new.id] = known.setdefault((row["topic"], normal(new.text)), new)
    return out


def _order(worker: str, item: str) -> tuple[str, str]:
    """Return which argument of a pair stands as A and which as B before a worker."""
    first, second = item.split("|")
    return (first, second) if stable_rng(_NAME, worker, item).random() < 0.5 else (second, first)


def _row(worker: str, judgment: Mapping[str, Any], arguments: Mapping[str, _Argument]) -> Row | str:
    """Return one judgment as a row, or why it cannot be used."""
    one, two = (arguments.get(str(judgment.get(name))) for name in ("a1", "a2"))
    choice = judgment["choice"]
    if one is None or two is None:
        return "a judgment about an argument that is not there"
    if one is two:
        return "two arguments with the same text"
    if choice not in ("a1", "a2", "equal"):
        return "a choice other than a1, a2 or equal"
    item = "|".join(sorted((one.id, two.id)))
    chosen = {"a1": one.id, "a2": two.id, "equal": ""}[choice]
    first, second = ({one.id: one, two.id: two}[name].text for name in _order(worker, item))
    label = "equal" if not chosen else "A" if chosen == _order(worker, item)[0] else "B"
    # A line of history is cut within its input: the text that was chosen is told in the output.
    output = {"A": f"A: {first}", "B": f"B: {second}", "equal": "equal: both are as convincing"}[label]
    told = pair_meta(one.about, first, second, label)
    meta = {"chosen": chosen, "label": label, **told, "option_items": list(_order(worker, item))}
    return Row(item, item, pair_text(one.about, first, second), output, meta, asked=bool(chosen))


def _query(worker: str, row: Row, time: float) -> Query:
    prompt = (
        f"Here are two arguments.\n{row.input}\n\n"
        "Which of the two do you find more convincing? Answer with its letter alone: A or B."
    )
    return choice_query(worker, row, time, prompt, ("A", "B"), str(row.meta["label"]))
