"""A process that answers people and says so, until it is killed. Usage: answerer.py FOLDER FIRST"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers import open_store
from idiolect.backends.toy import ToyBackend
from idiolect.config import Settings
from idiolect.pipeline import Idiolect
from idiolect.types import Sampling


def main(folder: str, first: int) -> None:
    app = Idiolect(open_store(Path(folder)), ToyBackend(), Settings(methods=("memory",)))
    n = first
    while True:
        app.ask(f"My locker has the number {n}", f"user{n % 3}", session=f"s{n}", sampling=Sampling(max_tokens=1))
        sys.stdout.write(f"{n}\n")  # acknowledged: the answer is out, so it must be learnt from
        sys.stdout.flush()
        n += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
