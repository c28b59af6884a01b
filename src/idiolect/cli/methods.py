"""``idiolect methods``: what there is to choose from, straight from the registry."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from idiolect import config
from idiolect.cli.fields import fields
from idiolect.cli.options import Json
from idiolect.cli.output import console, emit, table
from idiolect.cli.root import SETUP, command

if TYPE_CHECKING:
    from idiolect.registry import Entry
    from idiolect.types import Method


@command("methods", "idiolect methods retrieval", panel=SETUP)
def methods(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this one with its settings.")] = None,
    json: Json = False,
) -> None:
    """List the personalization methods with level, paper, needs and settings."""
    from idiolect import registry

    if name is not None:
        document = _document(registry.methods.get(name))
        emit(document) if json else _show(document)
        return
    found = [_document(entry) for entry in registry.methods]
    if json:
        emit(found)
        return
    default = {spec if isinstance(spec, str) else spec.get("name") for spec in config.load().methods}
    rows = table("name", "default", "level", "needs", "paper", "what it does")
    for document in found:
        mark = "yes" if document["name"] in default else ""
        needs = ", ".join(document["needs"])
        rows.add_row(document["name"], mark, document["level"], needs, document["paper"], document["summary"])
    console().print(rows)


def _document(entry: Entry[Method]) -> dict[str, Any]:
    cls = cast("type", entry.make)
    return {
        "name": entry.name,
        "summary": entry.summary,
        "about": inspect.cleandoc(cls.__doc__ or ""),
        "level": entry.info["level"],
        "paper": entry.info["paper"],
        "needs": list(entry.info["needs"]),
        "fits": hasattr(cls, "fit"),
        "fit_needs": list(entry.info["fit_needs"]),
        "together": entry.info["together"],
        "peers": entry.info["peers"],
        "observes": hasattr(cls, "observe"),
        "module": cls.__module__,
        "settings": [asdict(field) for field in fields(cls)],
    }


def _show(document: dict[str, Any]) -> None:
    out = console()
    out.print(document["about"])
    needs = ", ".join(document["needs"]) or "nothing"
    learns = [text for name, text in (("fits", "offline"), ("observes", "from every answer")) if document[name]]
    out.print(f"\nlevel {document['level']}   paper {document['paper']}   needs {needs}")
    out.print(f"learns {' and '.join(learns) or 'nothing'}")
    if document["together"]:
        out.print(f"learns from all who share at once: idiolect fit {document['name']} --all")
    if document["peers"]:
        out.print("reads what other people share, as far as the operator allows")
    rows = table("setting", "type", "default", "meaning")
    for setting in document["settings"]:
        rows.add_row(setting["name"], setting["type"], repr(setting["default"]), setting["about"])
    out.print(rows)
