"""P-SOUPS: which of two replies does this persona prefer?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from idiolect.bench.metrics import ACCURACY
from idiolect.bench.predictors import majority_gold
from idiolect.bench.task import Dataset, Metric, Predictor, Query, Task
from idiolect.bench.tasks._judgments import Row, Split, choice_query, letter, longer, own_length, pair_meta, pair_text
from idiolect.bench.tasks._shared import found, item_of, normal, read_rows, stable_rng
from idiolect.errors import SourceError
from idiolect.registry import task

_PUBLISHED = "https://github.com/JinaLeejnl/AlignX (this form) and https://github.com/joeljang/RLPHF (the original)"
_NAME = "p-soups"
_FEEDBACK = "Pair-wise Comparative Feedback"
_CHARS = 600
"""A reply longer than this is cut."""


@task(_NAME, paper="arXiv:2310.11564", published=_PUBLISHED, licence="as the source says")
@dataclass(frozen=True)
class PSoups(Task):
    """A persona's choices between two replies, from its choices at other prompts: two people only, so a pilot.

    A prompt is either held out with all its pairs, or history. Neither the persona nor the profile is ever shown.
    """

    form: ClassVar = "choice"
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)
    predictors: ClassVar[Mapping[str, Predictor]] = {
        "majority": majority_gold,
        "longer": longer,
        "own length": own_length,
    }
    max_tokens: ClassVar[int] = 8

    def load(self, data: Path) -> Dataset:
        """Read ``p_soups/*.json``: pairs with their persona, and the earlier choices that each carries."""
        files = found(data, "p_soups/*.json", where=_PUBLISHED)
        dropped: Counter[str] = Counter()
        personas: dict[str, str] = {}
        pairs: list[tuple[str, Mapping[str, Any], bool]] = []
        for path in files:
            for place, entry in enumerate(read_rows(path)):
                persona = entry.get("ground_truth_persona")
                if not isinstance(persona, str):
                    raise SourceError(f"{path}, item {place}: no ground_truth_persona. Is it another data set's file?")
                user = f"persona-{item_of(persona)[:8]}"
                personas[user] = persona
                pairs.append((user, entry, True))
                pairs += [(user, pair, False) for pair in entry.get(_FEEDBACK) or () if isinstance(pair, dict)]
        people: dict[str, list[Row]] = {}
        # Pairs to ask for come first, so that one which is also among the earlier choices is still asked for.
        for user, pair, asked in sorted(pairs, key=lambda pair: not pair[2]):
            row = _row(user, pair, asked=asked)
            if isinstance(row, str):
                dropped[row] += 1
            else:
                people.setdefault(user, []).append(row)
        histories, held = Split(0.4, 1, 1000, 2).apply(_NAME, "preference", people, dropped)
        return Dataset(histories, [_query(*one, personas[one[0]]) for one in held], files, dropped)

    def parse(self, text: str, query: Query) -> str | None:
        """Return the letter that the answer begins with or names."""
        return letter(text, query)


def _row(user: str, pair: Mapping[str, Any], *, asked: bool) -> Row | str:
    texts = [pair.get(name) for name in ("prompt", "chosen", "rejected")]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        return "a pair without prompt, chosen or rejected text"
    prompt, chosen, rejected = (str(text).strip() for text in texts)
    if normal(chosen) == normal(rejected):
        return "two replies with the same text"
    unit = item_of(prompt)
    item = f"{unit}/{item_of(min(chosen, rejected))}/{item_of(max(chosen, rejected))}"
    label = "A" if stable_rng(_NAME, user, item).random() < 0.5 else "B"
    first, second = (_cut(text) for text in ((chosen, rejected) if label == "A" else (rejected, chosen)))
    # A line of history is cut within its input: the text that was chosen is told in the output.
    meta = {"label": label, **pair_meta(prompt, first, second, label)}
    return Row(item, unit, pair_text(prompt, first, second), f"{label}: {_cut(chosen)}", meta, asked)


def _cut(text: str) -> str:
    return text if len(text) <= _CHARS else text[:_CHARS].rsplit(" ", 1)[0] + " ..."


def _query(user: str, row: Row, time: float, persona: str) -> Query:
    prompt = (
        f"Here are a request and two replies to it.\nRequest: {row.input}\n\n"
        "Which of the two replies do you prefer? Answer with its letter alone: A or B."
    )
    return choice_query(user, row, time, prompt, ("A", "B"), str(row.meta["label"]), persona)
