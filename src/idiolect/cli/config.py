"""``idiolect config``: the settings file, API keys, and whether all is in order."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from idiolect import config
from idiolect.cli.checks import checks
from idiolect.cli.options import Json
from idiolect.cli.output import emit, note, safe
from idiolect.cli.root import SETUP, epilog, group
from idiolect.cli.settings_file import append_key, commented, new_key, to_toml, without_secrets, write_new

settings = group(
    "config",
    "Settings: show them, start a file, add an API key, check the set-up.",
    panel=SETUP,
    no_args_is_help=True,
    epilog=epilog("idiolect config show"),
)


@settings.command("show", epilog=epilog("idiolect config show --json"))
def show(json: Json = False) -> None:
    """Print the settings in force: defaults, file and environment together; secrets are left out."""
    table = without_secrets(dataclasses.asdict(config.load()))
    if json:
        emit(table)
    else:
        typer.echo(safe(to_toml(table)), nl=False)


@settings.command("path", epilog=epilog("idiolect config path"))
def path(json: Json = False) -> None:
    """Print where the settings file is looked for."""
    found = config.config_path()
    if json:
        emit({"path": str(found), "exists": found.exists()})
    else:
        typer.echo(found)


@settings.command("init", epilog=epilog("idiolect config init"))
def init(
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    json: Json = False,
) -> None:
    """Write a settings file with every setting, its default and its meaning, all commented out."""
    target = config.config_path()
    write_new(target, commented(), replace=force)
    if json:
        emit({"path": str(target)})
    else:
        typer.echo(f"wrote {target}")


@settings.command("add-key", epilog=epilog("idiolect config add-key --user ana"))
def add_key(
    user: Annotated[
        str | None, typer.Option(metavar="USER", help="Bind the key to this user; it reaches no other.")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="The key may manage every user.")] = False,
    json: Json = False,
) -> None:
    """Make an API key for the server and print it, once; the settings file keeps only its hash."""
    if user is not None and admin:
        raise typer.BadParameter("a key is bound to one user or may manage all, not both", param_hint="--admin")
    target = config.config_path()
    key, digest = new_key()
    append_key(target, {"hash": digest, **({"user": user} if user is not None else {}), "admin": admin})
    if json:
        emit({"key": key, "hash": digest, "user": user, "admin": admin, "path": str(target)})
    else:
        typer.echo(key)
        note(f"Shown this once; {target} keeps its hash. Restart the server to let it in.")


@settings.command("check", epilog=epilog("idiolect config check"))
def check(json: Json = False) -> None:
    """Check the settings, the keyring, the store and the models; finish erasures that were cut short."""
    found = list(checks())
    for item in [] if json else found:
        mark = typer.style("ok  ", fg="green") if item.ok else typer.style("FAIL", fg="red")
        typer.echo(f"{mark} {item.name:<10} {safe(item.about)}")
    if json:
        emit([dataclasses.asdict(item) for item in found])
    if not all(item.ok for item in found):
        raise typer.Exit(1)
