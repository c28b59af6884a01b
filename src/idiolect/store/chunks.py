"""How one user's index lies in the store: full chunks, and a short tail of entries that wait to be packed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from idiolect.errors import StoreCorrupt
from idiolect.store import cells
from idiolect.store.index import CHUNK, DEAD, Entry, Segment
from idiolect.store.rows import Plane, UserRow
from idiolect.store.sealed import SealedReader, SealedWriter
from idiolect.text.planes import Planes
from idiolect.types import Floats

TAIL = 32
"""So many appended records wait one by one before they are packed into a chunk."""

EMPTY = np.float32(1e-30)
"""Error bound of a record whose text has no vector: unlike one that is not embedded yet, it is not 0."""


def segments(cells_of: SealedReader, row: UserRow, start: int, dim: int) -> Iterator[Segment]:
    """Yield the index from record ``start`` on."""
    for number in range(start // CHUNK, (row.tail + CHUNK - 1) // CHUNK if start < row.tail else 0):
        segment, base = read_chunk(cells_of, number, dim), number * CHUNK
        yield segment.part(max(0, start - base), segment.n)
    if row.items > max(start, row.tail):
        yield Segment.build(read_tail(cells_of, max(start, row.tail), row.items), dim)


def read_tail(cells_of: SealedReader, start: int, stop: int) -> list[Entry]:
    """Return the entries that wait."""
    return [cells.load_entry(data) for _, data in cells_of.all(Plane.TAIL, start, stop)]


def read_chunk(cells_of: SealedReader, number: int, dim: int) -> Segment:
    """Return a chunk; without its vectors where ``dim`` is 0."""
    scan = cells_of.get(Plane.SCAN, number)
    if scan is None:
        raise StoreCorrupt(
            f"index chunk {number} of user number {cells_of.key.uid} is missing. Restore the data file from a backup, "
            "or export this user, erase them and import the export."
        )
    if not dim:
        return Segment.from_cells(scan, None, None)
    return Segment.from_cells(scan, cells_of.get(Plane.COARSE, number), cells_of.get(Plane.FINE, number))


def put_chunk(cells_of: SealedWriter, number: int, segment: Segment) -> None:
    """Write a chunk."""
    cells_of.put(Plane.SCAN, [(number, segment.scan_cell())])
    vectors = segment.vector_cells()
    if vectors is not None:
        cells_of.put(Plane.COARSE, [(number, vectors[0])])
        cells_of.put(Plane.FINE, [(number, vectors[1])])


def append(cells_of: SealedWriter, row: UserRow, entries: Sequence[Entry], dim: int) -> UserRow:
    """Put entries at the end of the index: into the tail while it is short, else all that waits into chunks."""
    items = row.items + len(entries)
    if items - row.tail < TAIL:
        cells_of.put(Plane.TAIL, [(n, cells.dump_entry(e)) for n, e in enumerate(entries, row.items)])
        return replace(row, items=items)
    return replace(pack(cells_of, row, entries, dim), items=items)


def pack(cells_of: SealedWriter, row: UserRow, entries: Sequence[Entry], dim: int) -> UserRow:
    """Write the tail and further entries into chunks, the last of which may stay partly filled."""
    start = row.tail - row.tail % CHUNK
    parts = [Segment.build([*read_tail(cells_of, row.tail, row.items), *entries], dim)]
    if start < row.tail:
        parts.insert(0, read_chunk(cells_of, start // CHUNK, dim))
    whole = Segment.concat([p if p.planes or not dim else replace(p, planes=Planes.missing(p.n, dim)) for p in parts])
    for offset in range(0, whole.n, CHUNK):
        put_chunk(cells_of, (start + offset) // CHUNK, whole.part(offset, min(whole.n, offset + CHUNK)))
    cells_of.delete(Plane.TAIL, range(row.tail, row.items))
    return replace(row, tail=row.items + len(entries))


def blank(cells_of: SealedWriter, row: UserRow, numbers: Sequence[int], dim: int) -> None:
    """Take records out of the index: their terms and vectors go, their numbers stay taken."""
    by_chunk: dict[int, list[int]] = {}
    for n in numbers:
        if n >= row.tail:
            cells_of.put(Plane.TAIL, [(n, cells.dump_entry(Entry(0.0, 0, 0, DEAD, (), None)))])
        else:
            by_chunk.setdefault(n // CHUNK, []).append(n % CHUNK)
    for number, offsets in by_chunk.items():
        put_chunk(cells_of, number, read_chunk(cells_of, number, dim).without(offsets))


def drop_vectors(cells_of: SealedWriter, row: UserRow) -> None:
    """Remove all vectors: they are of another embedder."""
    chunks = range((row.tail + CHUNK - 1) // CHUNK)
    cells_of.delete(Plane.COARSE, chunks)
    cells_of.delete(Plane.FINE, chunks)
    tail = enumerate(read_tail(cells_of, row.tail, row.items), row.tail)
    cells_of.put(Plane.TAIL, [(n, cells.dump_entry(replace(entry, vector=None))) for n, entry in tail])


def not_embedded(segment: Segment) -> list[int]:
    """Return the rows that have no vector yet and are not deleted."""
    waiting = segment.kind != DEAD
    if segment.planes is not None:
        waiting &= (segment.planes.scale == 0) & (segment.planes.error == 0)
    return [int(row) for row in np.flatnonzero(waiting)]


def with_vectors(segment: Segment, vectors: Mapping[int, Floats], dim: int) -> Segment:
    """Return a segment with some rows' vectors put in; a zero vector counts as embedded."""
    planes = segment.planes or Planes.missing(segment.n, dim)
    if not vectors:
        return replace(segment, planes=planes)
    rows = np.fromiter(vectors, np.intp, len(vectors))
    new = Planes.encode(np.stack(list(vectors.values())).astype(np.float32))
    arrays = {name: np.array(getattr(planes, name)) for name in ("hi", "lo", "scale", "error")}
    for name, array in arrays.items():
        array[rows] = getattr(new, name)
    arrays["error"][rows] = np.maximum(arrays["error"][rows], EMPTY)
    return replace(segment, planes=Planes(**arrays))
