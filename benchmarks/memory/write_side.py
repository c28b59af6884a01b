"""What is kept of an exchange, and whether it stays true: labelled exchanges, our memory and others' side by side.

    python benchmarks/memory/write_side.py --data benchmarks/memory/exchanges.dev.jsonl --ours memory
    python benchmarks/memory/write_side.py --data FILE --ours memory --ours memory:write=model --settings MODEL.toml \\
        --theirs mem0=kept.jsonl --out result.json --details details.jsonl

``--ours`` is a method with settings, or several joined by +; each exchange goes through ``Idiolect.observe`` in order
of time, the clock showing the time of the exchange. ``--settings`` is a settings file that names the model; without one
no model is at hand. ``--theirs NAME=FILE`` is what ``mem0_run.py`` wrote. Only people whom all of them have seen count.

A memory kept from an exchange counts as its gold statement where each group of ``must`` has a substring in the memory's
lower-cased text. One that adds nothing to what another of the same exchange covers, or matches an earlier statement
alone, is a ``duplicate`` (``late``: of one that had not been kept); one that matches nothing is ``junk``.

recall: gold statements kept. precision: memories that count, of those and junk (``strict``: of all).
nothing: exchanges with nothing to keep that leave nothing.
update: closings after which the old statement is no longer live and the new one is; ``of known``: where the old one had
been kept at all. stale: of those, the old one is still live.
false closings: of the statements kept that nothing closes, those that are no longer live at the end.
always: statements that matter for safety, kept.
dated: of the kept statements with a date to resolve, those whose memory has its month in its text (``or fields``:
or beside it). Costs are means over exchanges. Intervals are over people.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import idiolect
from idiolect import config, registry
from idiolect.backends.toy import ToyBackend
from idiolect.measure.statistics import Doubles, pooled_interval
from idiolect.pipeline import Idiolect, helper_of, open_store
from idiolect.store.view import view
from idiolect.types import Backend, Call, Completion, Turn

SEED, RESAMPLES = 0, 10_000
RATIOS = {  # name: (counted, of)
    "recall": ("found", "gold"),
    "precision": ("hits", "judged"),
    "precision, strict": ("hits", "kept"),
    "duplicates": ("duplicate", "kept"),
    "late": ("late", "kept"),
    "nothing": ("nothing_left", "nothing"),
    "update": ("updated", "links"),
    "update, of known": ("updated", "links_known"),
    "stale": ("stale", "links_known"),
    "false closings": ("closed_wrongly", "open"),
    "always": ("always_found", "always"),
    "dated": ("dated_text", "dated"),
    "dated, or fields": ("dated_any", "dated"),
    "ms": ("ms", "exchanges"),
    "model calls": ("calls", "exchanges"),
    "tokens in": ("tokens_in", "exchanges"),
    "tokens out": ("tokens_out", "exchanges"),
    "failures": ("failures", "exchanges"),
}
COSTS = ("ms", "model calls", "tokens in", "tokens out")
_MONTHS = "jan|new year,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec|christmas".split(",")


@dataclass(frozen=True)
class Gold:
    id: str
    must: tuple[tuple[str, ...], ...]
    always: bool
    closes: tuple[str, ...]
    when: str

    def matches(self, text: str) -> bool:
        return all(any(part in text.lower() for part in group) for group in self.must)

    def dated(self, text: str) -> bool:
        """Whether a text has the year, and the month where it is known; a day is not asked for."""
        year, month = (*self.when.split("-"), "")[:2]
        low = text.lower()
        named = month and re.search(rf"\b(?:{_MONTHS[int(month) - 1]}|0?{int(month)}[./-])|\b{year}-{month}", low)
        return year in low and bool(named or not month)


@dataclass(frozen=True)
class Exchange:
    id: str
    person: str
    time: float
    messages: tuple[dict[str, str], ...]
    answer: str
    gold: tuple[Gold, ...]
    why_not: str


@dataclass(frozen=True)
class Memory:
    """One memory; ``fields`` are the dates that are kept with it."""

    text: str
    fields: str = ""


@dataclass(frozen=True)
class Step:
    """What one exchange did: the memories that are new, all that are live after it, and what it cost."""

    new: Mapping[str, Memory]
    live: frozenset[str]
    ms: float
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)


def read(path: Path) -> list[Exchange]:
    """Return the exchanges, person by person, in order of time."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return sorted((_exchange(row) for row in rows), key=lambda one: (one.person, one.time))


def _exchange(row: Mapping[str, Any]) -> Exchange:
    system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    gold = tuple(
        Gold(
            f"{row['id']}#{n}", tuple(tuple(group) for group in one["must"]), bool(one.get("always")),
            tuple(one.get("closes") or ()), one.get("when") or "",
        )
        for n, one in enumerate(row["keep"])
    )  # fmt: skip
    when = datetime.fromisoformat(row["time"].replace("Z", "+00:00"))
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    messages = (*system, *row["messages"])
    return Exchange(
        row["id"], row["person"], when.timestamp(), messages, row["answer"], gold, row.get("why_not") or ""
    )  # fmt: skip


# -- ours ------------------------------------------------------------------------------------------------------------


@dataclass
class Counted:
    """A model whose calls are counted."""

    model: Backend
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def generate(self, calls: Sequence[Call]) -> list[Completion]:
        answers = self.model.generate(calls)
        self._count(len(answers), sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers))
        return answers

    def logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[float]:
        self._count(len(calls), 0, 0)
        return self.model.logprobs(calls, continuations)

    def _count(self, calls: int, tokens_in: int, tokens_out: int) -> None:
        self.calls, self.tokens_in, self.tokens_out = (
            self.calls + calls, self.tokens_in + tokens_in, self.tokens_out + tokens_out
        )  # fmt: skip


def live_texts(app: Idiolect, user: str, moment: float) -> dict[str, Memory]:
    """Return the memories of a person that hold: what another one closed does not, from when that is decided."""
    records = [record for record in app.store.all_records(user) if record.kind == "profile"]
    states = view(app.store, user).states([record.id for record in records])
    held = {
        rid for rid in (record.id for record in records)
        if (state := states.get(rid)) is None or math.isinf(state.closed)
        or (not state.closed_by and state.closed > moment)
    }  # fmt: skip
    return {r.id: Memory(r.output, _dates(r.meta)) for r in records if r.id in held}


def _dates(meta: Mapping[str, Any]) -> str:
    known = [meta[name] for name in ("holds_from", "until") if isinstance(meta.get(name), int | float)]
    return " ".join(datetime.fromtimestamp(when, UTC).date().isoformat() for when in known)


def run_ours(spec: str, settings: Path | None, embedder: str, stream: Sequence[Exchange]) -> tuple[list[Step], dict]:
    """Let methods of ours observe the exchanges."""
    with tempfile.TemporaryDirectory() as folder:
        given: dict[str, Any] = {"paths": {"data": f"{folder}/data", "keys": f"{folder}/keys"}}
        loaded = config.load(settings, given) if settings else config.parse({**given, "embedder": embedder})
        entry = registry.backends.get(loaded.backend)
        made = registry.build(entry, loaded.backends.get(loaded.backend, {})) if settings else ToyBackend()
        model = Counted(made)
        aide = helper_of(loaded)
        helper = None if aide is None else Counted(aide)
        with Idiolect(open_store(loaded), model, loaded, helper=helper) as app:  # type: ignore[arg-type]
            methods = registry.make_folded(spec)
            steps = list(_observed(app, methods, stream, [m for m in (model, helper) if m is not None]))
            about = {
                "methods": [{"name": name, **registry.settings_of(method)} for name, method in methods],
                "model": made.fingerprint if settings else "none",
                "helper": "" if aide is None else aide.fingerprint,
                "embedder": "" if app.store.embedder is None else app.store.embedder.fingerprint,
                "counters": dict(app.counters),
            }
    return steps, about


def _observed(
    app: Idiolect, methods: Sequence[Any], stream: Sequence[Exchange], models: Sequence[Counted]
) -> Iterator[Step]:
    known: dict[str, set[str]] = defaultdict(set)
    for one in stream:
        app.clock = lambda now=one.time: now  # type: ignore[misc]
        for model in models:
            model.calls = model.tokens_in = model.tokens_out = 0
        turn = Turn(one.messages, one.answer, one.time, session=one.id)
        start = time.perf_counter()
        learnt = app.observe(turn, one.person, methods)
        ms = (time.perf_counter() - start) * 1e3
        live = live_texts(app, one.person, one.time)
        new = {r.id: Memory(r.output, _dates(r.meta)) for r in learnt.records if r.kind == "profile"}
        new = {rid: memory for rid, memory in new.items() if rid not in known[one.person]}
        known[one.person] |= set(new)
        yield Step(
            new, frozenset(live), ms, sum(m.calls for m in models), sum(m.tokens_in for m in models),
            sum(m.tokens_out for m in models), dict(learnt.failures),
        )  # fmt: skip


# -- theirs ----------------------------------------------------------------------------------------------------------


def read_theirs(path: Path, stream: Sequence[Exchange]) -> tuple[dict[str, Step], dict]:
    """Return what ``mem0_run.py`` wrote, by exchange; a memory whose text changed is gone, and a new one."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    wanted = {one.id for one in stream}
    live: dict[str, dict[str, str]] = defaultdict(dict)  # person -> id of mem0 -> id of this version
    steps: dict[str, Step] = {}
    for number, row in enumerate(rows):
        if row["type"] != "add" or row["id"] not in wanted:
            continue
        own = live[row["person"]]
        for gone in row["removed"]:
            own.pop(gone["id"], None)
        said = {new["id"]: new["text"] for new in row["added"]} | {c["id"]: c["after"] for c in row["changed"]}
        own.update({key: f"{key}@{number}" for key in said})
        steps[row["id"]] = Step(
            {own[key]: Memory(text) for key, text in said.items()}, frozenset(own.values()), row["ms"], row["calls"],
            row["tokens_in"], row["tokens_out"], {row["fault"]: 1} if row["fault"] else {},
        )  # fmt: skip
    about = {key: value for key, value in rows[0].items() if key not in ("type", "people", "key", "base_url")}
    return steps, {**about, "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


# -- scoring ---------------------------------------------------------------------------------------------------------


@dataclass
class Person:
    """What is known of a person's gold statements so far."""

    gold: dict[str, Gold] = field(default_factory=dict)
    kept_as: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # gold id -> ids of memories

    def alive(self, gold_id: str, live: frozenset[str]) -> bool:
        return bool(self.kept_as[gold_id] & live)


def score(stream: Sequence[Exchange], steps: Sequence[Step]) -> tuple[list[Counter[str]], list[dict[str, Any]]]:
    """Return the counts of each exchange, and what was kept of it with a verdict on each."""
    people: dict[str, Person] = defaultdict(Person)
    last = {one.person: n for n, one in enumerate(stream)}
    counts, details = [], []
    for n, (one, step) in enumerate(zip(stream, steps, strict=True)):
        person = people[one.person]
        count = _costs(step)
        before = {old: set(person.kept_as[old]) for gold in one.gold for old in gold.closes}
        verdicts = _judge(one, step, person, count)
        _close(one, step, person, before, count)
        if not one.gold:
            count.update(nothing=1, nothing_left=int(not step.new))
        if last[one.person] == n:
            _at_the_end(person, step.live, count)
        counts.append(count)
        missed = [gold.id for gold in one.gold if not person.kept_as[gold.id] & set(step.new)]
        details.append({"id": one.id, "why_not": one.why_not, "kept": verdicts, "missed": missed,
                        "failures": dict(step.failures)})  # fmt: skip
    return counts, details


def _costs(step: Step) -> Counter[str]:
    return Counter(
        exchanges=1, ms=step.ms, calls=step.calls, tokens_in=step.tokens_in, tokens_out=step.tokens_out,
        failures=sum(step.failures.values()),
    )  # type: ignore[arg-type]  # fmt: skip


def _judge(one: Exchange, step: Step, person: Person, count: Counter[str]) -> list[dict[str, Any]]:
    """Give each new memory its verdict, and note which statements it is kept as."""
    earlier = dict(person.gold)
    person.gold |= {gold.id: gold for gold in one.gold}
    own = {key: [g.id for g in one.gold if g.matches(memory.text)] for key, memory in step.new.items()}
    paired, covered = pair(own), {gid for found in own.values() for gid in found}
    verdicts = []
    for key, memory in step.new.items():
        past = [gid for gid, gold in earlier.items() if gold.matches(memory.text)]
        known = any(person.kept_as[gid] for gid in past)
        verdict = "hits" if key in paired.values() else "duplicate" if own[key] or known else "late" if past else "junk"
        stands_for = [gid for gid in own[key] or past if paired.get(gid, key) == key or key not in paired.values()]
        for gid in stands_for:
            person.kept_as[gid].add(key)
        count.update({verdict: 1, "kept": 1, "judged": int(verdict in ("hits", "junk"))})
        verdicts.append({"text": memory.text, "verdict": verdict, "gold": stands_for})
    for gold in one.gold:
        count.update(gold=1, found=int(gold.id in covered), always=int(gold.always))
        count["always_found"] += int(gold.always and gold.id in covered)
        if gold.when and gold.id in covered:
            kept = [memory for memory in step.new.values() if gold.matches(memory.text)]
            count["dated"] += 1
            count["dated_text"] += int(any(gold.dated(memory.text) for memory in kept))
            count["dated_any"] += int(any(gold.dated(f"{memory.text} {memory.fields}") for memory in kept))
    return verdicts


def pair(covers: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Give each statement a memory of its own, for as many as can have one: {statement: memory}.

    ``covers`` says which statements each memory covers.
    """
    paired: dict[str, str] = {}

    def place(memory: str, tried: set[str]) -> bool:
        for statement in covers[memory]:
            if statement not in tried:
                tried.add(statement)
                if statement not in paired or place(paired[statement], tried):
                    paired[statement] = memory
                    return True
        return False

    for memory in covers:
        place(memory, set())
    return paired


def _close(
    one: Exchange, step: Step, person: Person, before: Mapping[str, set[str]], count: Counter[str]
) -> None:  # fmt: skip
    for gold in one.gold:
        for old in gold.closes:
            stale, known = bool(before[old] & step.live), bool(before[old])
            new = bool(person.kept_as[gold.id] & set(step.new) & step.live)
            count.update(links=1, links_known=int(known), stale=int(stale), updated=int(known and new and not stale))


def _at_the_end(person: Person, live: frozenset[str], count: Counter[str]) -> None:
    closed = {old for gold in person.gold.values() for old in gold.closes}
    for gid in person.gold:
        if gid not in closed and person.kept_as[gid]:
            count.update(open=1, closed_wrongly=int(not person.alive(gid, live)))


# -- result ----------------------------------------------------------------------------------------------------------


def _ratio(counts: Sequence[Counter[str]], name: str) -> Any:
    above, below = (np.array([float(count[key]) for count in counts]) for key in RATIOS[name])

    def value(weights: Doubles) -> Doubles:
        total = weights @ below
        return np.divide(weights @ above, total, out=np.full(len(total), np.nan), where=total > 0)

    return value


def table(
    stream: Sequence[Exchange], systems: Mapping[str, list[Counter[str]]]
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Return every figure of every system, with the difference to the first one."""
    people = {person: n for n, person in enumerate(dict.fromkeys(one.person for one in stream))}
    of = [people[one.person] for one in stream]
    base = next(iter(systems.values()))
    out: dict[str, dict[str, Any]] = {}
    for name, counts in systems.items():
        figures = {}
        for metric in RATIOS:
            mine, other = _ratio(counts, metric), _ratio(base, metric)
            found = pooled_interval(mine, of, RESAMPLES, SEED)
            less = pooled_interval(lambda w, a=mine, b=other: a(w) - b(w), of, RESAMPLES, SEED)
            above, below = (sum(count[key] for count in counts) for key in RATIOS[metric])
            figures[metric] = {
                **_rounded(asdict(found)), "counted": round(above, 1), "of": below,
                "difference": None if counts is base else _rounded(asdict(less)),
            }  # fmt: skip
        out[name] = {"figures": figures, "nothing_by_reason": _by_reason(stream, counts),
                     "ms_median": round(float(np.median([count["ms"] for count in counts])), 2)}  # fmt: skip
    return out


def _by_reason(stream: Sequence[Exchange], counts: Sequence[Counter[str]]) -> dict[str, list[int]]:
    out: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one, count in zip(stream, counts, strict=True):
        if not one.gold:
            out[one.why_not][0] += count["nothing_left"]
            out[one.why_not][1] += 1
    return dict(sorted(out.items()))


def _failures(steps: Sequence[Step]) -> dict[str, int]:
    return dict(sum((Counter(step.failures) for step in steps), Counter[str]()))


def _rounded(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else round(value, 4) for name, value in values.items()}


def show(result: Mapping[str, Any]) -> None:
    """Print the figures."""
    systems = result["systems"]
    shown = Table("", *systems, title=f"{result['exchanges']} exchanges of {result['people']} people")
    for metric in RATIOS:
        digits = 1 if metric in COSTS else 3
        cells = []
        for one in systems.values():
            f = one["figures"][metric]
            if f["mean"] is None:
                cells.append("-")
                continue
            spread = "" if f["low"] is None else f" [{f['low']:.{digits}f}, {f['high']:.{digits}f}]"
            cells.append(
                f"{f['mean']:.{digits}f}{spread}" + ("" if metric in COSTS else f" {f['counted']:g}/{f['of']:g}")
            )
        shown.add_row(metric, *cells)
    for reason in sorted({reason for one in systems.values() for reason in one["nothing_by_reason"]}):
        cells = [one["nothing_by_reason"].get(reason, (0, 0)) for one in systems.values()]
        shown.add_row(f"  nothing: {reason}", *(f"{left}/{n}" for left, n in cells))
    for name in sorted({name for one in systems.values() for name in one["failures_by_name"]}):
        shown.add_row(f"  failure: {name}", *(str(one["failures_by_name"].get(name, 0)) for one in systems.values()))
    Console(width=40 + 34 * len(systems)).print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ours", action="append", default=[], metavar="METHOD:SETTING=VALUE")
    parser.add_argument("--theirs", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--settings", type=Path, help="settings file that names the model (and the embedder)")
    parser.add_argument("--embedder", default="minilm", help="without --settings: minilm, static or none")
    parser.add_argument("--people", type=int, default=0, help="only the first so many")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--details", type=Path, help="JSON lines: what was kept of each exchange, with the verdicts")
    args = parser.parse_args()
    if not args.ours and not args.theirs:
        parser.error("give --ours or --theirs")
    stream = read(args.data)
    theirs = {name: read_theirs(Path(file), stream) for name, _, file in (one.partition("=") for one in args.theirs)}
    seen = set.intersection({one.person for one in stream}, *(_whole(stream, steps) for steps, _ in theirs.values()))
    people = [p for p in dict.fromkeys(one.person for one in stream) if p in seen][: args.people or None]
    stream = [one for one in stream if one.person in people]
    if not stream:
        parser.error("there is no person whose exchanges all systems have seen")
    steps = {spec: run_ours(spec, args.settings, args.embedder, stream) for spec in args.ours}
    steps |= {name: ([by_id[one.id] for one in stream], about) for name, (by_id, about) in theirs.items()}
    scored = {name: score(stream, own) for name, (own, _) in steps.items()}
    figures = table(stream, {name: counts for name, (counts, _) in scored.items()})
    result = {
        "task": "memory-write-side-1", "data": args.data.name, "exchanges": len(stream), "people": len(people),
        "data_sha256": hashlib.sha256(args.data.read_bytes()).hexdigest(), "seed": SEED, "resamples": RESAMPLES,
        "systems": {
            name: {**figures[name], "failures_by_name": _failures(own), "about": about}
            for name, (own, about) in steps.items()
        },
        "versions": {"idiolect": idiolect.__version__, "numpy": np.__version__, "python": platform.python_version()},
    }  # fmt: skip
    show(result)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if args.details:
        rows = ({"system": name, **row} for name, (_, details) in scored.items() for row in details)
        args.details.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def _whole(stream: Sequence[Exchange], steps: Mapping[str, Step]) -> set[str]:
    """Return the people all of whose exchanges were seen."""
    return {one.person for one in stream} - {one.person for one in stream if one.id not in steps}


if __name__ == "__main__":
    main()
