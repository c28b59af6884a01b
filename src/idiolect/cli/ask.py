"""``idiolect ask``: one question, one personal answer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idiolect.cli.options import BackendName, Json, Methods, Now, Remember, UserId, specs
from idiolect.cli.output import emit, note, safe
from idiolect.cli.root import ANSWERS, command
from idiolect.cli.session import opened_app

if TYPE_CHECKING:
    from idiolect.pipeline import Answer, Idiolect


@command("ask", 'idiolect ask ana "What should I cook tonight?" --show', panel=ANSWERS)
def ask(
    user: UserId,
    question: Annotated[str, typer.Argument(help="The question; '-' reads it from stdin.")],
    methods: Methods = None,
    now: Now = None,
    tokens: Annotated[int | None, typer.Option(min=0, help="Budget for the personal part of the prompt.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="0 for the same answer every time.")] = None,
    backend: BackendName = None,
    remember: Remember = None,
    show: Annotated[bool, typer.Option("--show", help="Also show the prompt and what shaped it.")] = False,
    json: Json = False,
) -> None:
    """Answer one question for a user."""
    from idiolect.types import Sampling

    text = sys.stdin.read() if question == "-" else question
    if not text.strip():
        raise typer.BadParameter("the question is empty", param_hint="QUESTION")
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    with opened_app(backend=backend) as app:
        if app.store.key(user) is None:
            note(f"{user!r} is new here: nothing is known yet, so this answer is not personal.")
        answer = app.ask(
            text, user, methods=specs(methods), now=now, tokens=tokens, sampling=sampling, remember=remember
        )
        if json:
            emit(_document(app, answer))
            return
        typer.echo(safe(answer.text))
        if show:
            from idiolect.cli.explain import show_trace

            show_trace(app.trace(answer.trace_id))
        else:
            note(f"\nShaped by {len(answer.used)} items. Why: idiolect explain {answer.trace_id}")


def _document(app: Idiolect, answer: Answer) -> dict[str, Any]:
    trace = app.trace(answer.trace_id)
    names = ("user", "answer", "methods", "backend", "model", "tokens_in", "tokens_out", "used", "messages")
    return {"trace": answer.trace_id, **{name: trace[name] for name in names}}
