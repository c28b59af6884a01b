"""One run of one task: draw the queries, ask every arm, score, and say what made the numbers."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import orjson

from idiolect import __version__, registry
from idiolect.bench.arms import Arm
from idiolect.bench.asking import PUBLIC, Asker, Planner
from idiolect.bench.cache import CachedBackend
from idiolect.bench.calibration import calibrated
from idiolect.bench.metrics import BITS
from idiolect.bench.result import Row, describe, metrics_of, results
from idiolect.bench.task import Answer, Dataset, Metric, Population, Query, Task
from idiolect.bench.tasks._shared import normal, stable_rng
from idiolect.config import Settings
from idiolect.errors import ConfigError, InputError, UnsupportedCall
from idiolect.measure.statistics import PILOT
from idiolect.store.keys import MasterKey
from idiolect.store.peers import Policy
from idiolect.store.sharing import sharing
from idiolect.store.store import Store
from idiolect.types import Artifact, Backend, Call, Embedder, Record, Template

FORMAT = 1
COLD_START = (0, 1, 2, 5, 10, 20)
_PACKAGES = ("numpy", "xllamacpp", "onnxruntime", "tokenizers", "torch", "transformers")
_CHUNK = 16

Scoring = Literal["auto", "likelihood", "text"]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Options:
    """How a task is run. ``limit`` bounds the queries: one from each person before a second from any."""

    limit: int | None = None
    seed: int = 0
    tokens: int = 600
    """Budget of the personal part of the prompt."""
    cold_start: tuple[int, ...] = ()
    """Also run the methods with so many of each person's newest records."""
    scoring: Scoring = "auto"
    peers: int = 100
    """So many further people are read in where a method learns from others."""


@dataclass
class Bench:
    """What runs share: the model, the embedder, the arms."""

    model: CachedBackend
    embedder: Embedder | None
    arms: Sequence[Arm]
    options: Options
    backend: Mapping[str, Any]
    """Name and settings of the backend, as the result tells them."""
    progress: Progress = lambda label, done, total: None
    helper: CachedBackend | None = None
    """Another model that writes and judges for the one that is asked."""
    people: Callable[[str], str] | None = None
    """Turns a user id into what stands for it in results; where it is set, no text is written to the lines either."""

    def run(
        self, name: str, task: Task, dataset: Dataset, lines: TextIO | None = None, store: Store | None = None
    ) -> dict[str, Any]:
        """Run a task over a dataset and return the result document (``docs/bench.md`` describes it).

        ``store`` holds the histories already; without one they are put into a store of their own, and thrown away.
        """
        check(name, dataset)
        self._check_arms()
        queries = draw(dataset.queries, self.options.limit, self.options.seed)
        partners = pair(dataset, queries, self.options.seed)
        with _store(self.embedder) if store is None else nullcontext(store) as opened:
            if store is None:
                needed = self._needed(dataset, queries, partners)
                self._fill(name, opened, [dataset.histories.get(person, ()) for person in needed])
            return self._measure(name, task, dataset, queries, partners, opened, lines)

    def _measure(
        self,
        name: str,
        task: Task,
        dataset: Dataset,
        queries: Sequence[Query],
        partners: Mapping[str, str],
        store: Store,
        lines: TextIO | None,
    ) -> dict[str, Any]:
        likelihood = self.likely(task)
        asker, metrics = Asker(task, self.model, likelihood), metrics_of(task, likelihood)
        people = list(dict.fromkeys(query.user for query in queries))
        arms = [arm for arm in self.arms if partners or not arm.other]  # nobody stands in for the only person
        curves = [arm for arm in arms if arm.kind == "method"] if self.options.cold_start else []
        steps = Steps(self.progress, name, len(queries) * (len(arms) + len(curves) * len(self.options.cold_start)))
        rows = [self._row(arm, asker, store, partners, queries, steps, lines) for arm in arms]
        rows += predicted(task, dataset, queries)
        cold = [
            self._row(arm, asker, store, partners, queries, steps, None, latest)
            for arm in curves
            for latest in self.options.cold_start
        ]
        return {
            **self._provenance(name, task, metrics, dataset, likelihood),
            "people": len(people),
            "queries": len(queries),
            "pilot": len(people) < PILOT,
            "person_ids": [(self.people or _person_id)(person) for person in people],
            "results": results(metrics, queries, people, rows),
            "cold_start": [
                {"method": row.name, **row.extra, **_curve_point(describe(metrics, queries, people, row))}
                for row in cold
            ],
        }

    def _check_arms(self) -> None:
        """Refuse before anything is asked what the backend cannot let a method learn."""
        for arm in self.arms:
            for name, _ in registry.with_parts(arm.methods()):
                for need in sorted({*registry.methods.get(name).info["fit_needs"]} - self.model.supports):
                    able = [entry.name for entry in registry.backends if need in entry.info["supports"]]
                    raise UnsupportedCall(name, str(self.backend["name"]), need, able)

    def _needed(self, dataset: Dataset, queries: Sequence[Query], partners: Mapping[str, str]) -> list[str]:
        """Return whom the store must hold: who is asked for, their partners, and others to learn from."""
        needed = dict.fromkeys(chain((query.user for query in queries), partners.values()))
        infos = [registry.methods.get(name).info for arm in self.arms for name, _ in registry.with_parts(arm.methods())]
        if any(info["peers"] or info["together"] for info in infos):
            others = sorted(person for person in dataset.histories if person not in needed)
            stable_rng(self.options.seed, "peers").shuffle(others)
            needed.update(dict.fromkeys(others[: self.options.peers]))
        return list(needed)

    def _fill(self, name: str, store: Store, histories: Sequence[Iterable[Any]]) -> None:
        for done, history in enumerate(histories):
            self.progress(f"{name}: reading in", done, len(histories))
            store.add(history)

    def likely(self, task: Task) -> bool:
        """Whether the backend scores; an endpoint that says so is asked once."""
        if self.options.scoring == "text" or "logprobs" not in self.model.supports:
            if self.options.scoring == "likelihood":
                raise ConfigError("this backend cannot score by likelihood. Leave --score out, or use --score text.")
            return False
        try:
            self.model.logprobs([Call(({"role": "user", "content": "Yes or no?"},))], ["Yes"])
        except UnsupportedCall:
            if self.options.scoring == "likelihood":
                raise
            return False
        return True

    def _row(
        self,
        arm: Arm,
        asker: Asker,
        store: Store,
        partners: Mapping[str, str],
        queries: Sequence[Query],
        steps: Steps,
        lines: TextIO | None,
        latest: int | None = None,
    ) -> Row:
        until, policy = self._until(store, queries, partners), PUBLIC if self.people is None else Policy()
        planner = Planner(
            store, self.model, arm, partners, self.options.tokens, self.options.seed, latest, until,
            frozenset(query.user for query in queries), template_of(asker.task, queries), policy, self.helper,
            known=steps.learnt,
        )  # fmt: skip
        calls, seconds = self._spent()
        asked = [query for query in queries if not arm.other or query.user in partners]
        answers: list[Answer] = []
        planner.learn(asked)
        for start in range(0, len(asked), _CHUNK):
            part = asked[start : start + _CHUNK]
            made = asker.ask(planner, part)
            answers += made
            for query, answer in zip(part, made, strict=True):
                self._line(lines, arm, asker.task, query, answer)
            steps.advance(arm.name, len(part))
        if asker.likelihood and asker.task.form == "choice":
            answers = calibrated(asked, answers)
        found = dict(zip((query.id for query in asked), answers, strict=True))
        settings = [{"name": method, **registry.settings_of(thing)} for method, thing in planner.methods]
        return Row(
            arm.name,
            arm.kind,
            arm.sees,
            [found.get(query.id) for query in queries],
            settings,
            self._spent()[0] - calls,
            self._spent()[1] - seconds,
            {} if latest is None else {"records": latest},
        )

    def _spent(self) -> tuple[int, float]:
        """Return calls and seconds of the model and its helper so far."""
        models = [model for model in (self.model, self.helper) if model is not None]
        return sum(model.calls for model in models), sum(model.seconds for model in models)

    def _until(self, store: Store, queries: Sequence[Query], partners: Mapping[str, str]) -> dict[str, float]:
        """Return everybody whom methods may learn from, and until when: the first question asked for them.

        In a store of real users these are the ones who share. Who is there only to stand in for somebody is not
        learnt from.
        """
        first: dict[str, float] = {}
        for query in queries:
            first[query.user] = min(query.time, first.get(query.user, query.time))
        if self.people is not None:
            return {name: first.get(name, float("inf")) for name in sharing(store)}
        stand_ins = set(partners.values()) - first.keys()
        names = (info.id for info in store.everybody() if info.id not in stand_ins)
        return {name: first.get(name, float("inf")) for name in names}

    def _line(self, lines: TextIO | None, arm: Arm, task: Task, query: Query, answer: Answer) -> None:
        if lines is None:
            return
        main = task.metrics[0].score
        texts = {} if self.people else {"answer": answer.text, "label": answer.label, "gold": query.gold}
        line = {
            "method": arm.name, "query": query.id, "user": (self.people or str)(query.user), "prompt": answer.prompt,
            **texts, "score": main(query, answer) if main is not None else None, "gold_nats": answer.gold_nats,
            "tokens_in": answer.tokens_in, "tokens_out": answer.tokens_out, "seconds": round(answer.seconds, 4),
            "failure": answer.failure, "used": answer.used,
        }  # fmt: skip
        lines.write(orjson.dumps(line).decode() + "\n")

    def _provenance(
        self, name: str, task: Task, metrics: Sequence[Metric], dataset: Dataset, likelihood: bool
    ) -> dict[str, Any]:
        info = registry.tasks.get(name).info if name in registry.tasks.names() else {}
        files = [_file(path) for path in dataset.files]
        return {
            "format": FORMAT,
            "task": name,
            "title": (type(task).__doc__ or name).strip().split("\n")[0],
            "task_version": task.version,
            "form": task.form,
            "task_settings": registry.settings_of(task),
            **{key: info.get(key, "") for key in ("paper", "published", "licence")},
            "idiolect": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": self.options.seed,
            "limit": self.options.limit,
            "prompt_tokens": self.options.tokens,
            "peers": self.options.peers,
            "backend": dict(self.backend),
            "model": self.model.fingerprint,
            "helper": "" if self.helper is None else self.helper.fingerprint,
            "embedder": "" if self.embedder is None else self.embedder.fingerprint,
            "scored_by": "text" if not likelihood else "both" if task.form == "text" and task.writes else "likelihood",
            "data": {"hash": _hash(files), "files": files},
            "packages": dict(versions()),
            "machine": machine(),
            "dropped": dict(dataset.dropped),
            "metrics": [{"name": metric.name, "better": metric.better} for metric in metrics],
            "main": metrics[0].name,
        }


@dataclass
class Steps:
    """Counts answered queries over all arms of a task, and holds what they have in common."""

    progress: Progress
    name: str
    total: int
    done: int = 0
    learnt: dict[object, list[Artifact]] = field(default_factory=dict)
    """What methods learnt from many people at once."""

    def advance(self, arm: str, count: int) -> None:
        """Tell that ``count`` more queries are answered."""
        self.done += count
        self.progress(f"{self.name}: {arm}", self.done, self.total)


def backend_of(settings: Settings) -> tuple[Backend, dict[str, Any]]:
    """Make the configured backend, deterministic where it can be; return it and what a result tells of it."""
    entry = registry.backends.get(settings.backend)
    given = dict(settings.backends.get(settings.backend, {}))
    known = {f.name: f for f in fields(cast("Any", entry.make))}
    if "deterministic" in known:
        given.setdefault("deterministic", True)
    told = {key: value for key, value in given.items() if key not in known or known[key].repr}
    return registry.build(entry, given), {"name": settings.backend, "settings": told}


def check(name: str, dataset: Dataset) -> None:
    """Raise :class:`InputError` where a query's gold stands in the own history, or two queries have one id."""
    if not dataset.queries:
        raise InputError(f"task {name!r} has no query in this data ({dict(dataset.dropped)})")
    twice = [id for id, count in Counter(query.id for query in dataset.queries).items() if count > 1]
    if twice:
        raise InputError(f"task {name!r}: two queries are called {twice[0]!r}; make their ids differ")
    for query in dataset.queries:
        asked = normal(query.focus)
        for record in visible(dataset, query):
            if query.item and record.meta.get("item") == query.item:
                raise InputError(
                    f"task {name!r}: the history of {query.user!r} holds what query {query.id!r} asks about"
                )
            if asked and record.output == query.gold and normal(record.input) == asked:
                raise InputError(f"task {name!r}: the history of {query.user!r} holds the answer to {query.id!r}")


def visible(dataset: Dataset, query: Query) -> list[Record]:
    """Return the person's records from before the query."""
    return [record for record in dataset.histories.get(query.user, ()) if record.time < query.time]


def draw(queries: Sequence[Query], limit: int | None, seed: int) -> list[Query]:
    """Draw ``limit`` queries, one from each person before a second from any; in the order of the task."""
    if limit is None or limit >= len(queries):
        return list(queries)
    asked: dict[str, list[Query]] = {}
    for query in queries:
        asked.setdefault(query.user, []).append(query)
    people = sorted(asked)
    stable_rng(seed, "people").shuffle(people)
    for person in people:
        stable_rng(seed, "queries", person).shuffle(asked[person])
    rounds = chain.from_iterable(zip_longest(*(asked[person] for person in people)))
    chosen = {query.id for query, _ in zip((q for q in rounds if q is not None), range(limit), strict=False)}
    return [query for query in queries if query.id in chosen]


def pair(dataset: Dataset, queries: Sequence[Query], seed: int) -> dict[str, str]:
    """Choose for each person another one, by the seed, who has a record before that person's first query.

    Whoever is earlier than everybody else has none.
    """
    first: dict[str, float] = {}
    for query in queries:
        first[query.user] = min(query.time, first.get(query.user, query.time))
    earliest = {p: min(r.time for r in history) for p, history in dataset.histories.items() if history}
    known = sorted(earliest)
    partners: dict[str, str] = {}
    for person, time in first.items():
        order = stable_rng(seed, "other", person)
        tried = (known[order.randrange(len(known))] for _ in range(20 * len(known))) if known else iter(())
        other = next((o for o in tried if o != person and earliest[o] < time), None)
        if other is not None:
            partners[person] = other
    return partners


def template_of(task: Task, queries: Sequence[Query]) -> Template:
    """Return how the questions of a task are asked: the first, the options where all have the same, what is judged."""
    first = queries[0]
    same = all(query.options == first.options for query in queries)
    judged: Literal["likelihood", "text"] = "likelihood"
    if task.form == "text" and task.writes and task.metrics[0].name != BITS:
        judged = "text"
    return Template(Call(first.messages, first.focus, first.item), first.options if same else (), judged)


def predicted(task: Task, dataset: Dataset, queries: Sequence[Query]) -> list[Row]:
    """Let the task's predictors answer."""
    population = Population(dataset.histories, dataset.queries)
    rows = []
    for name, predictor in task.predictors.items():
        made = [predictor(query, visible(dataset, query), population) for query in queries]
        answers = [
            None if found is None else _prediction(query, found) for query, found in zip(queries, made, strict=True)
        ]
        rows.append(Row(name, "predictor", "", answers))
    return rows


def _prediction(query: Query, found: str | Sequence[float]) -> Answer:
    if isinstance(found, str):
        return Answer(found, found)
    best = query.options[max(range(len(found)), key=lambda n: found[n])]
    return Answer(best, best, tuple(float(value) for value in found))


def _curve_point(described: Mapping[str, Any]) -> dict[str, Any]:
    return {key: described[key] for key in ("users", "queries", "metrics", "prompt_tokens_mean", "seconds")}


@contextmanager
def _store(embedder: Embedder | None) -> Iterator[Store]:
    with tempfile.TemporaryDirectory(prefix="idiolect-bench-") as folder:
        home = Path(folder)
        store = Store.open(home / "data", home / "keys", MasterKey(f"file:{home / 'keys' / 'master.key'}"), embedder)
        try:
            yield store
        finally:
            store.close()


def _person_id(user: str) -> str:
    return hashlib.blake2b(user.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {
            "name": path.name,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            "bytes": path.stat().st_size,
        }


def _hash(files: Sequence[Mapping[str, Any]]) -> str:
    return hashlib.sha256("".join(str(file["sha256"]) for file in files).encode()).hexdigest()[:16] if files else ""


def versions() -> Iterator[tuple[str, str]]:
    """Yield the packages that numbers depend on, with the versions that are installed."""
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _processor() -> str:
    """Name the processor and what of its vector instructions decides how fast matrices are multiplied."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return platform.machine()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    able = [one for one in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if one in told.get("flags", "").split()]
    return " ".join(filter(None, [platform.machine(), told.get("model name"), *able]))


def machine() -> dict[str, Any]:
    """Say what the numbers were made on; no name of the machine or of its owner."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
    }
