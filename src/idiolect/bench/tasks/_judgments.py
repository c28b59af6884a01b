"""What the tasks of people's judgments share: one row a judgment, some of each person's held out, the rest history."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idiolect.bench.task import Population, Query
from idiolect.bench.tasks._shared import loose_label, stable_rng
from idiolect.errors import SourceError
from idiolect.types import Kind, Record

_LETTER = re.compile(r"\W*([AB])\b(?!\s+[a-z])")
_SECOND = "\n\nB: "


@dataclass(frozen=True, slots=True)
class Row:
    """What one person said of one item.

    ``item`` names what was judged, the same for everybody. Rows with the same ``unit`` (a text rated on several
    scales, a question with other answers) are held out together. A row that is not ``asked`` stays in the history.
    """

    item: str
    unit: str
    input: str
    output: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Split:
    """How much of a person's judgments is asked for: a ``share`` of the units, within limits, at most half.

    Of people with fewer than ``least`` rows nothing is asked; their records still tell what others think.
    """

    share: float
    low: int
    high: int
    least: int

    def draw(self, task: str, user: str, rows: Sequence[Row]) -> frozenset[str]:
        """Return the units of one person that are held out, the same in every run."""
        units = sorted({row.unit for row in rows if row.asked})
        if len(rows) < self.least:
            return frozenset()
        count = min(max(self.low, round(self.share * len(units))), self.high, len(units) // 2)
        return frozenset(stable_rng(task, user).sample(units, count))

    def apply(
        self, task: str, kind: Kind, people: Mapping[str, Sequence[Row]], dropped: Counter[str]
    ) -> tuple[dict[str, list[Record]], list[tuple[str, Row, float]]]:
        """Return everybody's history, and ``(user, row, time)`` for each row that is asked for.

        Of an item that the same person judged twice only the first judgment counts.
        """
        histories: dict[str, list[Record]] = {}
        asked: list[tuple[str, Row, float]] = []
        for user, given in sorted(people.items()):
            rows = list({row.item: row for row in reversed(given)}.values())[::-1]
            if len(rows) < len(given):
                dropped["judged by the same person before"] += len(given) - len(rows)
            units = self.draw(task, user, rows)
            kept = [row for row in rows if row.unit not in units]
            histories[user] = [_record(task, kind, user, place, row) for place, row in enumerate(kept, 1)]
            asked += [(user, row, len(kept) + 1.0) for row in rows if row.unit in units and row.asked]
        return histories, asked


def _record(task: str, kind: Kind, user: str, place: int, row: Row) -> Record:
    key = f"{user}/{place}/{row.item}"
    meta = {"item": row.item, **row.meta}
    return Record.new(user, row.output, time=float(place), kind=kind, input=row.input, source=task, meta=meta, key=key)


def choice_query(
    user: str, row: Row, time: float, prompt: str, options: Sequence[str], gold: str, group: str = ""
) -> Query:
    """Return the query that asks one person for one held-out judgment."""
    message = {"role": "user", "content": prompt}
    return Query(
        f"{user}/{row.item}", user, (message,), gold, tuple(options), focus=row.input, time=time, item=row.item,
        group=group, option_texts=tuple(row.meta.get("options", ())),
        option_items=tuple(row.meta.get("option_items", ())),
    )  # fmt: skip


# --- two things to choose from ----------------------------------------------------------------------------------------


def pair_text(about: str, first: str, second: str) -> str:
    """Return what stands before a person who chooses between two texts."""
    return f"{about}\n\nA: {first}{_SECOND}{second}"


def pair_meta(about: str, first: str, second: str, chosen: str) -> dict[str, Any]:
    """Return what the record of a choice tells besides its text: the texts, the one taken, whether it was the longer.

    Nothing is taken where ``chosen`` is neither "A" nor "B", and neither is longer where the lengths are equal.
    """
    told: dict[str, Any] = {"about": about, "options": [first, second]}
    if chosen not in ("A", "B"):
        return told
    told["choice"] = "AB".index(chosen)
    return told if len(first) == len(second) else {**told, "longer": (len(first) > len(second)) == (chosen == "A")}


def letter(text: str, query: Query) -> str | None:
    """Return the letter that an answer begins with, else the one it names."""
    match = _LETTER.match(text)
    return match[1] if match else loose_label(text, query.options)


def longer(query: Query, own: Sequence[Record], people: Population) -> str:
    """Choose the longer text, as people do on the whole."""
    first, _, second = query.focus.partition("\n\nA: ")[2].rpartition(_SECOND)
    return "A" if len(first) >= len(second) else "B"


def own_length(query: Query, own: Sequence[Record], people: Population) -> str:
    """Choose the longer text where this person mostly did, else the shorter."""
    chosen = [bool(record.meta["longer"]) for record in own if "longer" in record.meta]
    likes = 2 * sum(chosen) >= len(chosen)
    return longer(query, own, people) if likes else {"A": "B", "B": "A"}[longer(query, own, people)]


# --- files ------------------------------------------------------------------------------------------------------------


def csv_rows(path: Path, *columns: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a header that names at least ``columns``.

    Raises :class:`SourceError` with the file and the line for what is no such table.
    """
    try:
        # Line ends within cells are as the annotator's browser sent them; a language model would pay for "\r".
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}, byte {error.start}: not UTF-8. Save the file as UTF-8.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[dict[str, str]] = []
    try:
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise SourceError(f"{path}, line 1: no column {missing[0]!r}. Is it another data set's file?")
        for row in reader:
            if None in row or None in row.values():
                raise SourceError(f"{path}, line {reader.line_num}: not as many cells as the header. Repair the row.")
            rows.append(row)
    except csv.Error as error:
        raise SourceError(f"{path}, line {reader.reader.line_num}: {error}. Repair the row or take it out.") from error
    return rows


def whole(cell: str) -> str | None:
    """Return a whole number as it is shown ("2.0" gives "2"), None for anything else."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return str(int(value)) if value.is_integer() else None
