"""``idiolect serve``: the OpenAI-compatible server."""

from __future__ import annotations

from typing import Annotated

import typer

from idiolect import config
from idiolect.cli.options import BackendName
from idiolect.cli.output import note
from idiolect.cli.root import ANSWERS, command
from idiolect.cli.session import passphrase


@command("serve", "idiolect serve --port 8484", panel=ANSWERS)
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; any but loopback needs a key.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    backend: BackendName = None,
) -> None:
    """Answer OpenAI clients, each user personally."""
    from idiolect.serve import serve as run

    given = {"backend": backend, "serve": {name: v for name, v in (("host", host), ("port", port)) if v is not None}}
    settings = config.load(overrides={name: value for name, value in given.items() if value is not None})
    run(settings, ask=passphrase, announce=lambda address: note(f"Serving on {address} (Ctrl-C stops it)"))
