"""Which adapters vLLM has or may ask for: those in use and the most recently used."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from idiolect.backends._vllm_delivery import Delivery, Read
from idiolect.errors import IdiolectError, NotFound, UpstreamError
from idiolect.types import Adapter

_ERASED = "an adapter of this call was erased; ask again"


@dataclass(eq=False)
class Place:
    """One adapter's; ``ready`` is done once vLLM can serve it, ``gone`` once it cannot any more."""

    ids: frozenset[str]
    uses: int = 0
    ready: Future[None] = field(default_factory=Future)
    gone: Future[None] = field(default_factory=Future)


class Hold:
    """Keeps an adapter where it is until it is released."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Let go; a second time does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()


class Shelf:
    """At most ``limit`` adapters beside those that are in use; may be used from several event loops."""

    def __init__(self, delivery: Delivery, limit: int) -> None:
        self._delivery, self._limit = delivery, limit
        self._lock = threading.RLock()  # a hold may be released by the garbage collector, in whatever thread
        self._places: OrderedDict[str, Place] = OrderedDict()
        self._leaving: dict[str, Place] = {}
        self._forgotten: set[str] = set()
        self._tidied = False

    def __contains__(self, name: str) -> bool:
        return name in self._places

    async def hold(self, name: str, adapters: Sequence[Adapter], read: Read) -> Hold:
        """Return once vLLM can serve an adapter; it stays so until the hold is released.

        Raises :class:`NotFound` for one that was made from what was forgotten, :class:`UpstreamError` where vLLM does
        not take it.
        """
        ids = frozenset(one.id for one in adapters)
        with self._lock:
            if ids & self._forgotten:
                raise NotFound(_ERASED)
            place, leaving = self._places.get(name), self._leaving.get(name)
            first = place is None
            place = place or self._places.setdefault(name, Place(ids))
            place.uses += 1
            self._places.move_to_end(name)
        hold = Hold(lambda: self._release(place))
        try:
            if first:
                await self._bring(name, place, leaving, read)
            else:
                await _done(place.ready)
        except BaseException:
            hold.release()
            raise
        return hold

    def lost(self, name: str) -> None:
        """Note that vLLM does not know an adapter any more (it was started anew): the next use brings it again."""
        with self._lock:
            self._places.pop(name, None)

    async def forget(self, ids: Iterable[str]) -> int:
        """Take away, in use or not, what was made from some artifacts, for good; return how many adapters that were."""
        wanted = frozenset(ids)
        with self._lock:
            self._forgotten |= wanted
            names = [name for name, place in self._places.items() if place.ids & wanted]
            leaving = {name: self._leave(name) for name in names}
        await self._take_all(leaving)
        await self._tidy()
        return len(names)

    async def clear(self) -> None:
        """Take everything away."""
        with self._lock:
            leaving = {name: self._leave(name) for name in list(self._places)}
        await self._take_all(leaving)

    async def _bring(self, name: str, place: Place, leaving: Place | None, read: Read) -> None:
        try:
            if leaving is not None:
                await _done(leaving.gone)
            await self._tidy()
            await self._make_room()
            try:
                await self._delivery.bring(name, read)
            finally:
                if place.ids & self._forgotten:  # on its way
                    await self._delivery.take(name)
                    raise NotFound(_ERASED)
        except BaseException as error:
            with self._lock:
                if self._places.get(name) is place:
                    del self._places[name]
            known = isinstance(error, IdiolectError)
            place.ready.set_exception(error if known else UpstreamError("an adapter's way to vLLM was broken off", 503))
            raise
        place.ready.set_result(None)

    async def _tidy(self) -> None:
        """Take away, once, what a process before this one left at vLLM."""
        if self._tidied:
            return
        for name in await self._delivery.there():
            if name not in self:
                await self._delivery.take(name)
        self._tidied = True

    async def _make_room(self) -> None:
        with self._lock:
            idle = [name for name, place in self._places.items() if not place.uses]
            over = max(0, len(self._places) - self._limit)
            leaving = {name: self._leave(name) for name in idle[:over]}
        await self._take_all(leaving)

    def _leave(self, name: str) -> Place:
        place = self._leaving[name] = self._places.pop(name)
        return place

    async def _take_all(self, leaving: Mapping[str, Place]) -> None:
        taken = (self._take(name, place) for name, place in leaving.items())
        failed = [error for error in await asyncio.gather(*taken, return_exceptions=True) if error is not None]
        if failed:
            raise failed[0]

    async def _take(self, name: str, place: Place) -> None:
        try:
            await self._delivery.take(name)
        finally:
            with self._lock:
                if self._leaving.get(name) is place:
                    del self._leaving[name]
            place.gone.set_result(None)

    def _release(self, place: Place) -> None:
        with self._lock:
            place.uses -= 1


async def _done(future: Future[None]) -> None:
    await asyncio.shield(asyncio.wrap_future(future))
