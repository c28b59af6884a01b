"""Two people, the same questions: answers side by side, and a number that no wording can fake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer

from idiolect.cli.demo.people import Question, about, questions, records
from idiolect.cli.demo.stage import erase_all, farewell
from idiolect.cli.output import console, day, emit, note, safe

if TYPE_CHECKING:
    from idiolect.pipeline import Idiolect
    from idiolect.types import Call, Used

ANYONE = "anyone"
METHODS = ("retrieval",)
_TOKENS = 120
"""A small model reads little: a few good records serve it better than many."""
_TOY_TOKENS = 600  # of a byte each
_INSTRUCTION = "Answer in one short sentence."
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Side:
    """One answer and what shaped it, the strongest first."""

    answer: str
    used: tuple[Used, ...]


@dataclass(frozen=True, slots=True)
class Odds:
    """Log likelihood [nats] of what a person really chose, under three prompts."""

    person: str
    choice: str
    anyone: float
    own: float
    other: float


@dataclass(frozen=True, slots=True)
class Round:
    """One question for everybody."""

    ask: str
    sides: dict[str, Side]
    odds: tuple[Odds, ...]


def run(app: Idiolect, json: bool) -> None:
    """Import both people, ask, show, erase."""
    people = about()
    for user in people:
        app.store.add(records(user))
    if not json:
        _introduce(app, people)
    rounds = []
    for round_ in play(app, tuple(people)):
        rounds.append(round_)
        if not json:
            _show(round_)
    summary, receipts = summarise(rounds), erase_all(app)
    if json:
        emit({"people": people, "model": app.backend.fingerprint, "rounds": list(map(asdict, rounds)),
              "summary": summary, "receipts": receipts})  # fmt: skip
        return
    typer.echo(verdict(summary))
    farewell(receipts)
    note("Now with your own: idiolect import PATH --user YOU, then: idiolect ask YOU QUESTION")


def play(app: Idiolect, people: tuple[str, ...]) -> Iterator[Round]:
    """Ask every question for anyone and for each person."""
    for question in questions():
        calls = _calls(app, question, people)
        answers = app.backend.generate(list(calls.values()))
        sides = {
            name: Side(answer.text.strip(), tuple(sorted(call.used, key=lambda used: -used.score)))
            for (name, call), answer in zip(calls.items(), answers, strict=True)
        }
        yield Round(question.ask, sides, tuple(_odds(app, question, calls)))


def _calls(app: Idiolect, question: Question, people: tuple[str, ...]) -> dict[str, Call]:
    from idiolect.types import Call, Sampling

    messages = ({"role": "system", "content": _INSTRUCTION}, {"role": "user", "content": question.ask})
    base = Call(messages, sampling=Sampling(temperature=0.0, max_tokens=40, stop=("\n",)))
    return {ANYONE: base} | {user: app.plan(base, user, methods=METHODS, tokens=_budget(app)).call for user in people}


def _budget(app: Idiolect) -> int:
    return _TOY_TOKENS if app.backend_name == "toy" else _TOKENS


def _odds(app: Idiolect, question: Question, calls: Mapping[str, Call]) -> Iterator[Odds]:
    """Score each person's choice under every prompt, all in one batch."""
    if "logprobs" not in app.backend.supports:
        return
    pairs = [(person, name) for person in question.chose for name in calls]
    scores = app.backend.logprobs([calls[name] for _, name in pairs], [question.chose[person] for person, _ in pairs])
    found = dict(zip(pairs, scores, strict=True))
    for person, choice in question.chose.items():
        other = next(name for name in question.chose if name != person)
        yield Odds(person, choice, found[person, ANYONE], found[person, person], found[person, other])


def summarise(rounds: list[Round]) -> dict[str, Any]:
    """Count how often a person's own records made that person's own choice likelier."""
    odds = [entry for round_ in rounds for entry in round_.odds]
    n = len(odds)
    return {
        "choices": n,
        "own_over_anyone": sum(entry.own > entry.anyone for entry in odds),
        "own_over_other": sum(entry.own > entry.other for entry in odds),
        "mean_gain_over_anyone": round(sum(entry.own - entry.anyone for entry in odds) / n, 2) if n else None,
        "mean_gain_over_other": round(sum(entry.own - entry.other for entry in odds) / n, 2) if n else None,
    }


def verdict(summary: Mapping[str, Any]) -> str:
    """Say in words what the numbers show, also where they show nothing."""
    n = summary["choices"]
    if not n:
        return "This backend gives no log probabilities, so nothing was measured: the texts above are all there is."
    text = (
        f"What they really chose stands in none of their records. Their own records made it likelier than no records "
        f"in {summary['own_over_anyone']} of {n} cases ({summary['mean_gain_over_anyone']:+.1f} nats on average), and "
        f"likelier than the other person's records in {summary['own_over_other']} of {n} "
        f"({summary['mean_gain_over_other']:+.1f} nats)."
    )
    shown = min(summary["own_over_anyone"], summary["own_over_other"]) > n / 2
    return text if shown else f"{text} That is no evidence that the answers are personal."


def _introduce(app: Idiolect, people: Mapping[str, str]) -> None:
    for user, text in people.items():
        history = [record.time for record in app.store.all_records(user)]
        note(f"{user}: {text} {len(history)} records, {day(min(history))} to {day(max(history))}.")
    note(f"Answered by {app.backend.fingerprint}, with at most {_budget(app)} tokens about the person.\n")


def _show(round_: Round) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=round_.ask, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD, expand=True)
    for name in round_.sides:
        grid.add_column("for anyone" if name == ANYONE else f"for {name}", ratio=1)
    grid.add_row(*(Text(safe(side.answer)) for side in round_.sides.values()))
    grid.add_row(*(Text(_why(side), "dim") for side in round_.sides.values()))
    out = console()
    out.print(grid)
    for entry in round_.odds:
        out.print(
            f'  {entry.person} really chose "{entry.choice}": {entry.anyone:.1f} nats for anyone, '
            f"own records {entry.own - entry.anyone:+.1f}, the other's {entry.other - entry.anyone:+.1f}",
            soft_wrap=True,
        )
    out.print()


def _why(side: Side) -> str:
    from idiolect.text.rendering import shorten

    return "\n".join(safe(f"{used.header} {shorten(used.text, 90)}") for used in side.used[:_SHOWN])
