"""``idiolect profile``: the summary of a user, each claim with the records it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from idiolect.cli.options import Json, UserId
from idiolect.cli.output import console, day, emit, moment, note, safe
from idiolect.cli.root import CONTROL, command
from idiolect.cli.session import need_user, opened_app
from idiolect.config import spec_of
from idiolect.errors import NotFound

if TYPE_CHECKING:
    from idiolect.store.store import Store
    from idiolect.types import Artifact


@command("profile", "idiolect profile ana --refresh", panel=CONTROL)
def profile(
    user: UserId,
    refresh: Annotated[bool, typer.Option("--refresh", help="Write it anew from the records first.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Show the earlier versions too.")] = False,
    json: Json = False,
) -> None:
    """Show the summary of a user, each claim with the ids of the records it rests on."""
    with opened_app() as app:
        need_user(app.store, user)
        if refresh:
            app.fit(spec_of(app.settings.methods, "profile"), [user])
        found = [artifact for artifact in app.store.artifacts(user) if artifact.method == "profile"]
        if not found:
            raise NotFound(f"no profile of {user!r} has been written yet; write it: idiolect profile {user} --refresh")
        documents = [_document(app.store, artifact) for artifact in (found if history else found[:1])]
    if json:
        emit({"user": user, "profiles": documents})
    else:
        for document in documents:
            _show(document)


def _document(store: Store, artifact: Artifact) -> dict[str, Any]:
    import orjson

    payload = orjson.loads(artifact.payload)
    return {
        "id": artifact.id,
        "version": payload["version"],
        "task": payload["task"],
        "time": artifact.time,
        "date": moment(artifact.time),
        "records": payload["records"],
        "settings": artifact.settings,
        "claims": [
            {
                "text": claim["text"],
                "evidence": [_evidence(store, artifact.user_id, rid) for rid in claim["record_ids"]],
            }
            for claim in payload["claims"]
        ],
    }


def _evidence(store: Store, user: str, record_id: str) -> dict[str, Any]:
    return {"id": record_id, "date": moment(store.find(user, record_id).time)}


def _show(document: dict[str, Any]) -> None:
    from rich.text import Text

    out = console()
    about = f"version {document['version']}, from {document['records']} records up to {day(document['time'])}"
    out.print(Text(about, "cyan"))
    for claim in document["claims"]:
        out.print(f"- {safe(claim['text'])}")
        evidence = ", ".join(entry["id"] for entry in claim["evidence"])
        out.print(Text(f"  {evidence}", "dim"))
    if not document["claims"]:
        note("It says nothing.")
