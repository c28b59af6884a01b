"""Corrections recalled by the shape of a task: MemPrompt's streams, the lookup alone and with small local models.

    git clone https://github.com/madaan/memprompt
    python benchmarks/memory/corrections.py --data DIR --templates memprompt/src/templates --out FILE.json
    python benchmarks/memory/corrections.py ... --models                # the lookup alone, no language model

DIR holds ``memprompt/tasks/STREAM/tasks_N.jsonl`` with lines ``{meta, type, template_id}``; the wording of a task is
its published template (``templates*.py``, which are read, not run). A stream is walked in order. After an error the
simulated person says what was meant, "No, I meant a synonym.", with probability 0.5; the same coins for every way. The
message reaches the store as in life: the method's own ``observe`` has to recognise it.

lookup: no model. A task is an error unless a correction of its kind (``type``) comes first. Apart: tasks whose very
wording (``template_id``) was corrected before; those of which only another wording of the kind was; and those of whose
kind nothing was. ``right`` and ``wrong`` are parts of these; wrong counts where anything of another kind is shown. The
word at hand stands in < >, as published, in quotes, or unmarked. ``letters < 6`` is the published lookup: fewer than
six edits between the keys, however short.

streams: the model must say its understanding: which of the five kinds is asked for. The kinds are scored by their
summed log probability as the answer, the likeliest counts; accuracy over the tasks, by their fifths and by how many
corrections there were. Ways: nothing, the growing prompt (the last corrections until the budget is full), the method.

Finished runs in FILE.json are kept where what made them is the same.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

import idiolect
from idiolect.backends.llamacpp import LlamaCppBackend
from idiolect.backends.toy import ToyBackend
from idiolect.errors import IdiolectError
from idiolect.memory.corrections import Corrections
from idiolect.memory.feedback import read
from idiolect.memory.shapes import SLOT, frame, letters
from idiolect.prompting.assembly import assemble
from idiolect.store.keys import MasterKey
from idiolect.store.store import Store
from idiolect.store.view import StoredUser
from idiolect.text.embedding import load_embedder
from idiolect.text.terms import STOP_WORDS
from idiolect.types import Block, Call, Context, Embedder, Hit, Item, Kind, Record, Turn, Used, User

STREAMS = ("linguistic", "hin", "pun", "synthetic_gpt3")
MEANT = {
    "syn": "a synonym", "ant": "an antonym", "hom": "a homonym", "defn": "a definition", "sent": "a sentence",
    "cyc": "turning the letters round", "anag1": "sorting all letters but the first and last",
    "anag2": "sorting all letters but two at each end", "randsym": "taking out the symbols",
    "rev": "reading it backwards",
}  # fmt: skip
MARKS = {"< >": "< {} >", "quotes": '"{}"', "unmarked": "{}"}
START, HOUR = 1_700_000_000.0, 3600.0
EVER = 10**6
OPTIONS = [MEANT[kind] for kind in ("syn", "ant", "hom", "defn", "sent")]
TOLD = (
    "You will be asked about a word. Do not answer yet: say what the person wants, a synonym, an antonym, a homonym, "
    "a definition or a sentence. Reply with one of these alone."
)


@dataclass(frozen=True)
class Task:
    question: str
    kind: str
    wording: str


def read_templates(folder: Path) -> dict[str, dict[str, str]]:
    """Return {stream: {template id: question with ``{}`` for the word}} of the published files, read, not run."""
    out: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("templates*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)):
                continue
            for name, rows in zip(node.value.keys, node.value.values, strict=True):
                for row in rows.elts if isinstance(rows, ast.List) else ():
                    told = {k.value: v for k, v in zip(row.keys, row.values, strict=True)}  # type: ignore[attr-defined]
                    parts = told["question"].body.values
                    text = "".join(p.value if isinstance(p, ast.Constant) else "{}" for p in parts)
                    out.setdefault(name.value, {})[told["template_id"].value] = text  # type: ignore[union-attr]
    if not out:
        sys.exit(
            f"no templates*.py in {folder}; they are published at https://github.com/madaan/memprompt, src/templates"
        )
    return out


def stream_file(data: Path, stream: str) -> Path:
    return max((data / "memprompt" / "tasks" / stream).glob("tasks_*.jsonl"), key=lambda path: path.stat().st_size)


def load(data: Path, stream: str, templates: dict[str, str], mark: str) -> list[Task]:
    """Return a stream's tasks in order, the word at hand marked."""
    out = []
    for line in stream_file(data, stream).read_text("utf-8").splitlines():
        row = json.loads(line)
        text = templates[row["template_id"]].replace("< {} >", MARKS[mark])
        out.append(Task(text.format(next(iter(row["meta"].values()))), row["type"], row["template_id"]))
    return out


def corrected(task: Task, wrong: str, number: int, method: Corrections, ctx: Context, user: User) -> tuple[Record, ...]:
    """Let the method observe that the person put an answer right; nothing where it does not notice."""
    talk = (("user", task.question), ("assistant", f"You want {wrong}."), ("user", f"No, I meant {MEANT[task.kind]}."))
    messages = tuple({"role": role, "content": text} for role, text in talk)
    return method.observe(Turn(messages, "I see.", START + HOUR * number), user, ctx).records


# -- the lookup, without a model -------------------------------------------------------------------------------

Lookup = Callable[[str, Sequence[Record]], list[Record]]
"""``(question, corrections so far, oldest first) -> what is shown, what counts most first``."""


@dataclass(frozen=True)
class Everything:
    """A person in memory whose search returns all records: what is measured is the lookup, not the search."""

    records: Sequence[Record]
    id: str = "ana"
    now: float = float("inf")

    def search(self, query: str, k: int = 10, *, kinds: Sequence[Kind] = ()) -> list[Hit]:
        return [Hit(record, 1.0) for record in self.records]


def by_method(method: Corrections, ctx: Context, question: str, said: Sequence[Record]) -> list[Record]:
    call = method.apply(Call(({"role": "user", "content": question},)), Everything(said), ctx)  # type: ignore[arg-type]
    by_id = {record.id: record for record in said}
    items = [item for block in call.context for item in block.items]
    return [by_id[item.used.id] for item in sorted(items, key=lambda item: -item.score)]


def by_cosine(embedder: Embedder, least: float, question: str, said: Sequence[Record]) -> list[Record]:
    if not said:
        return []
    vectors = np.stack([vector(embedder, record.input) for record in said])
    close = vectors @ vector(embedder, question)
    at = max(range(len(said)), key=lambda n: (close[n], n))
    return [said[at]] if close[at] >= least else []


@cache
def vector(embedder: Embedder, question: str) -> Any:
    return embedder.embed([frame(question).replace(SLOT, "it")])[0]


@cache
def published_key(question: str) -> str:
    bare = re.sub(r"[^a-z0-9 ]", "", re.sub("<.*>", "", question).lower())
    return " ".join(word for word in bare.split() if word not in STOP_WORDS)


@cache
def published_distance(one: str, other: str) -> int:
    return letters(one, other)


def by_letters(question: str, said: Sequence[Record]) -> list[Record]:
    mine = published_key(question)
    apart = [(published_distance(mine, published_key(one.input)), -n) for n, one in enumerate(said)]
    best = min(apart, default=(6, 0))
    return [said[-best[1]]] if best[0] < 6 else []


def lookups(embedder: Embedder, tau: Sequence[float], near: Sequence[float]) -> Iterator[tuple[str, Lookup]]:
    ctx = Context(ToyBackend(), lambda: START, np.random.default_rng(0), embedder)
    yield "letters < 6 (published)", by_letters
    yield "shape", partial(by_method, Corrections(near=2, candidates=EVER), ctx)
    yield "shape and embedder (default)", partial(by_method, Corrections(candidates=EVER), ctx)
    for one in near:
        yield f"embedder alone, cosine {one}", partial(by_cosine, embedder, one)
    for one in tau:
        method = Corrections(near=2, tau=one, tau_bare=one, candidates=EVER)
        yield f"shape, tau {one} for all", partial(by_method, method, ctx)


def walk(tasks: Sequence[Task], find: Lookup, seed: int) -> dict[str, Any]:
    """Walk a stream and count, by what was corrected before: right, wrong and the number of tasks."""
    rng, method, ctx = (
        random.Random(seed),
        Corrections(),
        Context(ToyBackend(), lambda: START, np.random.default_rng(0)),
    )
    said: list[Record] = []
    kinds: dict[str, Task] = {}
    counts = {name: [0, 0, 0] for name in ("same wording", "other wording", "nothing")}
    for number, task in enumerate(tasks):
        told = [kinds[one.id] for one in find(task.question, said)]
        right, wrong = bool(told) and told[0].kind == task.kind, any(one.kind != task.kind for one in told)
        known = kinds.values()
        state = "same wording" if any(one.wording == task.wording for one in known) else (
            "other wording" if any(one.kind == task.kind for one in known) else "nothing")  # fmt: skip
        counts[state] = [a + b for a, b in zip(counts[state], (right, wrong, 1), strict=True)]
        heads = rng.random() < 0.5
        if heads and not right:
            for record in corrected(task, "something else", number, method, ctx, Everything(said)):  # type: ignore[arg-type]
                said.append(record)
                kinds[record.id] = task
    return {"corrections": len(said), "counts": counts}


def summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the parts over all streams."""
    out: dict[str, Any] = {"corrections": sum(one["corrections"] for one in found)}
    for state in found[0]["counts"]:
        right, wrong, n = (sum(one["counts"][state][at] for one in found) for at in range(3))
        out[state] = {"right": round(right / max(1, n), 4), "wrong": round(wrong / max(1, n), 4), "tasks": n}
    return out


# -- with a model ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Growing:
    """The last corrections, whatever is asked, until the budget is full (the paper's baseline)."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        said = [one for record in user.history if (one := read(record)) is not None]
        items = tuple(
            Item(f'Asked "{one.question}": {one.feedback.comment}', Used("record", one.record.id, "growing", "growing"),
                 one.record.time, order=one.record.time)
            for one in said
        )  # fmt: skip
        return call.add(Block("growing", "What this person meant the last times something was asked:", items))


WAYS: dict[str, Any] = {"no memory": None, "growing prompt": Growing(), "corrections": Corrections()}


@dataclass
class Run:
    """One stream walked with one model in one way."""

    model: LlamaCppBackend
    way: str
    embedder: Embedder
    tokens: int
    seed: int
    right: list[bool] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    spent: list[int] = field(default_factory=list)

    def over(self, tasks: Sequence[Task], step: Callable[[], None]) -> dict[str, Any]:
        rng, start, corrections = random.Random(self.seed), time.perf_counter(), 0
        ctx = Context(self.model, lambda: START, np.random.default_rng(0), self.embedder, tokens=self.tokens)
        with tempfile.TemporaryDirectory() as folder:
            store = Store.open(
                Path(folder), Path(folder) / "keys", MasterKey(f"file:{folder}/master.key"), self.embedder
            )
            for number, task in enumerate(tasks):
                user = StoredUser(store, "ana")
                guess = self._understood(task, user, ctx)
                self.right.append(guess == MEANT[task.kind])
                self.known.append(corrections)
                if rng.random() < 0.5 and not self.right[-1]:
                    noticed = corrected(task, guess, number, Corrections(), ctx, user)
                    store.add(noticed)
                    corrections += len(noticed)
                step()
            store.close()
        return {**self._figures(), "corrections": corrections, "seconds": round(time.perf_counter() - start, 1)}

    def _understood(self, task: Task, user: User, ctx: Context) -> str:
        call = Call(({"role": "system", "content": TOLD}, {"role": "user", "content": task.question}))
        method = WAYS[self.way]
        if method is not None:
            call = assemble(method.apply(call, user, ctx), self.tokens, self.model.count_tokens)
        self.spent.append(sum(self.model.count_tokens(str(message["content"])) for message in call.messages))
        scores = self.model.logprobs([call] * len(OPTIONS), OPTIONS)
        return OPTIONS[max(range(len(OPTIONS)), key=lambda n: scores[n])]

    def _figures(self) -> dict[str, Any]:
        fifth = max(1, len(self.right) // 5)
        steps = ((0, 5), (5, 10), (10, 20), (20, EVER))
        among = {f"{a}-{b - 1}" if b < EVER else f"{a}-": [r for r, k in zip(self.right, self.known, strict=True)
                 if a <= k < b] for a, b in steps}  # fmt: skip
        return {
            "accuracy": round(float(np.mean(self.right)), 4),
            "by fifth": [round(float(np.mean(self.right[at : at + fifth])), 4) for at in range(0, fifth * 5, fifth)],
            "by corrections so far": {name: [round(float(np.mean(r)), 4), len(r)] for name, r in among.items() if r},
            "prompt tokens": round(float(np.mean(self.spent)), 1),
        }


# -- the file --------------------------------------------------------------------------------------------------


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lookup_part(args: argparse.Namespace, embedder: Embedder, templates: dict[str, dict[str, str]],
                progress: Progress) -> dict[str, Any]:  # fmt: skip
    found: dict[str, Any] = {}
    ways = list(lookups(embedder, args.tau, args.near))
    bar = progress.add_task("lookup", total=len(MARKS) * len(ways) * len(STREAMS))
    for mark in MARKS:
        streams = [load(args.data, stream, templates[stream], mark)[: args.lookup_tasks] for stream in STREAMS]
        for name, find in ways:
            each = []
            for tasks in streams:
                each.append(walk(tasks, find, args.seed))
                progress.advance(bar)
            found.setdefault(mark, {})[name] = {
                **summary(each), "by stream": dict(zip(STREAMS, each, strict=True)),
            }  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--templates", type=Path, required=True, help="folder of the published templates*.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", nargs="*", default=["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"])
    parser.add_argument("--streams", nargs="*", default=["linguistic", "hin"], help="walked with the models")
    parser.add_argument("--tasks", type=int, default=150, help="of each stream with a model")
    parser.add_argument("--lookup-tasks", type=int, default=300, help="of each stream for the lookup alone")
    parser.add_argument("--tokens", type=int, default=300, help="budget of the personal part of the prompt")
    parser.add_argument("--tau", type=float, nargs="*", default=[0.0, 0.15, 0.2, 0.25, 0.34])
    parser.add_argument("--near", type=float, nargs="*", default=[0.7, 0.8, 0.9, 0.95])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    embedder = load_embedder("minilm")
    if embedder is None:
        sys.exit("the embedder minilm is needed: idiolect models pull minilm")
    templates = read_templates(args.templates)
    made = {
        "idiolect": idiolect.__version__, "seed": args.seed, "embedder": embedder.fingerprint,
        "settings": asdict(Corrections()), "tau": args.tau, "near": args.near,
        "lookup_tasks": args.lookup_tasks,
        "data_sha256": {stream: digest(stream_file(args.data, stream)) for stream in STREAMS},
        "templates_sha256": {path.name: digest(path) for path in sorted(args.templates.glob("templates*.py"))},
    }  # fmt: skip
    old = json.loads(args.out.read_text("utf-8")) if args.out.exists() else {}
    result = old if old.get("made") == made else {"made": made}

    def keep() -> None:
        args.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")

    with Progress() as progress:
        if "lookup" not in result:
            result["lookup"] = lookup_part(args, embedder, templates, progress)
            keep()
        for name in args.models:
            model = LlamaCppBackend(name, n_ctx=2048, slots=1, threads=1, deterministic=True)
            for stream, way in ((stream, way) for stream in args.streams for way in WAYS):
                label = f"{name}, {stream}, {args.tasks} tasks, {args.tokens} tokens, {way}"
                tasks = load(args.data, stream, templates[stream], "< >")[: args.tasks]
                if label in result.setdefault("streams", {}):
                    continue
                step = partial(progress.advance, progress.add_task(label, total=len(tasks)))
                run = Run(model, way, embedder, args.tokens, args.seed)
                result["streams"][label] = {"model": model.fingerprint, **run.over(tasks, step)}
                keep()
            model.close()


if __name__ == "__main__":
    try:
        main()
    except (IdiolectError, OSError) as error:
        sys.exit(str(error))
