"""``idiolect demo``: the same questions for two people, or real dialogues, with what shaped each answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from idiolect.cli.options import Json
from idiolect.cli.root import ANSWERS, command


@command("demo", "idiolect demo", "idiolect demo --data shared/data/locomo --questions 8", panel=ANSWERS)
def demo(
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Real dialogues instead: locomo10.json, or its folder.")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="How many questions about the dialogues.")] = 8,
    seed: Annotated[int, typer.Option(help="Which of the questions about the dialogues are drawn.")] = 0,
    backend: Annotated[str, typer.Option(metavar="NAME", help="What answers.")] = "llamacpp",
    model: Annotated[str, typer.Option(metavar="NAME", help="Another local model than the small default.")] = "",
    fast: Annotated[bool, typer.Option("--fast", help="No model at all: an echo answers, search is by words.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Refuse to fetch a model that is not here.")] = False,
    json: Json = False,
) -> None:
    """Show the same questions answered for anyone and for each of two people, and measure the difference.

    Everything happens in a temporary store that is erased at the end; data of your own is not touched. The embedded
    models (98 and 23 MB) are fetched on the first run.
    """
    from idiolect.cli.demo.stage import stage

    with stage("toy" if fast else backend, model, fast=fast, offline=offline) as app:
        if data is None:
            from idiolect.cli.demo.sides import run

            run(app, json)
        else:
            from idiolect.cli.demo.dialogues import run as run_dialogues

            run_dialogues(app, data, questions, seed, json)
