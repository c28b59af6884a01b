"""OpinionQA: what does this respondent of a survey answer to a question not seen yet?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from idiolect.bench.metrics import ACCURACY
from idiolect.bench.predictors import item_mode, majority_gold, nearest
from idiolect.bench.task import Dataset, Metric, Population, Predictor, Query, Task
from idiolect.bench.tasks._judgments import Row, Split
from idiolect.bench.tasks._shared import found, item_of, loose_label, read_rows
from idiolect.errors import SourceError
from idiolect.registry import task
from idiolect.types import Record

_PUBLISHED = "https://github.com/tatsu-lab/opinions_qa"
_NAME = "opinionqa"


def _nation(query: Query, own: Sequence[Record], people: Population) -> str | None:
    """The answer that most of the nation gave; where nobody else was asked the question, the others' usual one."""
    modal = next((str(r.meta["modal"]) for r in people.item(query.item, query.user) if "modal" in r.meta), None)
    return modal if modal in query.options else item_mode(query, own, people)


def _nearest(query: Query, own: Sequence[Record], people: Population) -> str | None:
    """The answer to the nearest of the own questions that had the same choices; without one, what others answer."""
    alike = [record for record in own if tuple(record.meta["options"]) == query.options]
    return nearest(query, alike, people) if alike else item_mode(query, own, people)


@task(_NAME, paper="arXiv:2303.17548", published=_PUBLISHED, licence="Pew Research Center terms of use")
@dataclass(frozen=True)
class OpinionQA(Task):
    """A respondent's held-out answers, from the same person's other answers in one wave of the survey.

    Questions that begin alike are held out together. Who gave fewer than ``least`` answers is not asked.
    """

    form: ClassVar = "choice"
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)
    predictors: ClassVar[Mapping[str, Predictor]] = {
        "majority": majority_gold,
        "nation": _nation,
        "item mode": item_mode,
        "nearest own": _nearest,
    }
    normalize: ClassVar = "byte"
    least: int = 10

    def load(self, data: Path) -> Dataset:
        """Read ``opinionqa/*questions*.jsonl`` and ``opinionqa/*users*.jsonl``."""
        asked_of = found(data, "opinionqa/*questions*.jsonl*", where=_PUBLISHED)
        files = found(data, "opinionqa/*users*.jsonl*", where=_PUBLISHED)
        questions = _questions(asked_of)
        dropped: Counter[str] = Counter()
        people: dict[str, list[Row]] = {}
        for path in files:
            for place, person in enumerate(read_rows(path), 1):
                user, answers = person.get("user_id"), person.get("answers")
                if not isinstance(user, str) or not isinstance(answers, dict):
                    raise SourceError(f"{path}, item {place}: no user_id or answers. Is it another data set's file?")
                rows = people.setdefault(user, [])
                for name, choice in answers.items():
                    row = _row(questions.get(name), choice)
                    if isinstance(row, str):
                        dropped[row] += 1
                    else:
                        rows.append(row)
        histories, asked = Split(0.2, 5, 20, self.least).apply(_NAME, "preference", people, dropped)
        return Dataset(histories, [_query(*one) for one in asked], [*asked_of, *files], dropped)

    def parse(self, text: str, query: Query) -> str | None:
        """Return the one choice that the answer is or names."""
        return loose_label(text, query.options)


def _questions(files: Sequence[Path]) -> dict[str, Mapping[str, Any]]:
    out: dict[str, Mapping[str, Any]] = {}
    for path in files:
        for place, row in enumerate(read_rows(path), 1):
            texts = isinstance(row.get("qid"), str) and isinstance(row.get("question"), str)
            choices = row.get("choices")
            if not texts or not isinstance(choices, list) or not all(isinstance(one, str) for one in choices):
                raise SourceError(f"{path}, item {place}: no qid, question or choices (texts). Repair the item.")
            out[row["qid"]] = row
    return out


def _row(question: Mapping[str, Any] | None, choice: object) -> Row | str:
    """Return one answer as a row, or why it cannot be used."""
    if question is None:
        return "an answer to a question that is not there"
    text, choices = question["question"].strip(), [one.strip() for one in question["choices"]]
    if len(set(choices)) < 2:
        return "a question without two different choices"
    if type(choice) is not int or not 0 <= choice < len(choices):
        return "an answer that is none of the choices"
    meta: dict[str, Any] = {"options": choices, "choice": choice}
    known = {"": _shares(question.get("modal"))}
    known |= {str(party): _shares(told) for party, told in (question.get("by_party") or {}).items()}
    meta["known"] = {group: shares for group, shares in known.items() if shares}
    modal = question.get("modal")
    if isinstance(modal, list) and modal and isinstance(modal[0], list) and len(modal[0]) == 2:
        meta["modal"] = str(modal[0][1]).strip()
    return Row(item_of("\n".join([text, *choices])), item_of(text), text, choices[choice], meta)


def _shares(told: object) -> dict[str, float]:
    """Return the shares of a group's commonest answers, as they were published."""
    pairs = [one for one in told if isinstance(one, list) and len(one) == 2] if isinstance(told, list) else []
    return {str(choice).strip(): float(share) for share, choice in pairs if isinstance(share, int | float)}


def _query(user: str, row: Row, time: float) -> Query:
    choices = tuple(row.meta["options"])
    listed = "\n".join(f"- {choice}" for choice in choices)
    prompt = (
        f"This is a question of a survey.\n\n{row.input}\n\nThe choices:\n{listed}\n\n"
        "How do you answer? Write one of the choices, word for word, and nothing else."
    )
    return Query(
        f"{user}/{row.item}",
        user,
        ({"role": "user", "content": prompt},),
        gold=row.output,
        options=choices,
        focus=row.input,
        time=time,
        item=row.item,
    )
