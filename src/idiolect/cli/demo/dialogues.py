"""Questions about real dialogues whose evidence is known: found or not, and answered with and without it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from idiolect.cli.demo.stage import erase_all, farewell
from idiolect.cli.embedding import embed_users
from idiolect.cli.importing import read_into
from idiolect.cli.output import console, emit, note, safe
from idiolect.cli.tally import Tally
from idiolect.errors import SourceError

if TYPE_CHECKING:
    from idiolect.pipeline import Idiolect
    from idiolect.types import Call

FILE = "locomo10.json"
METHODS = ("retrieval",)
_ANSWERABLE = (1, 2, 3, 4)
_TURN = re.compile(r"D\d+:\d+")
_INSTRUCTION = "Answer in a few words."
_RANKED = 100


@dataclass(frozen=True, slots=True)
class Question:
    """One question about one conversation, with the turns that hold its answer."""

    user: str
    ask: str
    gold: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question answered without and with the dialogue's own turns."""

    question: Question
    without: str
    personal: str
    ranks: tuple[int | None, ...]
    """Rank of each evidence turn among the found ones; ``None`` beyond the first hundred."""
    in_prompt: int
    """How many of the evidence turns stand in the prompt."""
    gain: float | None
    """Change [nats] of the gold answer's log likelihood by the personal prompt."""


def run(app: Idiolect, data: Path, count: int, seed: int, json: bool) -> None:
    """Import the dialogues, ask, show, erase."""
    path = data / FILE if data.is_dir() else data
    chosen = draw(load(path), count, seed)
    tally = Tally()
    read_into(app.store, path, None, "locomo", {}, tally)
    embed_users(app.store, sorted({question.user for question in chosen}))
    if not json:
        note(f"{tally.added:,} turns of {len(tally.users)} conversations; answered by {app.backend.fingerprint}\n")
    asked = []
    for question in chosen:
        asked.append(_ask(app, question))
        if not json:
            _show(asked[-1])
    summary, receipts = summarise(asked), erase_all(app)
    if json:
        emit({"model": app.backend.fingerprint, "seed": seed, "questions": list(map(asdict, asked)),
              "summary": summary, "receipts": receipts})  # fmt: skip
        return
    typer.echo(verdict(summary))
    farewell(receipts)


def load(path: Path) -> list[Question]:
    """Read the questions that can be answered from the turns."""
    from idiolect.sources.base import load_json

    if not path.exists():
        raise SourceError(f"there is no {path}. LoCoMo is published at https://github.com/snap-research/locomo")
    items = load_json(path)
    if not isinstance(items, list) or not all(isinstance(item, dict) and "qa" in item for item in items):
        raise SourceError(f"{path} has no LoCoMo questions in it")
    return [question for index, item in enumerate(items) for question in _questions(item, index)]


def _questions(item: dict[str, Any], index: int) -> Iterator[Question]:
    """Yield the questions of one conversation; its user is named as the import names it."""
    turns = {
        turn.get("dia_id") for session in item["conversation"].values() if isinstance(session, list) for turn in session
    }
    user = str(item.get("sample_id") or f"sample-{index}")
    for row in item["qa"]:
        evidence = tuple(dict.fromkeys(found for text in row.get("evidence", ()) for found in _TURN.findall(str(text))))
        if row.get("category") in _ANSWERABLE and evidence and turns.issuperset(evidence):
            yield Question(user, str(row["question"]), str(row["answer"]), evidence)


def draw(questions: Sequence[Question], count: int, seed: int) -> list[Question]:
    """Draw questions, the same ones for the same seed."""
    return random.Random(seed).sample(list(questions), min(count, len(questions)))


def _ask(app: Idiolect, question: Question) -> Asked:
    from idiolect.store.view import StoredUser
    from idiolect.types import Call, Sampling

    messages = ({"role": "system", "content": _INSTRUCTION}, {"role": "user", "content": question.ask})
    base = Call(messages, sampling=Sampling(temperature=0.0, max_tokens=40, stop=("\n",)))
    personal = app.plan(base, question.user, methods=METHODS).call
    without, with_ = (answer.text.strip() for answer in app.backend.generate([base, personal]))
    view = StoredUser(app.store, question.user)
    place = {str(hit.record.meta.get("dia_id")): rank for rank, hit in enumerate(view.search(question.ask, _RANKED), 1)}
    shown = {str(app.store.find(question.user, used.id).meta.get("dia_id")) for used in personal.used}
    ranks = tuple(place.get(turn) for turn in question.evidence)
    in_prompt = sum(turn in shown for turn in question.evidence)
    return Asked(question, without, with_, ranks, in_prompt, _gain(app, base, personal, question.gold))


def _gain(app: Idiolect, base: Call, personal: Call, gold: str) -> float | None:
    if "logprobs" not in app.backend.supports:
        return None
    before, after = app.backend.logprobs([base, personal], [gold, gold])
    return round(after - before, 3)


def summarise(asked: Sequence[Asked]) -> dict[str, Any]:
    """Count over the questions."""
    gains = [entry.gain for entry in asked if entry.gain is not None]
    first = [min((rank for rank in entry.ranks if rank is not None), default=None) for entry in asked]
    return {
        "questions": len(asked),
        "evidence_any": sum(entry.in_prompt > 0 for entry in asked),
        "evidence_all": sum(entry.in_prompt == len(entry.question.evidence) for entry in asked),
        "hit_at_10": sum(rank is not None and rank <= 10 for rank in first),
        "gold_likelier": sum(gain > 0 for gain in gains) if gains else None,
        "mean_gain": round(sum(gains) / len(gains), 2) if gains else None,
    }


def verdict(summary: dict[str, Any]) -> str:
    """Say in words what the numbers show."""
    n = summary["questions"]
    text = (
        f"Evidence in the prompt: some of it for {summary['evidence_any']} of {n} questions, all of it for "
        f"{summary['evidence_all']}; among the first ten found for {summary['hit_at_10']}."
    )
    if summary["mean_gain"] is None:
        return text
    return (
        f"{text} The right answer became likelier with the person's own turns in {summary['gold_likelier']} of {n} "
        f"({summary['mean_gain']:+.1f} nats on average)."
    )


def _show(asked: Asked) -> None:
    from rich.text import Text

    question, out = asked.question, console()
    out.print(Text(safe(question.ask), "bold"))
    found = ", ".join(
        f"{turn} at rank {rank}" if rank else f"{turn} not among {_RANKED}"
        for turn, rank in zip(question.evidence, asked.ranks, strict=True)
    )
    in_prompt = f"{asked.in_prompt} of {len(question.evidence)} in the prompt"
    gain = "" if asked.gain is None else f"; the right answer {asked.gain:+.1f} nats"
    for label, text in (
        ("right answer", question.gold), ("without", asked.without), ("personal", asked.personal),
        ("evidence", f"{found}; {in_prompt}{gain}"),
    ):  # fmt: skip
        out.print(Text(f"  {label:<13}", "cyan"), Text(safe(text)), sep="", soft_wrap=True)
    out.print()
