"""A process that adds records and says so, until it is killed. Usage: victim.py FOLDER FIRST MODE"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers import HashEmbedder, open_store, say


def main(folder: str, first: int, mode: str) -> None:
    store = open_store(Path(folder), HashEmbedder() if mode == "embed" else None)
    size = 1 if mode in ("single", "embed") else 90
    n = first
    while True:
        batch = [
            say(f"user{i % 3}", f"record number {i} about w{i % 17}", 1e9 + i, f"s{i // 40}")
            for i in range(n, n + size)
        ]
        store.add(batch)
        n += size
        sys.stdout.write(f"{n}\n")  # acknowledged: everything below n is durable
        sys.stdout.flush()
        if mode == "forget" and n % 180 == 0:
            gone = batch[0]
            store.delete(gone.user_id, [gone.id])
            sys.stdout.write(f"-{n - size}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
