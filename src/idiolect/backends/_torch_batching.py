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
    places: list[tuple[int, int]] = field(default_factory=list)  # its branches' lanes, and rows in these


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
            self._batch.join(requests, read)

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
    # The answers that grow together; the rows of each model grow in a lane of their own.
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lanes = [_Lane(one) for one in (engine, engine.proxy) if one is not None]

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes)

    def read(self, requests: Sequence[_Request]) -> list[_Read | None]:
        """Read the prompts of answers that are to join; what goes wrong here leaves the batch as it is."""
        return [lane.read(_rows_in(requests, number)) for number, lane in enumerate(self._lanes)]

    def join(self, requests: Sequence[_Request], reads: Sequence[_Read | None]) -> None:
        """Draw the first tokens of answers whose prompts were read, and let them grow with the others."""
        room, first = max(request.answer.limit for request in requests), [len(lane) for lane in self._lanes]
        for request in requests:
            for branch, row in enumerate(request.answer.rows):
                number = int(row.proxy)
                request.places.append((number, self._lanes[number].add(request, branch)))
        for lane, read in zip(self._lanes, reads, strict=True):
            if read is not None:
                lane.join(read, room)
        self._take(requests, [None if read is None else read.logits for read in reads], first)

    def step(self) -> None:
        """Let every answer grow by a token."""
        if not len(self):
            return
        logits = [lane.step() if len(lane) else None for lane in self._lanes]
        self._take(self._requests(), logits, [0] * len(self._lanes))

    def sweep(self) -> None:
        """Free the rows of answers that nobody reads any more."""
        for request in self._requests():
            if request.gone:
                self._leave(request)

    def clear(self) -> list[_Request]:
        """Give up all answers, and return them."""
        requests = self._requests()
        for lane in self._lanes:
            lane.clear()
        return requests

    def _requests(self) -> list[_Request]:
        return list(dict.fromkeys(request for lane in self._lanes for request, _ in lane.places))

    def _take(self, requests: Sequence[_Request], logits: Sequence[Any], first: Sequence[int]) -> None:
        # logits [rows, vocab] of each lane's rows from ``first`` on
        best = [[] if one is None else one.argmax(-1).tolist() for one in logits]
        # rows move when one leaves: where their logits stand is looked up before
        for request, places in [(one, [(lane, at - first[lane]) for lane, at in one.places]) for one in requests]:
            chunk: Chunk | Exception | None
            lane, at = places[0]
            try:
                with self._engine.torch.inference_mode():
                    chunk = request.answer.take(self._logits_of(logits, places), best[lane][at])
            except Exception as error:  # noqa: BLE001 - raised again by the reader of this answer
                chunk = error
            if chunk is not None:
                request.inbox.append((request.number, chunk))
            if request.answer.done or isinstance(chunk, Exception):
                self._leave(request)

    def _logits_of(self, logits: Sequence[Any], places: Sequence[tuple[int, int]]) -> Any:
        lanes = {lane for lane, _ in places}
        if len(lanes) == 1:
            return _rows_of(logits[lanes.pop()], [at for _, at in places])
        return self._engine.stacked([logits[lane][at] for lane, at in places])

    def _leave(self, request: _Request) -> None:
        for lane, at in sorted(request.places, reverse=True):
            self._lanes[lane].leave(at)
        request.places = []


@dataclass(frozen=True, slots=True)
class _Read:
    # Prompts that were read: what their rows bring, logits [rows, vocab] after them, caches with the rows they hold.
    weights: list[Weights | None]
    lengths: list[int]
    logits: Any
    caches: list[Any]
    groups: list[list[int]]


class _Lane:
    # The rows of one model that grow together, and what each of them brings.
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.clear()

    def clear(self) -> None:
        from idiolect.backends._torch_adapters import Banks
        from idiolect.backends._torch_cache import RowCache

        self.places: list[tuple[_Request, int]] = []
        self._weights: list[Weights | None] = []
        self._cache: RowCache = RowCache()
        self._banks: Banks = Banks()
        self._kept: tuple[dict[int, Any], Plan] | None = None

    def __len__(self) -> int:
        return len(self.places)

    def read(self, rows: Sequence[Row]) -> _Read | None:
        """Read prompts; ``None`` where there are none."""
        if not rows:
            return None
        weights = [self._engine.adapters.weights(row.adapters) for row in rows]
        return _Read(weights, [len(row) for row in rows], *self._engine.read(rows))

    def add(self, request: _Request, branch: int) -> int:
        """Take a branch of an answer in; return its place."""
        self.places.append((request, branch))
        return len(self.places) - 1

    def join(self, read: _Read, room: int) -> None:
        """Let the rows that were taken in grow with the others, ``room`` tokens at most."""
        self._weights += read.weights
        self._kept = None
        with self._engine.torch.inference_mode():
            self._cache.join(read.caches, read.groups, read.lengths, room)

    def step(self) -> Any:
        """Read one more token of every row; return logits ``[rows, vocab]``."""
        engine = self._engine
        with engine.torch.inference_mode():
            additions, plan = self._brought()
            ids = [request.answer.ids[-1] for request, _ in self.places]
            mask = self._cache.extend()
        return engine.step(ids, self._rows(), mask, self._cache.past, additions, plan)

    def leave(self, at: int) -> None:
        """Free a row; the last one takes its place."""
        with self._engine.torch.inference_mode():
            last, branch = self.places.pop()
            weights = self._weights.pop()
            if at < len(self.places):
                self.places[at], self._weights[at] = (last, branch), weights
                last.places[branch] = last.places[branch][0], at
            self._cache.leave(at)
        self._kept = None
        if not self.places:
            self.clear()

    def _brought(self) -> tuple[dict[int, Any], Plan]:
        # What steering and adapters add to the rows; made once for each change of the rows.
        if self._kept is None:
            self._cache.compact(max(request.answer.limit for request, _ in self.places))
            self._kept = self._engine.additions(self._rows()), self._banks.plan(self._weights)
        return self._kept

    def _rows(self) -> list[Row]:
        return [request.answer.rows[branch] for request, branch in self.places]


def _rows_in(requests: Sequence[_Request], lane: int) -> list[Row]:
    return [row for request in requests for row in request.answer.rows if row.proxy == bool(lane)]


def _rows_of(logits: Any, places: Sequence[int]) -> Any:
    # A view where the rows stand together, as they nearly always do.
    if list(places) == list(range(places[0], places[0] + len(places))):
        return logits[places[0] : places[0] + len(places)]
    return logits[places]
