"""``idiolect rank`` and ``idiolect interview``: what a person would choose, and asking them until it is sure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idiolect.cli.options import Json, Methods, Now, UserId, specs
from idiolect.cli.output import console, emit, note, safe, table
from idiolect.cli.root import ANSWERS, command
from idiolect.cli.session import ask, opened_app

if TYPE_CHECKING:
    from idiolect.ranking import Interviewed, Ranking

Options = Annotated[list[str], typer.Argument(metavar="OPTION...", help="What may be answered; at least two.")]
Prompt = Annotated[str, typer.Option(metavar="TEXT", help="What the options answer.")]
Sure = Annotated[
    float, typer.Option(min=0.5, max=1.0, help="How likely one option must be the best for asking to end.")
]


@command("rank", 'idiolect rank ana --prompt "Lunch?" soup salad pizza', panel=ANSWERS)
def rank(
    user: UserId,
    options: Options,
    prompt: Prompt,
    methods: Methods = None,
    now: Now = None,
    json: Json = False,
) -> None:
    """Order options as a person would choose, and say which two to ask them about to be surer."""
    from idiolect import ranking

    with opened_app() as app:
        found = ranking.rank(app, prompt, options, user, methods=specs(methods), now=now)
    if json:
        emit({"user": user, "prompt": prompt, **_document(found, options)})
        return
    _show(found)
    if found.ask is not None:
        first, second = (options[place] for place in found.ask)
        note(f"To be surer, ask whether they take {first!r} or {second!r}: idiolect interview {user}")


@command("interview", 'idiolect interview ana --prompt "Lunch?" soup salad pizza', panel=ANSWERS)
def interview(
    user: UserId,
    options: Options,
    prompt: Prompt,
    methods: Methods = None,
    limit: Annotated[int, typer.Option(min=1, help="Questions at most.")] = 10,
    sure: Sure = 0.8,
    json: Json = False,
) -> None:
    """Ask a person which of two options they take, pair by pair, until it is sure which one they like best.

    Each answer is kept as a record. Answers are 1 or 2; an empty line or the end of the input ends it.
    """
    from idiolect import ranking

    with opened_app() as app:
        found = ranking.interview(
            app, prompt, options, user, _asking(options), methods=specs(methods), limit=limit, sure=sure
        )
    if json:
        emit({"user": user, "prompt": prompt, "asked": _answers(found, options), **_document(found.result, options)})
        return
    _show(found.result)
    likely = f"{found.result.sure:.0%} likely the best"
    note(f"{len(found.asked)} questions; {options[found.result.best]!r} is {likely}.")


def _asking(options: list[str]) -> Callable[[int, int], int | None]:
    """Return what shows two options on stderr and reads which one is taken; stdout stays clean."""

    def answer(first: int, second: int) -> int | None:
        note(f"1  {options[first]}\n2  {options[second]}")
        while (said := ask("1 or 2? " if sys.stdin.isatty() else "").strip()) not in ("", "1", "2"):
            note(f"{said!r} is neither 1 nor 2; an empty line ends it")
        return {"1": first, "2": second}.get(said)

    return answer


def _answers(found: Interviewed, options: list[str]) -> list[dict[str, str]]:
    return [
        {"first": options[first], "second": options[second], "taken": options[taken]}
        for (first, second), taken in zip(found.asked, found.taken, strict=True)
    ]


def _document(found: Ranking, options: list[str]) -> dict[str, Any]:
    ask_next = (
        None if found.ask is None else dict(zip(("first", "second"), (options[n] for n in found.ask), strict=True))
    )
    return {
        "ranking": [
            {"option": row.option.label, "position": row.position, "chance": row.chance, "spread": row.spread}
            for row in found.ranking
        ],
        "ask": ask_next, "best": options[found.best], "sure": found.sure, "method": found.method,
    }  # fmt: skip


def _show(found: Ranking) -> None:
    rows = table("chance", "give or take", "option", right=("chance", "give or take"))
    for row in found.ranking:
        rows.add_row(f"{row.chance:.0%}", f"{row.spread:.0%}", safe(row.option.label))
    console(120).print(rows)
