"""``idiolect explain``: why an answer came out as it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from idiolect.cli.options import Json
from idiolect.cli.output import console, emit, moment, safe, table
from idiolect.cli.root import CONTROL, command
from idiolect.cli.session import need_user, opened_app
from idiolect.errors import NotFound

if TYPE_CHECKING:
    from idiolect.pipeline import Idiolect


@command("explain", "idiolect explain --last ana --influence", panel=CONTROL)
def explain(
    trace_id: Annotated[str | None, typer.Argument(metavar="[TRACE]", help="The id an answer came with.")] = None,
    last: Annotated[str | None, typer.Option(metavar="USER", help="Explain a user's last answer.")] = None,
    influence: Annotated[
        bool, typer.Option("--influence", help="Measure how much each thing mattered (runs the model).")
    ] = False,
    json: Json = False,
) -> None:
    """Show an answer's prompt, what shaped it with score parts, and how much each mattered."""
    if (trace_id is None) == (last is None):
        raise typer.BadParameter("give the id of an answer, or --last USER", param_hint="TRACE")
    with opened_app() as app:
        trace = app.trace(trace_id) if trace_id is not None else _last(app, str(last))
        effects = _effects(app, trace["id"]) if influence else None
    if json:
        emit(trace if effects is None else {**trace, "influence": effects})
    else:
        show_trace(trace, effects)


def _last(app: Idiolect, user: str) -> dict[str, Any]:
    need_user(app.store, user)
    traces = app.store.traces(user)
    if not traces:
        raise NotFound(f"user {user!r} has had no answer yet; ask one: idiolect ask {user} QUESTION")
    return traces[-1]


def _effects(app: Idiolect, trace_id: str) -> list[dict[str, Any]]:
    """Return the change [nats] of the answer's log likelihood by each thing used, the largest first."""
    return [
        {"id": found.used["id"], "slot": found.used["slot"], "text": found.used["text"], "nats": round(found.effect, 3)}
        for found in app.influence(trace_id)
    ]


def show_trace(trace: dict[str, Any], effects: list[dict[str, Any]] | None = None) -> None:
    """Print a trace for a person."""
    from rich.rule import Rule
    from rich.text import Text

    out = console()
    out.print(Rule("prompt", style="dim"))
    for message in trace["messages"]:
        out.print(Text(str(message.get("role")), "cyan"))
        out.print(safe(str(message.get("content"))))
    out.print(Rule("answer", style="dim"))
    out.print(safe(trace["answer"]))
    out.print(Rule("what shaped it", style="dim"))
    out.print(_used(trace["used"], effects))
    methods = ", ".join(method["name"] for method in trace["methods"]) or "no method"
    about = f"{moment(trace['time'])}  {methods}  {trace['model']}  {trace['tokens_in']} + {trace['tokens_out']} tokens"
    out.print(Text(f"{about}  planned in {trace['plan_ms']} ms  {trace['left_out']} items left out", "dim"))


def _used(used: list[dict[str, Any]], effects: list[dict[str, Any]] | None) -> Any:
    if not used:
        return "nothing personal"
    mattered = {(entry["id"], entry["slot"], entry["text"]): entry["nats"] for entry in effects or ()}
    rows = table("by", "what", "score", "parts", *(["nats"] if effects is not None else []), right=("score", "nats"))

    def effect(item: dict[str, Any]) -> float:
        return float(mattered.get((item["id"], item["slot"], item["text"]), 0.0))

    for item in sorted(used, key=effect, reverse=True) if effects is not None else used:
        parts = " ".join(f"{name} {value:.2f}" for name, value in item["parts"].items())
        row = [item["method"], safe(f"{item['header']} {item['text']}".strip()), f"{item['score']:.2f}", parts]
        rows.add_row(*row, *([f"{effect(item):+.2f}"] if effects is not None else []))
    return rows
