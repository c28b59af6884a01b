"""The bridge from the event loop to the synchronous core: planning, generating and learning in threads."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from idiolect.errors import ConfigError, InputError, UnknownName, UnsupportedCall
from idiolect.pipeline import Idiolect, Plan
from idiolect.serve.metrics import Metrics
from idiolect.serve.wishes import Wish, session_of
from idiolect.types import Call, Chunk, Completion, Keeps, Turn

log = logging.getLogger("idiolect.serve")
T = TypeVar("T")

PLAN_SECONDS = 15.0
"""A plan that takes longer is not waited for: the answer comes without it."""
LOOK_SECONDS = 10.0
"""So often it is looked whether a turn waits that nobody here wrote down, or that failed before."""
_PLANNERS, _ANSWERERS, _READERS = 2, 16, 8
"""Threads. More planners only wait for each other: at 64 connections 4 plan a quarter fewer than 2."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A call after personalization, whether or not it took place, and why not."""

    call: Call
    wish: Wish
    label: str
    """``true``, or the reason: ``no-user``, ``no-history``, ``no-match``, ``off``, ``failed:<error class>``."""
    plan: Plan | None = None

    def headers(self, answered: bool = True) -> dict[str, str]:
        """Return the response headers that tell of it; only an answer has a trace."""
        if self.label == "true":
            artifacts = len({used.id for used in self.call.used if used.what == "artifact"})
            records = len({used.id for used in self.call.used if used.what == "record"})
            told = f"true; records={records}; artifacts={artifacts}"
        else:
            told = f"false; reason={self.label}"
        headers = {"X-Idiolect-Personalized": told}
        if self.plan is not None and answered:
            headers["X-Idiolect-Trace"] = self.plan.trace_id
        return headers


class Engine:
    """Runs the synchronous core for the server, each kind of work in a pool of its own."""

    def __init__(self, idiolect: Idiolect, metrics: Metrics) -> None:
        self.idiolect, self.metrics = idiolect, metrics
        self._planners = ThreadPoolExecutor(_PLANNERS, "idiolect-plan")
        self._answerers = ThreadPoolExecutor(_ANSWERERS, "idiolect-answer")
        self._readers = ThreadPoolExecutor(_READERS, "idiolect-data")

    async def run(self, work: Callable[..., T], *args: Any, **options: Any) -> T:
        """Run work on a person's data in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, partial(work, *args, **options))

    # -- before the answer -------------------------------------------------------------------------------------

    async def personalize(self, call: Call, wish: Wish) -> Outcome:
        """Personalize a call. Only what the request itself named wrongly is raised; any other failure is counted."""
        outcome = await self._outcome(call, wish)
        self.metrics.personalized.labels(outcome.label.partition(":")[0]).inc()
        return outcome

    async def _outcome(self, call: Call, wish: Wish) -> Outcome:
        if not wish.user:
            return Outcome(call, wish, "no-user")
        if wish.methods == ():
            return Outcome(call, wish, "off")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PLAN_SECONDS):
                return await loop.run_in_executor(self._planners, self._plan, call, wish)
        except Exception as error:  # a failed plan must not cost the answer
            if wish.methods is not None and isinstance(error, UnsupportedCall | UnknownName):
                raise
            if wish.methods is not None and isinstance(error, ConfigError):
                raise InputError(str(error)) from error
            name = type(error).__name__
            self.metrics.plan_failures.labels(name).inc()
            log.warning("answering without personalization: the plan failed with %s", name)
            return Outcome(call, wish, f"failed:{name}")

    def _plan(self, call: Call, wish: Wish) -> Outcome:
        if not self.idiolect.store.number(wish.user):
            self.idiolect.methods(wish.methods)  # a wrong name is an error for a new user too
            return Outcome(call, wish, "no-history")
        start = time.perf_counter()
        call = replace(call, focus=wish.focus, item=wish.item, session=session_of(wish, call.messages))
        plan = self.idiolect.plan(call, wish.user, methods=wish.methods, now=wish.now, tokens=wish.tokens)
        if isinstance(self.idiolect.backend, Keeps):
            self.idiolect.backend.prepare(plan.call)
        self.metrics.plan_seconds.observe(time.perf_counter() - start)
        return Outcome(plan.call, wish, "true" if plan.call.used else "no-match", plan)

    # -- the answer --------------------------------------------------------------------------------------------

    async def generate(self, calls: Sequence[Call]) -> list[Completion]:
        """Answer calls in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._answerers, self.idiolect.backend.generate, calls)

    async def stream(self, call: Call) -> AsyncGenerator[Chunk]:
        """Return the chunks of an answer, once the first is there; what a model refuses is raised here.

        Closing the iterator stops the model at its next chunk.
        """
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[Chunk | Exception | None] = asyncio.Queue()
        left = threading.Event()

        def put(item: Chunk | Exception | None) -> None:
            if not left.is_set():
                loop.call_soon_threadsafe(chunks.put_nowait, item)

        def work() -> None:
            try:
                for chunk in self.idiolect.backend.stream(call):
                    if left.is_set():
                        return
                    put(chunk)
                put(None)
            except Exception as error:  # noqa: BLE001 - raised again by the reader
                put(error)

        self._answerers.submit(work)
        first = await chunks.get()
        if isinstance(first, Exception):
            raise first
        return _rest(first, chunks, left)

    # -- after the answer --------------------------------------------------------------------------------------

    async def finish(self, outcome: Outcome, asked: Call, completion: Completion) -> None:
        """Write down the trace and the turn, which is learnt from in the background; both are durable on return.

        ``asked`` is the call as the client sent it. An answer that was given is not taken back because it could not be
        written down: that is counted and told.
        """
        wish, idiolect = outcome.wish, self.idiolect
        if not wish.user or wish.methods == ():
            return
        session = session_of(wish, asked.messages)
        if outcome.plan is not None:
            kept = idiolect.finish(outcome.plan, asked.messages, completion, session=session, remember=wish.remember)
        elif idiolect.settings.remember if wish.remember is None else wish.remember:
            turn = Turn(asked.messages, completion.text, idiolect.clock(), session)
            kept = idiolect.remember(turn, wish.user, idiolect.methods(wish.methods))
        else:
            return
        try:
            await asyncio.wrap_future(kept)
        except Exception as error:  # noqa: BLE001 - counted by the journal
            log.error("an answer could not be written down: %s", type(error).__name__)

    async def keep_learning(self) -> None:
        """Take up the turns that wait: those of a process that was killed at once, those that failed in time."""
        while True:
            if not self.idiolect.worker.waiting:
                self.idiolect.worker.submit(self.idiolect.learn_waiting)
            await asyncio.sleep(LOOK_SECONDS)

    def close(self) -> None:
        """End the threads."""
        for pool in (self._planners, self._answerers, self._readers):
            pool.shutdown(wait=True, cancel_futures=True)


async def _rest(
    item: Chunk | None, chunks: asyncio.Queue[Chunk | Exception | None], left: threading.Event
) -> AsyncGenerator[Chunk]:
    try:
        while item is not None:
            yield item
            following = await chunks.get()
            if isinstance(following, Exception):
                raise following
            item = following
    finally:
        left.set()


def seeded(call: Call, number: int) -> Call:
    """Return the call for draft ``number``: a given seed is counted up, so that drafts differ."""
    seed = call.sampling.seed
    return call if seed is None or number == 0 else replace(call, sampling=replace(call.sampling, seed=seed + number))
