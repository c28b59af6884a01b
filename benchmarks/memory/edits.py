"""Learning from edits: simulated people rewrite every draft of a small model into the form they like (CIPHER's set-up).

    python benchmarks/memory/edits.py --data DIR --cache drafts.jsonl --out benchmarks/results/memory/edits.json

DIR holds ``panza/*.jsonl`` (subjects of e-mails) and ``lamp/lamp4_authors.jsonl`` (openings of news articles). A round
is one request: the prompt is planned with the way that is measured, the model drafts, the person's program rewrites the
draft, the feedback is kept, the method learns. After ``--rounds`` rounds the person takes on another taste, for
``--after`` rounds more. A draft that repeats what an earlier answer said is of no use whatever its form: the person
writes the unpersonalised draft anew in its place. The rewriting is a fixed function of the draft: nothing is drawn, and
the model answers at temperature 0, so there is no seed; a second run gives the same.

Ways: ``none``; the method with rules, with and without earlier answers as turns, and with phrases a model writes;
``oracle``: the true taste as phrases in the same place of the prompt. Cost of a round: Levenshtein distance in words
and marks from the draft to the person's version, absolute and over the tokens of that version.

Drafts are kept in the cache by model and prompt: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import idiolect
from idiolect import registry
from idiolect.backends.llamacpp import LlamaCppBackend
from idiolect.config import Settings
from idiolect.memory import manner
from idiolect.memory.feedback import Feedback, record_of
from idiolect.memory.taste import Taste
from idiolect.pipeline import Idiolect
from idiolect.prompting.assembly import assemble
from idiolect.store.keys import MasterKey
from idiolect.store.store import Store
from idiolect.text.embedding import load_embedder
from idiolect.types import Block, Call, Completion, Item, Sampling, Used

COPIED = 0.4
"""A draft with at least this share of earlier answers' words is about the wrong thing."""
START, DAY, TOKENS, USER = 1_700_000_000.0, 86400.0, 600, "u"
TITLE = "How this person wants answers like this one:"
WAYS: dict[str, Any] = {
    "none": None,
    "oracle": "oracle",
    "edits": {"name": "edits"},
    "edits, phrases alone": {"name": "edits", "turns": 0},
    "edits, model writes": {"name": "edits", "write": "model"},
}
_SPELT = {"do not": "don't", "it is": "it's", "I am": "I'm", "I have": "I've", "cannot": "can't", "we are": "we're"}


@dataclass(frozen=True)
class Form:
    """A hidden taste: how a person's program rewrites a draft, and the phrases that say so to the oracle."""

    name: str
    phrases: tuple[str, ...]
    most: int = 99
    layout: str = "prose"
    greeting: str = ""
    closing: str = ""
    heading: str = ""
    lower: bool = False
    short_forms: bool = False
    calm: bool = True
    question: str = ""

    def rewrite(self, draft: str) -> str:
        lines = [line for line in draft.splitlines() if line.strip() and not re.match(r"\s*(?:#|subject:)", line, re.I)]
        body = manner.body("\n".join(line for line in lines if not line.strip().startswith("</")))
        said = [one.replace("**", "") + "." for one in manner.sentences(body)]
        said = said[:-1] if len(said) > 1 and not re.search(r"[.!?\"')]\s*$", body) else said  # cut off by its length
        said = said[: self.most] + ([self.question] if self.question else [])
        marks = {"bullets": "- ", "numbers": "{}. "}.get(self.layout, "")
        rows = [marks.format(n) + one for n, one in enumerate(said, 1)] if marks else [" ".join(said)]
        text = "\n".join(part for part in (self.greeting, self.heading, *rows, self.closing) if part)
        if self.short_forms:
            for long, short in _SPELT.items():
                text = text.replace(long, short)
        return text.lower() if self.lower else text


FORMAL = Form(
    "formal letter",
    ('Start with the greeting "Dear Sir or Madam,"', 'End with the closing "Yours faithfully,"'),
    greeting="Dear Sir or Madam,", closing="Yours faithfully,",
)  # fmt: skip
BULLETS = Form("bullets, no greeting", ("Use bullet points", "No greeting", "No closing words"), layout="bullets")
TWO = Form("two sentences, calm", ("At most 2 sentences", "No exclamation marks", "No lists"), most=2)
STEPS = Form(
    "numbered under a heading", ("Number the sentences as a list", 'Put the heading "## In short" above it'),
    layout="numbers", heading="## In short",
)  # fmt: skip
CASUAL = Form(
    "lower case, casual", ("Write in lower case only", "Use short forms like don't", "Begin with hey,", "No closing"),
    lower=True, short_forms=True, greeting="hey,",
)  # fmt: skip
ASKING = Form(
    "three sentences and a question", ("At most 3 sentences", "End with a question like Can we talk?", "No greeting"),
    most=2, question="Can we talk?",
)  # fmt: skip
PEOPLE = (("mail", FORMAL, BULLETS), ("news", TWO, STEPS), ("mail", CASUAL, ASKING))


class Remembering:
    """The model, with every draft kept in a file by what made it."""

    supports = frozenset[str]()

    def __init__(self, inner: LlamaCppBackend, path: Path) -> None:
        self.inner, self.path, self.made = inner, path, 0
        self.known: dict[str, str] = {}
        if path.exists():
            self.known = dict(json.loads(line) for line in path.read_text("utf-8").splitlines())

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    def count_tokens(self, text: str) -> int:
        return self.inner.count_tokens(text)

    def generate(self, calls: Sequence[Call]) -> list[Completion]:
        return [Completion(self._draft(call)) for call in calls]

    def _draft(self, call: Call) -> str:
        what = repr((self.fingerprint, [dict(message) for message in call.messages], call.sampling))
        key = hashlib.blake2b(what.encode(), digest_size=16).hexdigest()
        if key not in self.known:
            self.known[key] = self.inner.generate([call])[0].text
            self.made += 1
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, self.known[key]]) + "\n")
        return self.known[key]

    def close(self) -> None:
        self.inner.close()


def requests(data: Path, kind: str, count: int, skip: int) -> list[str]:
    """Return requests of one kind, each about another e-mail or article."""
    if kind == "mail":
        rows = [
            json.loads(x) for f in sorted((data / "panza").glob("*.jsonl")) for x in f.read_text("utf-8").splitlines()
        ]
        subjects = dict.fromkeys(re.sub(r"^(?:re|fwd?):\s*", "", str(r["subject"]).strip(), flags=re.I) for r in rows)
        found = [f"Write an e-mail of three sentences about this: {s}." for s in subjects if 3 <= len(s.split()) <= 12]
    else:
        rows = [json.loads(x) for x in (data / "lamp/lamp4_authors.jsonl").read_text("utf-8").splitlines()]
        texts = dict.fromkeys(str(h["text"]) for r in rows for h in r["history"][:1])
        found = [f"Tell me in three sentences what this article says: {' '.join(t.split()[:80])}" for t in texts
                 if len(t.split()) >= 40]  # fmt: skip
    return found[skip : skip + count]


def copied(draft: str, plain: str, earlier: Sequence[str]) -> float:
    """Return the share of a draft's runs of four words that stand in earlier answers and not in the plain draft."""
    own, known = runs(draft), {run for text in earlier for run in runs(text)} - set(runs(plain))
    return sum(run in known for run in own) / max(1, len(own))


def runs(text: str) -> list[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return [tuple(words[at : at + 4]) for at in range(len(words) - 3)]


def walk(app: Idiolect, spec: Any, asked: Sequence[str], form_at: Callable[[int], Form], longest: int) -> list[dict]:
    """Go through one person's rounds; return what each cost."""
    out, earlier = [], list[str]()
    for at, question in enumerate(asked):
        form, now = form_at(at), START + at * DAY
        call = Call(({"role": "user", "content": question},), sampling=Sampling(temperature=0.0, max_tokens=longest))
        before, plain = app.backend.made, app.backend.generate([call])[0].text
        if spec == "oracle":
            items = tuple(Item(f"- {p}", Used("artifact", "o", "o", "o"), 1 - n / 99, order=n)
                          for n, p in enumerate(form.phrases))  # fmt: skip
            call = assemble(call.add(Block("oracle", TITLE, items)), TOKENS, app.backend.count_tokens)
        elif spec:
            call = app.plan(call, USER, methods=[spec], now=now, tokens=TOKENS).call
        draft = app.backend.generate([call])[0].text
        repeats = copied(draft, plain, earlier)
        wanted = form.rewrite(plain if repeats >= COPIED else draft)
        earlier.append(wanted)
        cost = manner.edits(draft, wanted)
        row = {"form": form.name, "edits": cost, "share": round(manner.distance(draft, wanted), 4),
               "copied": round(repeats, 4), "shown": [u.text for u in call.used if u.slot == "edits"]}  # fmt: skip
        if spec and spec != "oracle":
            said = Feedback(edit=wanted) if cost else Feedback(rating=1.0)
            app.store.add([record_of(USER, question, draft, said, time=now, trace=str(at))])
            app.fit(spec, [USER])
        out.append(row | {"drafts_made": app.backend.made - before})
    return out


def learnt(app: Idiolect) -> dict[str, Any]:
    """Return the last state of what was learnt; the phrases quote the simulated person alone."""
    newest = next(iter(app.store.artifacts(USER)), None)
    if newest is None:
        return {}
    taste = Taste.read(newest.payload)
    kept = [{"phrase": p.phrase, "state": p.state, "support": p.support, "asked": p.asked, "failed": p.failed,
             "gain": round(p.gain, 4)} for p in taste.preferences]  # fmt: skip
    return {"counts": dict(taste.counts), "preferences": kept}


def run(args: argparse.Namespace) -> dict[str, Any]:
    backend = Remembering(LlamaCppBackend(args.model, n_ctx=2048, slots=1, threads=args.threads, deterministic=True),
                          args.cache)  # fmt: skip
    embedder, count, start = load_embedder("minilm"), args.rounds + args.after, time.perf_counter()
    people: dict[str, dict[str, Any]] = {}
    for number, (kind, first, then) in enumerate(PEOPLE[: args.people]):
        asked = requests(args.data, kind, count, 0 if number < 2 else count)
        if len(asked) < count:
            sys.exit(f"{args.data} has {len(asked)} requests of kind {kind}, {count} are needed; see --help")
        for way in args.ways:
            with tempfile.TemporaryDirectory() as folder:
                store = Store.open(Path(folder) / "data", Path(folder) / "keys",
                                   MasterKey(f"file:{folder}/keys/master.key"), embedder)  # fmt: skip
                app = Idiolect(store, backend, Settings(methods=()), clock=lambda: START + 1000 * DAY)
                rows = walk(app, WAYS[way], asked, lambda at: first if at < args.rounds else then, args.tokens)  # noqa: B023
                name = f"{first.name} -> {then.name}"
                people.setdefault(name, {})[way] = {"rounds": rows, "learnt": learnt(app)}
                print(f"{name:58s} {way:22s}", " ".join(f"{row['share']:.2f}" for row in rows), flush=True)
                store.close()
        out = result(args, backend, embedder, people, time.perf_counter() - start)
        if args.out:  # after each person: what is done is not lost
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(out, indent=1) + "\n")
    return out


def result(args, backend, embedder, people, seconds) -> dict[str, Any]:  # noqa: ANN001
    files = [*sorted((args.data / "panza").glob("*.jsonl")), args.data / "lamp/lamp4_authors.jsonl"]
    parts = {"round 1": slice(0, 1), f"rounds 2 to {args.rounds}": slice(1, args.rounds),
             f"rounds {args.rounds - 2} to {args.rounds}": slice(args.rounds - 3, args.rounds),
             "first after the change": slice(args.rounds, args.rounds + 1),
             "the last two": slice(args.rounds + args.after - 2, None)}  # fmt: skip
    table = {}
    for way in args.ways:
        rows = [person[way]["rounds"] for person in people.values()]
        table[way] = {
            part: {
                key: round(float(np.mean([r[key] for one in rows for r in one[at]])), 4)
                for key in ("share", "edits", "copied")
            }
            for part, at in parts.items()
        }
    return {
        "task": "edits-1", "people": people, "table": table, "seconds": round(seconds), "drafts_made": backend.made,
        "settings": {"rounds": args.rounds, "after": args.after, "max_tokens": args.tokens, "prompt_tokens": TOKENS,
                     "ways": {way: registry.settings_of(registry.make_method(WAYS[way])[1])
                              for way in args.ways if isinstance(WAYS[way], dict)}},
        "seed": None, "model": backend.fingerprint, "embedder": embedder.fingerprint,
        "data_sha256": {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files},
        "versions": {"idiolect": idiolect.__version__, "numpy": np.__version__, "python": platform.python_version()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--people", type=int, default=len(PEOPLE))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--after", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=70, help="longest draft")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path("drafts.jsonl"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    out = run(args)
    for way, row in out["table"].items():
        print(
            f"{way:24s}" + "  ".join(f"{part} {cell['share']:.2f} ({cell['edits']:.0f})" for part, cell in row.items())
        )


if __name__ == "__main__":
    main()
