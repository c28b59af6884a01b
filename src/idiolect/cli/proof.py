"""``idiolect fit`` and ``idiolect evidence``: let methods learn, and see which of them serves whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idiolect.cli.options import BackendName, Json
from idiolect.cli.output import console, emit, note, progress, safe, table
from idiolect.cli.root import PROOF, command
from idiolect.cli.session import need_user, opened_app
from idiolect.config import spec_of
from idiolect.errors import InputError

if TYPE_CHECKING:
    from idiolect.config import MethodSpec
    from idiolect.pipeline import Idiolect

Users = Annotated[list[str] | None, typer.Argument(metavar="[USER...]", help="These users.")]
Everybody = Annotated[bool, typer.Option("--all", help="All users.")]
_BAR = 8


@command("fit", "idiolect fit profile --all", panel=PROOF)
def fit(
    method: Annotated[str, typer.Argument(help="A method, with settings as NAME:setting=value.")],
    users: Users = None,
    everybody: Everybody = False,
    backend: BackendName = None,
    json: Json = False,
) -> None:
    """Let a method learn offline from users' records.

    A method that learns from many people at once reads only those who share (idiolect consent).
    """
    from idiolect import registry

    name, table_ = registry.read_settings(method)
    with opened_app(backend=backend) as app, _bar(f"{name}") as tell:
        made = app.fit({"name": name, **table_}, _chosen(app, users, everybody), tell)
    if json:
        emit({"method": method, "artifacts": made})
    else:
        note(f"{made} new artifacts of {method}")


@command("consolidate", "idiolect consolidate --all", panel=PROOF)
def consolidate(
    users: Users = None,
    everybody: Everybody = False,
    methods: Annotated[
        str, typer.Option("--method", metavar="NAMES", help="What is brought up to date, with commas.")
    ] = "sessions,profile",
    backend: BackendName = None,
    json: Json = False,
) -> None:
    """Learn from the turns that wait, and write anew the summaries that are out of date.

    Each names the records it rests on. A killed run goes on where it stopped.
    """
    from idiolect import registry

    named = registry.split(methods, ",")
    with opened_app(backend=backend) as app, _bar("consolidating") as tell:
        made = app.consolidate([registry.read_spec(one) for one in named], _chosen(app, users, everybody), tell)
    if json:
        emit({"methods": named, "artifacts": made})
    else:
        note(f"{made} summaries written")


@command("evidence", "idiolect evidence ana --measure", panel=PROOF)
def evidence(
    users: Users = None,
    everybody: Everybody = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure first: each candidate on the users' own latest records.")
    ] = False,
    backend: BackendName = None,
    json: Json = False,
) -> None:
    """Show which method serves a user, what each gained on the user's own latest records, and at what cost.

    A killed --measure goes on where it stopped; who was measured and has few new records is not measured again.
    """
    with opened_app(backend=backend) as app:
        chosen = _chosen(app, users, everybody)
        spec = spec_of(app.settings.methods, "auto")
        if measure:
            with _bar("measuring") as tell:
                app.prove(spec, chosen, tell)
        documents = [_document(app, spec, user) for user in chosen]
    if json:
        emit(documents[0] if users and len(documents) == 1 else documents)
        return
    for document in documents:
        _show(document)


def _chosen(app: Idiolect, users: list[str] | None, everybody: bool) -> list[str]:
    if everybody == bool(users):
        raise InputError("name the users, or give --all")
    for user in users or ():
        need_user(app.store, user)
    return list(users) if users else [info.id for info in app.store.everybody()]


@contextmanager
def _bar(label: str) -> Iterator[Callable[[int, int], None]]:
    with progress() as bars:
        task = bars.add_task(label, total=None, about="")
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _document(app: Idiolect, spec: MethodSpec, user: str) -> dict[str, Any]:
    from idiolect.evidence.account import account
    from idiolect.store.view import view

    return account(spec, view(app.store, user), app.backend.fingerprint)


def _show(document: dict[str, Any]) -> None:
    from rich.text import Text

    out = console()
    head = f"{document['user']}: served by {document['serves']}"
    out.print(Text(head, "bold"), Text(f"({document['rests_on']}, {document['records']} records)", "dim"))
    if "candidates" not in document:
        note("Not measured yet; it needs a dozen records. Measure: idiolect evidence USER --measure")
        return
    rows = table("candidate", "gain", "", "own", "better", "tokens", "ms", right=("gain", "own", "tokens", "ms"))
    for column in rows.columns[1:]:
        column.no_wrap = True
    top = max((abs(row["gain"]) for row in document["candidates"]), default=0.0) or 1.0
    for row in sorted(document["candidates"], key=lambda row: -row["gain"]):
        bar = ("+" if row["gain"] > 0 else "-") * max(1, round(_BAR * abs(row["gain"]) / top))
        seconds = "" if row["seconds"] is None else f"{row['seconds'] * 1e3:.0f}"
        rows.add_row(
            safe(row["candidate"]), f"{row['gain']:+.3f} ± {row['sd']:.3f}", bar, f"{row['own_gain']:+.3f}",
            f"{row['helped']}, worse {row['harmed']}", f"{row['tokens']:+.0f}", seconds,
        )  # fmt: skip
    out.print(rows)
    others = f", weighed against {document['others']} people who share" if document["others"] else ""
    out.print(
        Text(f"over {document['questions']} of the latest records{others}; none scores {document['none']:.3f}", "dim")
    )
    for name, reason in document["skipped"].items():
        note(f"{name} could not be measured: {reason}")
