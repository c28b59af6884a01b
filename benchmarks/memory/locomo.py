"""LoCoMo with memories: how much of the evidence enters the prompt, and how well a local model then answers.

    python benchmarks/memory/locomo.py --data ../shared/data --out benchmarks/results/memory/locomo.json
    python benchmarks/memory/locomo.py --data ../shared/data --out FILE --answers 60 --model qwen2.5-coder-1.5b-instruct

Every turn of a dialogue is told to method ``memory``, in order, with the clock at the time of the turn; what it keeps
stands beside the raw turns. Evidence recall is the share of a question's evidence turns that enter, themselves or as a
memory written from them. The answers' token F1 is over the same questions for every arm, at the same budgets: raw
turns, memories, both, the newest turns as far as they fit (``newest``: the full context cut to a size), and what other
packages found (``--theirs NAME=FILE`` of ``mem0_run.py``, its memories in its own order within the budget). Questions
whose key an audit found wrong (``locomo_wrong_keys.txt``: 99) and those of category 5 are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import read_side
from read_side import SEED, Counter, Question
from rich.progress import track

from idiolect import registry
from idiolect.config import parse
from idiolect.measure.overlap import token_f1
from idiolect.measure.statistics import mean_interval
from idiolect.pipeline import Idiolect
from idiolect.prompting.assembly import write
from idiolect.text.rendering import date_header, render
from idiolect.types import Block, Call, Item, Record, Sampling, Turn, Used

BUDGETS = (250, 500, 1000)
K = 100
ARMS: dict[str, list[dict[str, Any]]] = {
    "retrieval": [{"name": "retrieval", "k": K}],
    "memory": [{"name": "memory", "k": K, "least": -1.0}],
    "memory+retrieval": [{"name": "memory", "k": K, "share": 1.0}, {"name": "retrieval", "k": K}],
    "sessions+retrieval": [{"name": "sessions"}, {"name": "retrieval", "k": K}],
}
WRONG_KEYS = Path(__file__).with_name("locomo_wrong_keys.txt")


@dataclass(frozen=True)
class Asked(Question):
    """A question with its answer."""

    gold: str
    speakers: str


def remember(app: Idiolect, turns: Mapping[str, Mapping[str, Record]], write_with: str) -> dict[str, set[str]]:
    """Tell every turn to the memory, then keep it raw; return for each memory the turns that it was written from."""
    methods = app.methods([{"name": "memory", "keep_turns": False, "write": write_with}])
    of: dict[str, set[str]] = {}
    for user, records in turns.items():
        before: Record | None = None
        for record in track(sorted(records.values(), key=lambda r: r.id), f"{user}: memories"):
            learnt = app.observe(_turn(record, before), user, methods)
            for rid in [*(one.id for one in learnt.records), *(r for r, s in learnt.states.items() if s.sources)]:
                of.setdefault(rid, set()).add(record.id)
            before = record
        app.store.add(records.values())
        app.fit("sessions", [user])
    return of


def _turn(record: Record, before: Record | None) -> Turn:
    said = {"role": "user", "name": str(record.meta["speaker"]), "content": record.output}
    session = str(record.meta.get("session", ""))
    told = []
    if before is not None and before.meta.get("session") == session and before.meta["speaker"] != said["name"]:
        told = [{"role": "assistant", "name": str(before.meta["speaker"]), "content": before.output}]
    return Turn((*told, said), "", record.time, session)


def questions(files: Sequence[Path], turns: Mapping[str, Mapping[str, Record]]) -> Iterator[Asked]:
    """Yield the questions that have a right key, evidence among the turns, and an answer."""
    wrong = {line for line in WRONG_KEYS.read_text("utf-8").splitlines() if not line.startswith("#")}
    for path in files:
        for sample in json.loads(path.read_text("utf-8")):
            user = str(sample["sample_id"])
            now = read_side.end_of(turns[user])
            names = f"{sample['conversation']['speaker_a']} and {sample['conversation']['speaker_b']}"
            for n, qa in enumerate(sample["qa"]):
                evidence = read_side.evidence_of(qa, turns[user])
                if qa["category"] != 5 and evidence and f"{user}/{n}" not in wrong:
                    yield Asked(user, qa["question"], qa["category"], evidence, now, str(qa["answer"]), names)


def coverage(app: Idiolect, asked: Sequence[Asked], of: Mapping[str, set[str]]) -> dict[str, Any]:
    """Return evidence recall by arm and budget."""
    out: dict[str, Any] = {}
    where = {user: {**read_side.origins(app, user), **of} for user in {q.user for q in asked}}
    for name, specs in ARMS.items():
        out[name] = {}
        for budget in BUDGETS:
            rows = [read_side.ask(app, specs, q, budget, where[q.user]) for q in track(asked, f"{name} {budget}")]
            recall = [row.recall for row in rows]
            found = mean_interval(recall, seed=SEED)
            out[name][str(budget)] = {
                "recall": round(float(np.mean(recall)), 4),
                "interval": [round(found.low, 4), round(found.high, 4)],
                "tokens": round(float(np.mean([row.tokens for row in rows])), 1),
                "by_category": {
                    str(c): round(float(np.mean([r for r, q in zip(recall, asked, strict=True) if q.category == c])), 4)
                    for c in sorted({q.category for q in asked})
                },
            }
        print(name, {b: row["recall"] for b, row in out[name].items()}, flush=True)
    return out


# -- answers -----------------------------------------------------------------------------------------------------------


def prompt(question: Asked) -> Call:
    """The same words for every arm."""
    text = (
        f"A question about the conversations between {question.speakers}: {question.text}\n"
        "Answer in a few words, without a sentence around them. Give a point in time as a date."
    )
    return Call(
        ({"role": "user", "content": text},), focus=question.text, sampling=Sampling(temperature=0.0, max_tokens=32)
    )


def with_texts(app: Idiolect, call: Call, texts: Sequence[str], budget: int) -> Call:
    """Put texts before a question, in their order, as many whole ones as fit."""
    kept, left = list[str](), budget
    for text in texts:
        left -= app.backend.count_tokens(text)
        if left < 0:
            break
        kept.append(text)
    items = tuple(Item(text, Used("record", str(n), "other", "other")) for n, text in enumerate(kept))
    block = Block("other", "From these conversations:", items)
    return Call(write(call.messages, [block]), sampling=call.sampling) if kept else call


def calls(app: Idiolect, asked: Sequence[Asked], budgets: Sequence[int], theirs: Mapping[str, Any], full: int) -> Any:
    """Return each arm's prompts."""
    plain = [prompt(q) for q in asked]
    out: dict[str, list[Call]] = {"nothing": plain}
    for budget in budgets:
        for name in ("retrieval", "memory", "memory+retrieval"):
            out[f"{name} {budget}"] = [
                app.plan(call, q.user, methods=ARMS[name], now=q.now, tokens=budget).call
                for call, q in zip(plain, asked, strict=True)
            ]
        for name, found in theirs.items():
            out[f"{name} {budget}"] = [
                with_texts(app, call, found.get((q.user, q.text), []), budget)
                for call, q in zip(plain, asked, strict=True)
            ]
    turns = {user: _lines(app, user) for user in {q.user for q in asked}}
    out[f"newest {full}"] = [with_newest(app, call, turns[q.user], full) for call, q in zip(plain, asked, strict=True)]
    return out


def _lines(app: Idiolect, user: str) -> list[str]:
    history = sorted((r for r in app.store.all_records(user) if r.kind == "dialogue"), key=lambda r: r.id)
    return [f"{date_header(record.time)} {render(record, 0, 1500)}" for record in history]


def with_newest(app: Idiolect, call: Call, lines: Sequence[str], budget: int) -> Call:
    """Put the newest turns before a question, oldest first, as many as fit."""
    at = len(lines)
    while at and (budget := budget - app.backend.count_tokens(lines[at - 1])) >= 0:
        at -= 1
    return with_texts(app, call, lines[at:], 1 << 30)


def answers(
    app: Idiolect, asked: Sequence[Asked], args: argparse.Namespace, save: Callable[[dict[str, Any]], None]
) -> None:
    """Measure token F1 arm by arm, saving after each."""
    theirs = {name: found_by(Path(file)) for name, file in (one.split("=", 1) for one in args.theirs)}
    out: dict[str, Any] = {"questions": len(asked), "model": app.backend.fingerprint, "arms": {}}
    for name, prompts in calls(app, asked, args.budgets, theirs, args.full).items():
        scores, tokens = list[float](), list[int]()
        order = sorted(range(len(asked)), key=lambda n: asked[n].user)  # a shared beginning is read once
        for n in track(order, name):
            done = app.backend.generate([prompts[n]])[0]
            scores.append(token_f1(asked[n].gold, done.text))
            tokens.append(done.tokens_in)
        found = mean_interval(scores, seed=SEED)
        out["arms"][name] = {
            "f1": round(float(np.mean(scores)), 4),
            "interval": [round(found.low, 4), round(found.high, 4)],
            "tokens_in": round(float(np.mean(tokens)), 1),
        }
        print(name, out["arms"][name], flush=True)
        save(out)


def found_by(file: Path) -> dict[tuple[str, str], list[str]]:
    """Return the memories that another package found, by person and question."""
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return {
        (row["person"], row["question"]): [memory["text"] for memory in row["found"]]
        for row in rows
        if row["type"] == "query"
    }


def made_by(file: Path) -> dict[str, Any]:
    """What made the memories of another package: the first line of its file, and the hash of the whole."""
    first_line, *_ = file.read_text("utf-8").splitlines()
    left_out = ("type", "key", "base_url", "embed_url", "out", "server_pid")
    told = {name: value for name, value in json.loads(first_line).items() if name not in left_out}
    return told | {"file_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory/locomo.json"))
    parser.add_argument("--embedder", default="minilm", help="minilm, static or none")
    parser.add_argument("--write", default="rules", help="how memories are found: rules or model")
    parser.add_argument("--dialogues", type=int, help="only so many dialogues")
    parser.add_argument("--sessions", type=int, default=0, help="only so many sessions of each, 0 for all")
    parser.add_argument("--answers", type=int, default=0, help="let the model answer so many questions in each arm")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b-instruct")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--budgets", type=int, nargs="*", default=[500])
    parser.add_argument("--full", type=int, default=3000, help="tokens of the arm 'newest'")
    parser.add_argument("--theirs", nargs="*", default=[], metavar="NAME=FILE")
    args = parser.parse_args()
    files = sorted((args.data / "locomo").glob("*.json"))
    with tempfile.TemporaryDirectory() as folder, opened(folder, args) as app:
        turns = read_side.turns(files)
        people = sorted(turns)[: args.dialogues]
        whole = {(q.user, q.text): q.evidence for q in questions(files, turns)}
        turns = {user: first(turns[user], args.sessions) for user in turns}
        asked = [q for q in questions(files, turns) if q.user in people and q.evidence == whole[q.user, q.text]]
        of = remember(app, {user: turns[user] for user in people}, args.write)
        counter, model = Counter(), app.backend
        app.backend = counter
        out = head(args, files) | {"questions": len(asked), "memories": len(of), "coverage": coverage(app, asked, of)}
        save(args.out, out)
        if args.answers:
            app.backend = model
            some = random.Random(SEED).sample(asked, min(args.answers, len(asked)))
            answers(app, some, args, lambda done: save(args.out, out | {"answers": done}))


def first(turns: Mapping[str, Record], sessions: int) -> dict[str, Record]:
    """Return the turns of the first so many sessions, 0 for all."""
    return {dia: r for dia, r in turns.items() if not sessions or int(dia[1:].partition(":")[0]) <= sessions}


def head(args: argparse.Namespace, files: Sequence[Path]) -> dict[str, Any]:
    """What made the result."""
    return {
        "task": "locomo-memory-1",
        "settings": {name: [{"name": s["name"], **registry.settings_of(registry.make_method(s)[1])} for s in specs]
                     for name, specs in ARMS.items()},
        "write": args.write, "embedder": args.embedder, "seed": SEED,
        "dialogues": args.dialogues, "sessions": args.sessions,
        "theirs": {name: made_by(Path(file)) for name, file in (one.split("=", 1) for one in args.theirs)},
        "left_out": f"{WRONG_KEYS.name}: 99 questions, and category 5",
        "data_sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }  # fmt: skip


def save(path: Path, out: Mapping[str, Any]) -> None:
    """Write what is known so far: a run that is ended keeps its finished arms."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(out, indent=1) + "\n", "utf-8")


def opened(folder: str, args: argparse.Namespace) -> Idiolect:
    """A new house in a folder, whose model is loaded when it first answers."""
    table = {"paths": {"data": f"{folder}/data", "keys": f"{folder}/keys"}, "embedder": args.embedder}
    model = {"model": args.model, "n_ctx": 8192, "slots": 1, "threads": args.threads}
    return Idiolect.build(parse({**table, "backend": "llamacpp", "backends": {"llamacpp": model}}))


if __name__ == "__main__":
    main()
