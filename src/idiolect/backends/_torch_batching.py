"""One running batch for all threads: answers join between two steps and leave when they end (Orca, OSDI 2022).

There is no thread of its own: of those that wait for their answers one at a time takes the next step for all.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from idiolect.backends._torch_decoding import Answer, by_length
from idiolect.backends._torch_engine import Engine, Row
from idiolect.errors import ModelError
from idiolect.types import Chunk

if TYPE_CHECKING:
    from idiolect.backends._torch_adapters import Plan, Weights
    from idiolect.backends._torch_cache import RowCache

_Inbox = deque[tuple[int, Chunk | Exception]]


@dataclass(slots=True, eq=False)
class _Request:
    # An answer on its way, the reader's number for it, and where the reader looks for its chunks.
    number: int
    answer: Answer
    inbox: _Inbox
    gone: bool = False  # nobody reads it any more
    places: list[int] = field(default_factory=list)  # its branches' rows in the batch


class Batching:
    """Answers of many threads in one batch of at most ``limit`` rows; an answer of more rows goes alone."""

    def __init__(self, engine: Engine, limit: int) -> None:
        """Begin with nothing to do."""
        self.engine, self.limit = engine, limit
        self._waiting = deque[_Request]()
        self._batch = _Batch(engine)
        self._turns = threading.Condition()
        self._leader = 0  # the thread that takes a step

    @property
    def rows(self) -> int:
        """How many rows are in the batch."""
        return len(self._batch)

    def run(self, answers: Sequence[Answer]) -> Iterator[tuple[int, Chunk]]:
        """Yield ``(index, chunk)`` as the answers grow; raise what went wrong with one of them.

        Once the iterator is closed its rows are free, at the end of a step that is under way.
        """
        if self._leader == threading.get_ident():  # a processor of logits asks the model itself
            yield from Batching(self.engine, self.limit).run(answers)
            return
        inbox: _Inbox = deque()
        todo = deque(_Request(n, answers[n], inbox) for n in by_length(answers))
        open_: dict[int, _Request] = {}
        try:
            while todo or open_:
                while todo and (not open_ or self._fits(open_.values(), todo[0])):
                    request = todo.popleft()
                    open_[request.number] = request
                    with self._turns:
                        self._waiting.append(request)
                number, news = self._next(inbox)
                if isinstance(news, Exception):
                    raise news
                if news.finish_reason is not None:
                    del open_[number]
                yield number, news
        finally:
            self._withdraw(list(open_.values()))

    def _fits(self, others: Iterable[_Request], one: _Request) -> bool:
        return sum(len(other.answer.rows) for other in others) + len(one.answer.rows) <= self.limit

    def _next(self, inbox: _Inbox) -> tuple[int, Chunk | Exception]:
        me = threading.get_ident()
        while True:
            try:
                with self._turns:
                    self._turns.wait_for(lambda: inbox or not self._leader)
                    if inbox:
                        return inbox.popleft()
                    self._leader = me
                self._turn()
            finally:
                if self._leader == me:
                    with self._turns:
                        self._sweep()
                        self._leader = 0
                        self._turns.notify_all()

    def _turn(self) -> None:
        joining = list[_Request]()
        try:
            joining = self._joining()
            if joining:
                self._join(joining)
            else:
                self._batch.step()
        except BaseException as error:
            told = error if isinstance(error, Exception) else ModelError("the answer was interrupted")
            for request in [*self._batch.clear(), *joining]:
                if not request.answer.done:
                    request.inbox.append((request.number, told))
            if told is not error:
                raise

    def _joining(self) -> list[_Request]:
        joining, rows = list[_Request](), len(self._batch)
        with self._turns:
            while self._waiting and (not rows or rows + len(self._waiting[0].answer.rows) <= self.limit):
                joining.append(self._waiting.popleft())
                rows += len(joining[-1].answer.rows)
        return joining

    def _join(self, requests: Sequence[_Request]) -> None:
        try:
            read = self._batch.read(requests)
        except Exception as error:  # noqa: BLE001 - raised again by the reader of the one that it belongs to
            if len(requests) == 1:
                requests[0].inbox.append((requests[0].number, error))
                return
            for request in requests:
                self._join([request])
        else:
            self._batch.join(requests, *read)

    def _withdraw(self, requests: Sequence[_Request]) -> None:
        for request in requests:
            request.gone = True
        with self._turns:
            # While a step is under way its leader sweeps afterwards. That may be this very thread: iterators are also
            # closed by the garbage collector, anywhere.
            if requests and not self._leader:
                self._leader = threading.get_ident()
                self._sweep()
                self._leader = 0

    def _sweep(self) -> None:
        self._waiting = deque(request for request in self._waiting if not request.gone)
        self._batch.sweep()


class _Batch:
    # The rows that grow together, and what each of them brings.
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._clear()

    def _clear(self) -> None:
        from idiolect.backends._torch_adapters import Banks
        from idiolect.backends._torch_cache import RowCache

        self._places: list[tuple[_Request, int]] = []
        self._weights: list[Weights | None] = []
        self._cache: RowCache = RowCache()
        self._banks: Banks = Banks()
        self._kept: tuple[dict[int, Any], Plan] | None = None

    def __len__(self) -> int:
        return len(self._places)

    def read(self, requests: Sequence[_Request]) -> tuple[list[Weights | None], Any, list[Any], list[list[int]]]:
        """Read the prompts of answers that are to join; what goes wrong here leaves the batch as it is."""
        rows = [row for request in requests for row in request.answer.rows]
        weights = [self._engine.adapters.weights(row.adapters) for row in rows]
        return weights, *self._engine.read(rows)

    def join(
        self, requests: Sequence[_Request], weights: list[Weights | None], logits: Any, caches: list[Any],
        groups: list[list[int]],
    ) -> None:  # fmt: skip
        """Draw the first tokens of answers whose prompts were read, and let them grow with the others."""
        first = len(self._places)
        for request in requests:
            for branch in range(len(request.answer.rows)):
                request.places.append(len(self._places))
                self._places.append((request, branch))
        self._weights += weights
        self._kept = None
        lengths = [len(row) for request in requests for row in request.answer.rows]
        with self._engine.torch.inference_mode():
            self._cache.join(caches, groups, lengths, max(request.answer.limit for request in requests))
        self._take(requests, logits, first)

    def step(self) -> None:
        """Let every answer grow by a token."""
        if not self._places:
            return
        engine = self._engine
        with engine.torch.inference_mode():
            additions, plan = self._brought()
            ids = [request.answer.ids[-1] for request, _ in self._places]
            mask = self._cache.extend()
        logits = engine.step(ids, self._rows(), mask, self._cache.past, additions, plan)
        self._take(list(dict.fromkeys(request for request, _ in self._places)), logits, 0)

    def sweep(self) -> None:
        """Free the rows of answers that nobody reads any more."""
        for request in dict.fromkeys(request for request, _ in self._places if request.gone):
            self._leave(request)

    def clear(self) -> list[_Request]:
        """Give up all answers, and return them."""
        requests = list(dict.fromkeys(request for request, _ in self._places))
        self._clear()
        return requests

    def _take(self, requests: Sequence[_Request], logits: Any, first: int) -> None:
        # logits [rows, vocab] of the rows from ``first`` on
        best = logits.argmax(-1).tolist()
        # rows move when one leaves: where their logits stand is looked up before
        for request, places in [(request, [at - first for at in request.places]) for request in requests]:
            chunk: Chunk | Exception | None
            try:
                with self._engine.torch.inference_mode():
                    chunk = request.answer.take(_rows_of(logits, places), best[places[0]])
            except Exception as error:  # noqa: BLE001 - raised again by the reader of this answer
                chunk = error
            if chunk is not None:
                request.inbox.append((request.number, chunk))
            if request.answer.done or isinstance(chunk, Exception):
                self._leave(request)

    def _leave(self, request: _Request) -> None:
        with self._engine.torch.inference_mode():
            for at in sorted(request.places, reverse=True):
                last, branch = self._places.pop()
                weights = self._weights.pop()
                if at < len(self._places):
                    self._places[at], self._weights[at] = (last, branch), weights
                    last.places[branch] = at
                self._cache.leave(at)
        request.places = []
        self._kept = None
        if not self._places:
            self._clear()

    def _brought(self) -> tuple[dict[int, Any], Plan]:
        # What steering and adapters add to the rows; made once for each change of the rows.
        if self._kept is None:
            self._cache.compact(max(request.answer.limit for request, _ in self._places))
            self._kept = self._engine.additions(self._rows()), self._banks.plan(self._weights)
        return self._kept

    def _rows(self) -> list[Row]:
        return [request.answer.rows[branch] for request, branch in self._places]


def _rows_of(logits: Any, places: Sequence[int]) -> Any:
    # A view where the rows stand together, as they nearly always do.
    if list(places) == list(range(places[0], places[0] + len(places))):
        return logits[places[0] : places[0] + len(places)]
    return logits[places]
