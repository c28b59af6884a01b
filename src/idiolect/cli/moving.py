"""``idiolect adapters move``: what was learnt for one model, for the model that takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from idiolect.cli.adapters import adapters
from idiolect.cli.options import Json
from idiolect.cli.output import emit, note, progress, safe
from idiolect.cli.root import epilog
from idiolect.cli.session import need_user, opened_app
from idiolect.errors import InputError

if TYPE_CHECKING:
    from idiolect.moving import Moved
    from idiolect.pipeline import Idiolect
    from idiolect.types import Backend

How = Literal["replay", "regenerate", "distil"]


@adapters.command(
    "move",
    epilog=epilog(
        "idiolect adapters move --all --to qwen2.5-0.5b-instruct",
        "idiolect adapters move ana --to NEW --how distil --from-model OLD",
    ),
)
def move(
    to: Annotated[
        str, typer.Option("--to", metavar="NAME", help="The new model, or the backend whose settings name it.")
    ],
    users: Annotated[list[str] | None, typer.Argument(metavar="[USER...]", help="These users.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="All users, and what was learnt for everyone.")] = False,
    how: Annotated[
        How, typer.Option(help="From the records, from a profile, or from what the old model writes.")
    ] = "replay",
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Take the weights as they are: for the same architecture trained on.")
    ] = False,
    from_model: Annotated[str, typer.Option("--from-model", metavar="NAME", help="The old model, to distil.")] = "",
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Questions to distil with, one a line; it writes its own else.")
    ] = None,
    by: Annotated[str, typer.Option("--method", metavar="NAME", help="What regenerates.")] = "profile_to_peft",
    json: Json = False,
) -> None:
    """Learn adapters of other models again for the one that takes their place (JSON Lines with --json).

    The old ones stay, and serve the old model. Whether a new one serves its person is for the gate to say:
    idiolect evidence --measure.
    """
    from idiolect import moving
    from idiolect.types import EVERYONE

    if everybody == bool(users):
        raise InputError("name the users, or give --all")
    with _app_for(to) as app:
        for user in users or ():
            need_user(app.store, user)
        chosen = list(users or ()) or [*(info.id for info in app.store.everybody()), EVERYONE]
        found = moving.waiting(app, chosen)
        if how == "regenerate" and not reuse:
            _tell_made(moving.regenerate(app, [user for user in chosen if user != EVERYONE], by), by, json)
            return
        if reuse:
            told = moving.reuse(app, found)
        elif how == "distil":
            with closing(_teacher(app, from_model)) as teacher:
                told = moving.distil(app, found, teacher, _lines(prompts))
        else:
            with progress() as bars:
                task = bars.add_task("learning again", total=None, about="")
                told = moving.move_by_replay(
                    app, found, lambda done, total: bars.update(task, completed=done, total=total)
                )
        _tell(told, json)


def _app_for(to: str) -> AbstractContextManager[Idiolect]:
    """Open the house with another backend, or with another model of the backend that serves or trains models."""
    from idiolect import config, registry

    if to in registry.backends.names():
        return opened_app(backend=to)
    name = config.load().backend
    if "training" not in registry.backends.get(name).info["supports"]:
        name = "transformers"
    return opened_app(backend=name, backends={name: {"model": to}})


def _teacher(app: Idiolect, model: str) -> Backend:
    from idiolect import registry

    entry = registry.backends.get(app.backend_name)
    if not model or "model" not in {f.name for f in fields(cast("Any", entry.make))}:
        raise InputError("distilling needs the old model: --from-model NAME (or a path)")
    return registry.build(entry, {**app.settings.backends.get(app.backend_name, {}), "model": model})


def _lines(path: Path | None) -> list[str]:
    return [] if path is None else path.read_text("utf-8").splitlines()


def _tell(told: Sequence[Moved], json: bool) -> None:
    for one in told:
        if json:
            emit(asdict(one), line=True)
        elif one.new:
            typer.echo(f"{safe(one.user)}: {one.method} {one.old[:8]} -> {one.new[:8]} by {one.how}")
        else:
            typer.echo(f"{safe(one.user)}: {one.method} {one.old[:8]} was not moved: {safe(one.why)}")
    if not told and not json:
        note("No adapters of other models; there is nothing to move.")


def _tell_made(made: int, by: str, json: bool) -> None:
    if json:
        emit({"method": by, "artifacts": made})
    else:
        note(f"{made} artifacts made by {by}")
