"""``idiolect adapters``: the changes of a model's weights that were learnt for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from idiolect.cli.options import Json, UserId
from idiolect.cli.output import console, day, emit, moment, note, safe, size, table
from idiolect.cli.root import CONTROL, epilog, group
from idiolect.cli.session import ask, need_user, opened_store
from idiolect.errors import InputError

if TYPE_CHECKING:
    from idiolect.store.adapters import Kept
    from idiolect.store.store import Store

AdapterId = Annotated[
    str, typer.Argument(metavar="ID", help="The adapter's id, or as many of its first digits as tell it.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_SHOWN = 8


class ListByDefault(TyperGroup):
    """``idiolect adapters ana ben`` means ``idiolect adapters list ana ben``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command where none is named."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


adapters = group(
    "adapters",
    "Changes of a model's weights that were learnt for people: list, show, export, go back, delete.",
    panel=CONTROL,
    cls=ListByDefault,
    no_args_is_help=True,
    epilog=epilog("idiolect adapters ana", "idiolect adapters export ana 3f9a02c1 --out ana-adapter"),
)


@adapters.command("list", epilog=epilog("idiolect adapters ana ben", "idiolect adapters list --all --json"))
def list_(
    users: Annotated[list[str] | None, typer.Argument(metavar="[USER...]", help="These users.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="All users, and what was learnt for everyone.")] = False,
    json: Json = False,
) -> None:
    """List adapters, the newest first: what each was made from, and what the gate measured (JSON Lines with --json)."""
    from idiolect.store.adapters import adapters as read
    from idiolect.store.adapters import everybodys

    if everybody == bool(users):
        raise InputError("name the users, or give --all")
    with opened_store() as store:
        for user in users or ():
            need_user(store, user)
        found = everybodys(store) if everybody else [kept for user in users or () for kept in read(store, user)]
    if json:
        for kept in found:
            emit(_document(kept), line=True)
    elif found:
        _show(found)
    else:
        note("No adapters. Learn some: idiolect fit METHOD USER")


@adapters.command("show", epilog=epilog("idiolect adapters show 3f9a02c1"))
def show(adapter_id: AdapterId, json: Json = False) -> None:
    """Show one adapter, whosever: with its settings, what the gate measured, and what the weights are."""
    from idiolect.store.adapters import everybodys, one_of

    with opened_store() as store:
        kept = one_of(everybodys(store), adapter_id)
        document = {**_document(kept), "weights": _weights(kept)}
    if json:
        emit(document)
        return
    for name, value in document.items():
        typer.echo(f"{name}: {safe(_line(value))}")


@adapters.command(
    "export",
    epilog=epilog(
        "idiolect adapters export ana 3f9a02c1 --out ana-adapter --base HuggingFaceTB/SmolLM2-135M-Instruct",
        "idiolect adapters export ana 3f9a02c1 --gguf ana.gguf --base smollm2-135m-instruct",
    ),
)
def export(
    user: UserId,
    adapter_id: AdapterId,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Write a folder as PEFT and vLLM read it.")
    ] = None,
    gguf: Annotated[
        Path | None, typer.Option("--gguf", metavar="FILE", help="Write an adapter as llama.cpp reads it.")
    ] = None,
    base: Annotated[
        str,
        typer.Option(
            "--base",
            metavar="NAME",
            help="What the reading program calls the base model; for --gguf its GGUF file, or its name here.",
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Write an adapter for other programs. What it was learnt from can in part be told from it: it is as private."""
    if out is None and gguf is None:
        raise InputError("say where to: --out FOLDER for PEFT, --gguf FILE for llama.cpp")
    with opened_store() as store:
        kept = _find(store, user, adapter_id)
        data = kept.body.read()
    written = []
    if out is not None:
        from idiolect.training.peft_format import save_folder

        if (out / "adapter_config.json").exists():
            raise InputError(f"there is an adapter in {out} already; give another folder")
        written.append(str(save_folder(data, out, base)))
    if gguf is not None:
        written.append(str(_save_gguf(data, base, gguf)))
    if json:
        emit({"adapter": _document(kept), "written": written})
    else:
        typer.echo(f"{kept.artifact.id[:_SHOWN]}: {', '.join(written)}")


@adapters.command("rollback", epilog=epilog("idiolect adapters rollback ana --yes"))
def rollback(
    user: UserId,
    to: Annotated[
        str, typer.Option("--to", metavar="ID", help="The version to go back to; without, the one before the newest.")
    ] = "",
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Make an earlier version of an adapter the newest again, by deleting the newer ones.

    What was learnt is never changed, and the newest version serves: so the newer ones go for good. Export them first to
    keep them.
    """
    from idiolect.store.adapters import adapters as read
    from idiolect.store.adapters import earlier, newer_than, one_of

    with opened_store(deletes=True) as store:
        need_user(store, user)
        known = read(store, user)
        kept = one_of(known, to) if to else earlier(known)
        gone = newer_than(known, kept)
        if not gone:
            raise InputError(f"{kept.artifact.id} is the newest version already")
        _delete(store, user, gone, yes)
    if json:
        emit({"newest": {**_document(kept), "newest": True}, "deleted": [one.artifact.id for one in gone]})
    else:
        typer.echo(f"{kept.artifact.id[:_SHOWN]} of {day(kept.artifact.time)} serves again; deleted: {_names(gone)}")


@adapters.command("delete", epilog=epilog("idiolect adapters delete ana 3f9a02c1"))
def delete(user: UserId, adapter_id: AdapterId, yes: Yes = False, json: Json = False) -> None:
    """Delete an adapter for good; where it is the newest version, the one before serves again."""
    with opened_store(deletes=True) as store:
        kept = _find(store, user, adapter_id)
        _delete(store, user, [kept], yes)
    if json:
        emit({"deleted": [kept.artifact.id]})
    else:
        typer.echo(f"deleted: {_names([kept])}")


def _find(store: Store, user: str, beginning: str) -> Kept:
    from idiolect.store.adapters import adapters as read
    from idiolect.store.adapters import one_of

    need_user(store, user)
    return one_of(read(store, user), beginning)


def _delete(store: Store, user: str, gone: Sequence[Kept], yes: bool) -> None:
    if not yes and ask(f"Delete for good: {_names(gone)}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise InputError("nothing was deleted")
    store.delete_artifacts(user, [kept.artifact.id for kept in gone])
    store.rows.scrub()


def _save_gguf(data: bytes, base: str, path: Path) -> Path:
    from importlib import import_module

    from idiolect.errors import MissingExtra
    from idiolect.models import require
    from idiolect.training.peft_format import load

    if not base:
        raise InputError("--gguf needs the base model: --base FILE.gguf, or its name (idiolect models)")
    if path.exists():
        raise InputError(f"{path} is there already; give another name")
    weights = require(base)
    try:
        gguf_format: Any = import_module("idiolect.training.gguf_format")
    except ImportError as error:
        raise MissingExtra("writing GGUF adapters", "local") from error
    gguf_format.save(load(data), weights, path)
    return path


# -- showing -----------------------------------------------------------------------------------------------------------


def _document(kept: Kept) -> dict[str, Any]:
    about = kept.about()
    return {**about, "date": moment(about["time"])}


def _weights(kept: Kept) -> dict[str, Any] | None:
    """Return what PEFT's configuration says of the weights, ``None`` where they are in another form."""
    from idiolect.training.peft_format import config_in

    config = config_in(kept.body.read())
    return config and {name: config.get(name) for name in ("r", "lora_alpha", "target_modules")}


def _show(found: Sequence[Kept]) -> None:
    right = ("records", "rank", "size")
    rows = table("user", "id", "method", "made", "records", "base model", "rank", "size", "gate", "", right=right)
    for kept in found:
        one = kept.about()
        rows.add_row(
            safe(one["user"]), one["id"][:_SHOWN], one["method"], day(one["time"]), f"{one['records']:,}",
            safe(one["base_model"]), "-" if one["rank"] is None else str(one["rank"]), size(one["bytes"]),
            _line(one["scores"]) or "-", _standing(kept),
        )  # fmt: skip
    console(width=200).print(rows)


def _standing(kept: Kept) -> str:
    refused = f"{kept.refused} updates refused" if kept.refused else ""
    return ", ".join(filter(None, ("newest" if kept.newest else "", refused)))


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_line(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_line, value))
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def _names(found: Sequence[Kept]) -> str:
    return ", ".join(f"{kept.artifact.id[:_SHOWN]} of {day(kept.artifact.time)}" for kept in found)
