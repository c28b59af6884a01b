"""What a task is: people with histories, questions with a gold answer, and how an answer is scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from idiolect.types import Message, Option, Record

Doubles = npt.NDArray[np.float64]
Form = Literal["choice", "rank", "text"]
"""``choice``: one of the options is right; ``rank``: the options are put in order; ``text``: free text."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question asked of one person.

    ``messages`` is the bare prompt, byte for byte what a model without personalization gets. ``focus`` is the part of
    it that retrieval searches for (empty: the last user message). Records at or after ``time`` are hidden. ``item``
    names the thing asked about: a record with the same ``meta["item"]`` may not stand in the person's own history and
    is hidden where another person's history is tried. ``group`` is a stratum that the result also shows apart.
    """

    id: str
    user: str
    messages: tuple[Message, ...]
    gold: str
    options: tuple[str, ...] = ()
    focus: str = ""
    time: float = float("inf")
    item: str = ""
    group: str = ""
    option_items: tuple[str, ...] = ()
    """Items of the options, where they are things that people have records about."""
    evidence: tuple[str, ...] = ()
    """Ids of the records that hold the answer, where they are known."""
    foils: tuple[str, ...] = ()
    """Other people's answers to the same question: the gold should be likelier than these."""
    reference: tuple[str, ...] = ()
    """Texts of the same author, for metrics of style."""
    option_texts: tuple[str, ...] = ()
    """What the options stand for, where they are only letters."""

    @property
    def choices(self) -> tuple[Option, ...]:
        """The options with what they stand for and the names of the things."""
        texts = self.option_texts or ("",) * len(self.options)
        items = self.option_items or ("",) * len(self.options)
        return tuple(Option(*one) for one in zip(self.options, texts, items, strict=True))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a method, a control or a predictor answered.

    ``label`` is the parsed answer, ``None`` where it could not be parsed. ``scores`` are the options' log
    probabilities [nats], in the order of the options, normalized as the task says; empty where the backend gives
    none. ``gold_nats`` and ``foil_nats`` are log probabilities of the gold's and the foils' first
    :attr:`Task.likelihood_chars` characters.
    """

    text: str
    label: str | None
    scores: tuple[float, ...] = ()
    calibrated: str | None = None
    """The option that is best once each option's mean score over all queries is taken off."""
    gold_nats: float | None = None
    foil_nats: tuple[float, ...] = ()
    used: tuple[str, ...] = ()
    """Ids of the records that stood in the prompt, whole."""
    ranked: tuple[str, ...] = ()
    """Ids of the records in the order that the search put them (:attr:`Task.search_depth`)."""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    prompt: str = ""
    """Hash of the prompt."""
    failure: str = ""
    """Why there is no answer (the prompt was too long ...)."""


@dataclass(frozen=True)
class Dataset:
    """A loaded task. ``histories`` holds each person's records; a query sees those from before its own time."""

    histories: Mapping[str, Sequence[Record]]
    queries: Sequence[Query]
    files: Sequence[Path] = ()
    """What was read, for the data hash."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Rows that were left out, by reason."""


@dataclass(frozen=True)
class Population:
    """Everybody's histories, for predictors that need no language model."""

    histories: Mapping[str, Sequence[Record]]
    queries: Sequence[Query]

    @cached_property
    def _outputs(self) -> Counter[str]:
        return Counter(record.output for history in self.histories.values() for record in history)

    @cached_property
    def _items(self) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for history in self.histories.values():
            for record in history:
                if "item" in record.meta:
                    found.setdefault(str(record.meta["item"]), []).append(record)
        return found

    @cached_property
    def _golds(self) -> Counter[str]:
        return Counter(query.gold for query in self.queries)

    @cached_property
    def _golds_of(self) -> dict[str, Counter[str]]:
        found: dict[str, Counter[str]] = {}
        for query in self.queries:
            found.setdefault(query.user, Counter())[query.gold] += 1
        return found

    def outputs(self, without: str) -> Counter[str]:
        """Count what everybody but one person answered, in the histories."""
        return self._outputs - Counter(record.output for record in self.histories.get(without, ()))

    def golds(self, without: str) -> Counter[str]:
        """Count the right answers to everybody's queries but one person's."""
        return self._golds - self._golds_of.get(without, Counter())

    def item(self, item: str, without: str) -> list[Record]:
        """Return what everybody but one person answered about an item."""
        return [record for record in self._items.get(item, ()) if record.user_id != without]


Predictor = Callable[[Query, Sequence[Record], Population], "str | Sequence[float] | None"]
"""``(query, own history, population) -> label``, or a score for each option, or None where it has nothing to say."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: either a ``score`` per query (a mean within each person, then over people) or a ``pooled`` one.

    ``score(query, answer)`` gives a number, or ``None`` where the query does not count. ``pooled(queries, answers,
    weights [resamples, queries])`` gives ``[resamples]`` values over all queries, weighted; it serves metrics that are
    no means (F1, RMSE, AUC).
    """

    name: str
    better: Literal["higher", "lower"] = "higher"
    score: Callable[[Query, Answer], float | None] | None = None
    pooled: Callable[[Sequence[Query], Sequence[Answer], Doubles], Doubles] | None = None


class Task:
    """Base of all tasks: a frozen dataclass with settings for fields, registered with ``@task``.

    The first of ``metrics`` is the main one: it must have a ``score``, and gains and losses of people are told in it.
    """

    version: ClassVar[int] = 1
    """Raised whenever the same data would give other queries, prompts or scores."""
    form: ClassVar[Form] = "choice"
    metrics: ClassVar[tuple[Metric, ...]] = ()
    predictors: ClassVar[Mapping[str, Predictor]] = {}
    """Cheap predictors without a language model, by name; at least one knows the population, one the person."""
    normalize: ClassVar[Literal["sum", "byte"]] = "sum"
    """Options are compared by their log probability, or by that per UTF-8 byte (for options of very unlike length)."""
    ordered: ClassVar[bool] = False
    """Whether the options are numbers in rising order, and the error is how far one is off: the median answers."""
    max_tokens: ClassVar[int] = 48
    stop: ClassVar[tuple[str, ...]] = ("\n",)
    likelihood_chars: ClassVar[int] = 0
    """Also score so many characters of the gold and the foils by likelihood (``text`` tasks)."""
    writes: ClassVar[bool] = True
    """Whether ``text`` tasks let the model write where they could be scored by likelihood alone."""
    search_depth: ClassVar[int] = 0
    """Also note the first so many records that the search finds (tasks with known evidence)."""

    def load(self, data: Path) -> Dataset:
        """Read the task from a data folder; :class:`SourceError` says what is missing and where it is published."""
        raise NotImplementedError

    def parse(self, text: str, query: Query) -> str | None:
        """Return the answer that a generated text gives, or None where it gives none."""
        raise NotImplementedError
