"""One user's cells within a transaction, opened and sealed on the way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from idiolect.store.cells import place
from idiolect.store.keys import DataKey
from idiolect.store.rows import MAX_NUMBER, Plane, Reader, Writer

Numbered = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class SealedReader:
    """Plain bytes of one user's cells."""

    tx: Reader
    key: DataKey

    def get(self, plane: Plane, number: int) -> bytes | None:
        """Return one cell."""
        data = self.tx.cell(self.key.uid, plane, number)
        return None if data is None else self._open(plane, number, data)

    def all(self, plane: Plane, start: int = 0, stop: int = MAX_NUMBER) -> list[Numbered]:
        """Return the cells with ``start <= number < stop`` in rising order."""
        return [(n, self._open(plane, n, data)) for n, data in self.tx.cells(self.key.uid, plane, start, stop)]

    def pick(self, plane: Plane, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return those of the cells that exist."""
        found = self.tx.pick(self.key.uid, plane, numbers)
        return {n: self._open(plane, n, data) for n, data in found.items()}

    def _open(self, plane: Plane, number: int, data: bytes) -> bytes:
        return self.key.box.open(data, place(self.key.uid, plane, number))


@dataclass(frozen=True, slots=True)
class SealedWriter(SealedReader):
    """The same in a write transaction."""

    tx: Writer

    def put(self, plane: Plane, cells: Iterable[Numbered]) -> None:
        """Insert or replace cells."""
        uid, box = self.key.uid, self.key.box
        self.tx.put(uid, plane, [(n, box.seal(data, place(uid, plane, n))) for n, data in cells])

    def delete(self, plane: Plane, numbers: Iterable[int]) -> None:
        """Delete cells."""
        self.tx.delete(self.key.uid, plane, numbers)
