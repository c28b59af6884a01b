"""``idiolect models``: the weights on this machine, and fetching more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from idiolect.cli.options import Json
from idiolect.cli.output import console, emit, note, progress, size, table
from idiolect.cli.root import SETUP, epilog, group

Name = Annotated[str, typer.Argument(help="A name of the list, or a hub id organization/name:file.gguf.")]

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Names of the list, or hub ids organization/name:file.gguf; without any, what the settings use.",
    ),
]

models = group(
    "models",
    "The models: list them, fetch one, say where it lies.",
    panel=SETUP,
    no_args_is_help=True,
    epilog=epilog("idiolect models pull smollm2-135m-instruct"),
)


@models.command("list", epilog=epilog("idiolect models list"))
def list_(json: Json = False) -> None:
    """List the models that are known by name, and which are here."""
    from idiolect.models import CATALOGUE, find

    rows = table("name", "here", "kind", "download", "licence", "about", right=("download",))
    found = []
    for model in CATALOGUE.values():
        path = find(model.name)
        rows.add_row(model.name, "yes" if path else "", model.kind, size(model.size), model.licence, model.about)
        found.append({
            "name": model.name, "kind": model.kind, "path": str(path) if path else None, "bytes": model.size,
            "licence": model.licence, "about": model.about,
        })  # fmt: skip
    if json:
        emit(found)
    else:
        console().print(rows)


@models.command("pull", epilog=epilog("idiolect models pull minilm"))
def pull(names: Names = None, json: Json = False) -> None:
    """Fetch models unless they are here; interrupted, it goes on when run again."""
    found = [{"name": name, "path": str(pulled(name))} for name in names or in_settings()]
    if json:
        emit(found)
    else:
        typer.echo("\n".join(one["path"] for one in found))


def in_settings() -> list[str]:
    """Return the models of the catalogue that the settings use."""
    from idiolect import config, registry
    from idiolect.models import CATALOGUE

    settings = config.load()
    entry = registry.backends.get(settings.backend)
    backend = registry.build(entry, settings.backends.get(settings.backend, {}))
    wanted = {"static": "wordllama"}.get(settings.embedder, settings.embedder)
    return [name for name in (str(getattr(backend, "model", "")), wanted) if name in CATALOGUE]


@models.command("path", epilog=epilog("idiolect models path minilm"))
def path(name: Name, json: Json = False) -> None:
    """Print where a model lies; an error where it is not here."""
    from idiolect.models import require

    found = require(name)
    if json:
        emit({"name": name, "path": str(found)})
    else:
        typer.echo(found)


def pulled(name: str) -> Path:
    """Fetch a model under a progress bar, unless it is here."""
    from idiolect.models import CATALOGUE, find
    from idiolect.models import pull as fetch

    here = find(name)
    if here is not None:
        return here
    model = CATALOGUE.get(name)
    note(f"Fetching {name}{f' ({size(model.size)})' if model else ''} ...")
    with progress(bytes_=True) as bars:
        bar = bars.add_task(name, total=None, about="")
        return fetch(name, lambda done, total: bars.update(bar, completed=done, total=total))
