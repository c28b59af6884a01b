"""What a person's own adapter costs from their records to the first answer, when it pays, and what deleting it takes.

    python benchmarks/onboarding.py --data ../shared/data --out benchmarks/results/onboarding.json   # about an hour
    python benchmarks/onboarding.py --data DIR --people 2 --counts 5 --held 2 --layers 2 --epochs 1  # a try, minutes

Authors of LaMP-4 (or ``--task lamp-2n``) through the package's own path, one after the other, the model loaded before:
each author's newest ``--held`` records are held out, and for every count the newest so many of those before them are
what the person has. Then, for a person with so many records in the store:

- **onboarding**: rows made (examples and tokens), training, packing (weights serialised, sealed, committed), the first
  answer of ``--tokens`` tokens, and of that the first load (weights read, unsealed, laid out);
- **bytes**: the adapter's, and those of all that is sealed in the store for it;
- **nats a token** on the held-out records: bare, with the own adapter, with that of the person before (same count):
  what another's gives too is the task, not the person. Records to break even are the fewest at which the own one beats
  the bare call: for a person, and in the mean with its interval over people;
- **load**: from the store into memory, and from there into a batch;
- **deletion**: the erasure, and until the next answer, which is the bare call's. What the sealed weights look like is
  looked for in all files of the store before and after; adapters that can still be read end the run.

Times are medians over people. Every person and count is a piece: what stands in ``--out`` is kept unless ``--anew``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from idiolect import models, registry
from idiolect.backends.transformers import TransformersBackend
from idiolect.bench.run import machine
from idiolect.bench.task import Dataset
from idiolect.config import Settings
from idiolect.errors import NotFound
from idiolect.measure.statistics import mean_interval
from idiolect.pipeline import Idiolect
from idiolect.prompting.shared.replay import replay
from idiolect.store.keys import MasterKey
from idiolect.store.rows import Plane
from idiolect.store.store import Store
from idiolect.types import Adapter, Artifact, Body, Call, Record, Sampling, Template
from pieces import Document, now, opened, settings_of, write

ALIKE = ("task", "held", "layers", "rank", "epochs", "modules", "tokens", "threads")
MARKS, MARK = 16, 48
"""So many pieces of the sealed weights, of so many bytes, are looked for in the files."""
LOADS = 7
Spent = dict[str, float]


# --- people -----------------------------------------------------------------------------------------------------------


def people_of(data: Dataset, count: int, least: int) -> list[list[Record]]:
    """Return the records of people with enough of them, each with the task's whole question for its input."""
    first = data.queries[0]
    template = Template(Call(first.messages, first.focus, first.item), first.options)
    out = []
    for name in sorted(data.histories):
        records = [record for record in data.histories[name] if record.input and record.output]
        if len(records) >= least and len(out) < count:
            asked = [replay(record, template).call.messages[-1]["content"] for record in records]
            out.append([replace(r, input=str(text), meta={}) for r, text in zip(records, asked, strict=True)])
    if len(out) < count:
        raise SystemExit(f"{len(out)} people have {least} records; ask for fewer: --people, --counts or --held")
    return out


# --- one person -------------------------------------------------------------------------------------------------------


@contextmanager
def clocked(spent: Spent, **places: tuple[Any, str]) -> Iterator[None]:
    """Add up the time [s] that functions take, each ``(owner, name)``, under the keywords' names."""

    def around(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **more: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*args, **more)
            finally:
                spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - start

        return timed

    kept = {stage: getattr(owner, name) for stage, (owner, name) in places.items()}
    for stage, (owner, name) in places.items():
        setattr(owner, name, around(stage, kept[stage]))
    try:
        yield
    finally:
        for stage, (owner, name) in places.items():
            setattr(owner, name, kept[stage])


class House:
    """A store on the disk, the model in memory, and a method that serves each person with weights of their own."""

    def __init__(self, folder: Path, backend: TransformersBackend, spec: Mapping[str, Any], tokens: int) -> None:
        self.folder, self.backend, self.spec = folder / "data", backend, dict(spec)
        store = Store.open(self.folder, folder / "keys", MasterKey(f"file:{folder}/master.key"))
        self.app = Idiolect(store, backend, Settings(methods=(self.spec,)), backend_name="transformers")
        self.sampling = Sampling(temperature=0.0, max_tokens=tokens)

    def call(self, record: Record, user: str = "") -> Call:
        """Return a record asked again, as it is served to somebody."""
        bare = replace(replay(record).call, sampling=self.sampling)
        return self.app.plan(bare, user, methods=[self.spec]).call if user else bare

    def nats(self, calls: Sequence[Call], records: Sequence[Record]) -> float:
        """Return the negative log likelihood of what was given [nats a token]."""
        found = np.concatenate(self.backend.token_logprobs(calls, [record.output for record in records]))
        return -float(found.mean())

    def sealed(self, user: str, *planes: Plane) -> list[bytes]:
        """Return what lies in the store for a person, as it lies there."""
        uid = self.app.store.known(user).uid
        with self.app.store.rows.read() as tx:
            return [data for plane in planes for _, data in tx.cells(uid, plane)]

    def onboard(self, user: str, asked: Record) -> tuple[Artifact, dict[str, float]]:
        """Train, keep and serve a person's adapter; return it, and what each stage took [s]."""
        from idiolect.adaptation.shared.examples import Writer
        from idiolect.backends import _torch_training
        from idiolect.backends._torch_adapters import Pool
        from idiolect.training import peft_format

        spent: Spent = {}
        start = time.perf_counter()
        with clocked(
            spent, examples=(Writer, "examples"), rows=(_torch_training, "rows_of"), dump=(peft_format, "dump"),
            first_load=(Pool, "_loaded"),
        ):  # fmt: skip
            with _kept(self.app.store) as kept:
                self.app.fit(self.spec, [user])
            trained = time.perf_counter()
            self.backend.generate([self.call(asked, user)])
            end = time.perf_counter()
        (artifact,) = (one for one in self.app.store.artifacts(user) if one.body is not None)
        rows, keeping = spent["examples"] + spent["rows"], kept.seconds
        return artifact, {
            "rows made": rows, "training": trained - start - rows - spent["dump"] - keeping,
            "packing": spent["dump"] + keeping, "first load": spent["first_load"], "first answer": end - trained,
            "all": end - start,
        }  # fmt: skip

    def loading(self, artifact: Artifact) -> dict[str, float]:
        """Return milliseconds from the store into memory and from there into a batch, medians."""
        from idiolect.backends._torch_adapters import Bank

        assert artifact.body is not None
        pool, one = self.backend._loaded().adapters, Adapter(artifact.id, 1.0, artifact.body)
        taken: list[tuple[float, float]] = []
        for _ in range(LOADS):
            pool.forget([one.id])
            start = time.perf_counter()
            weights = pool.weights([one])
            loaded = time.perf_counter()
            if weights is None:
                raise SystemExit("the adapter changes nothing; train more")
            bank = Bank(weights.form, weights.flat)
            bank.filled([weights])
            again = replace(weights)
            copied = time.perf_counter()
            bank.filled([again])
            taken.append((loaded - start, time.perf_counter() - copied))
        return {
            "ms from the store": round(1e3 * statistics.median(one for one, _ in taken), 2),
            "ms into the batch": round(1e3 * statistics.median(one for _, one in taken), 3),
        }

    def delete(self, user: str, artifact: Artifact, held: Sequence[Record], bare: float) -> dict[str, float]:
        """Erase a person; return how long it took [ms], and until the next answer, which must be the bare call's."""
        marks = self._marks(user)
        if not self._seen(marks):
            raise SystemExit("the sealed weights are in no file before the erasure: this looks for the wrong bytes")
        start = time.perf_counter()
        self.app.erase(user)
        erased = time.perf_counter()
        call = self.call(held[0], user)
        self.backend.generate([call])
        answered = time.perf_counter()
        if call.adapters or call.messages != self.call(held[0]).messages:
            raise SystemExit("an erased person is not answered by the bare call")
        left = self.nats([self.call(record, user) for record in held], held)
        if self._seen(marks) or self._reads(artifact) or abs(left - bare) > 1e-4:
            raise SystemExit("something of an erased person's weights is left")
        return {"ms erased": round(1e3 * (erased - start), 1), "ms answered": round(1e3 * (answered - start), 1)}

    def _marks(self, user: str) -> list[bytes]:
        """Return pieces of a person's weights as they lie sealed in the store."""
        (sealed,) = self.sealed(user, Plane.BODY)
        step = max(MARK, len(sealed) // MARKS)
        return [sealed[at : at + MARK] for at in range(0, len(sealed) - MARK, step)]

    def _seen(self, marks: Sequence[bytes]) -> bool:
        files = (path.read_bytes() for path in self.folder.rglob("*") if path.is_file())
        return any(mark in data for data in files for mark in marks)

    @staticmethod
    def _reads(artifact: Artifact) -> bool:
        assert artifact.body is not None
        try:
            artifact.body.read()
        except NotFound:
            return False
        return True


@contextmanager
def _kept(store: Store) -> Iterator[_Keeping]:
    """Add up what keeping artifacts takes; the store draws them from the method, which is not counted."""
    keeping = _Keeping(store.put_artifacts)
    store.put_artifacts = keeping  # type: ignore[method-assign,assignment]
    try:
        yield keeping
    finally:
        del store.put_artifacts


class _Keeping:
    def __init__(self, put: Callable[[Iterable[Artifact]], int]) -> None:
        self._put, self.seconds = put, 0.0

    def __call__(self, artifacts: Iterable[Artifact]) -> int:
        start = time.perf_counter()
        added = self._put(self._drawn(iter(artifacts)))
        self.seconds += time.perf_counter() - start
        return added

    def _drawn(self, artifacts: Iterator[Artifact]) -> Iterator[Artifact]:
        while True:
            start = time.perf_counter()
            one = next(artifacts, None)
            self.seconds -= time.perf_counter() - start
            if one is None:
                return
            yield one


def piece(
    house: House, user: str, records: Sequence[Record], held: Sequence[Record], other: Body | None
) -> tuple[Document, Body]:
    """Onboard one person with so many records, score, load and erase; return the figures, and the adapter."""
    house.app.store.add([replace(record, user_id=user) for record in records])
    artifact, seconds = house.onboard(user, held[0])
    sealed = sum(map(len, house.sealed(user, Plane.BODY, Plane.ARTIFACT)))
    assert artifact.body is not None
    body = Body.of(artifact.body.read())
    bare = [house.call(record) for record in held]
    nats = {"bare": house.nats(bare, held), "own": house.nats([house.call(r, user) for r in held], held)}
    if other is not None:
        adapter = Adapter(other.digest, 1.0, other)
        nats["another's"] = house.nats([replace(call, adapters=(adapter,)) for call in bare], held)
    found = {
        "made": now(), "load average": round(os.getloadavg()[0], 1), "records": len(records),
        "seconds": {stage: round(taken, 4) for stage, taken in seconds.items()},
        "bytes": {"adapter": body.size, "in the store": sealed},
        "nats a token": {name: round(value, 4) for name, value in nats.items()},
        "load": house.loading(artifact),
    }  # fmt: skip
    return {**found, "deletion": house.delete(user, artifact, held, nats["bare"])}, body


# --- the table --------------------------------------------------------------------------------------------------------


def summary(people: Mapping[str, Mapping[str, Document]], counts: Sequence[int]) -> Document:
    """Return medians over people for each count, and how many records the own adapter takes to beat the bare call."""
    out: Document = {"counts": {}}
    for count in counts:
        found = [one[str(count)] for one in people.values() if str(count) in one]
        if not found:
            continue
        nats = [one["nats a token"] for one in found]
        gain = mean_interval([one["bare"] - one["own"] for one in nats])
        beside = [one["another's"] - one["own"] for one in nats if "another's" in one]
        row = {group: _medians([one[group] for one in found]) for group in ("seconds", "bytes", "load", "deletion")}
        row |= {
            "people": len(found), "bare": round(float(np.mean([one["bare"] for one in nats])), 4),
            "own": round(float(np.mean([one["own"] for one in nats])), 4), "gain": round(gain.mean, 4),
            "gain interval": [round(gain.low, 4), round(gain.high, 4)] if len(found) > 1 else None,
            "people it beats bare for": sum(one["own"] < one["bare"] for one in nats),
            "gain over another's": round(float(np.mean(beside)), 4) if beside else None,
        }  # fmt: skip
        out["counts"][str(count)] = row
    intervals = {count: out["counts"].get(str(count), {}).get("gain interval") for count in counts}
    won = [count for count, interval in intervals.items() if interval and interval[0] > 0]
    own = {name: [int(n) for n, one in by.items() if _wins(one)] for name, by in people.items()}
    out["records to break even"] = {
        "in the mean, its interval above 0": min(won, default=None),
        "of each person": {name: min(found, default=None) for name, found in own.items()},
    }
    return out


def _wins(one: Document) -> bool:
    return bool(one["nats a token"]["own"] < one["nats a token"]["bare"])


def _medians(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(one[name] for one in found), 4) for name in found[0]}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", default="lamp-4", choices=["lamp-4", "lamp-2n"])
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--counts", type=int, nargs="+", default=[5, 10, 20, 40])
    parser.add_argument("--held", type=int, default=8, help="newest records of a person that are held out")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--modules", nargs="*", default=[], help="last names of the changed modules; all without any")
    parser.add_argument("--layers", type=int, default=0, help="the last so many alone; 0 for all")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=8, help="of the first answer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--anew", action="store_true", help="measure again what stands in --out")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    args = parsed()
    data = registry.build(registry.tasks.get(args.task), {}).load(args.data)
    people = people_of(data, args.people, max(args.counts) + args.held)
    backend = TransformersBackend(args.model, dtype="float32", device="cpu", threads=args.threads)
    spec = {
        "name": "lora", "context": ["none"], "rank": args.rank, "alpha": 2.0 * args.rank, "modules": args.modules,
        "layers": args.layers, "epochs": args.epochs,
    }  # fmt: skip
    fresh: Document = {
        "made": now(), "machine": machine(), "model": models.fingerprint(args.model), "settings": settings_of(args),
        "people": {},
    }  # fmt: skip
    document = opened(args.out, fresh, ALIKE)
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder), backend, spec, args.tokens)
        _warm(house, people[0], args.held)
        bodies: dict[tuple[int, int], Body] = {}
        for n, records in enumerate(people):
            earlier, held = records[: -args.held], records[-args.held :]
            done = document["people"].setdefault(f"person {n + 1}", {})
            for count in args.counts:
                if str(count) in done and not args.anew:
                    continue
                other = bodies.get((n - 1, count))
                done[str(count)], bodies[n, count] = piece(house, f"{n}-{count}", earlier[-count:], held, other)
                print(f"person {n + 1}, {count} records:", done[str(count)], flush=True)
                counts = sorted({int(count) for one in document["people"].values() for count in one})
                document["summary"] = summary(document["people"], counts)
                write(args.out, document)
        house.app.close()
    print(document["summary"])


def _warm(house: House, records: Sequence[Record], held: int) -> None:
    """Load the model, and go the whole way once: what a process does a first time is no person's."""
    piece(house, "warm", records[:4], records[-held:], None)


if __name__ == "__main__":
    main()
