"""The server: an OpenAI-compatible endpoint that answers each user personally, and the API over each user's data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idiolect.serve.app import create_app, serve

__all__ = ["create_app", "serve"]


def __getattr__(name: str) -> Any:
    # Looked up on first use: a module of this package can be imported without the web framework.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from idiolect.serve import app

    return getattr(app, name)
