"""What all endpoints of one server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from starlette.requests import Request

from idiolect.pipeline import Idiolect
from idiolect.serve.auth import Keys
from idiolect.serve.engine import Engine
from idiolect.serve.metrics import Metrics
from idiolect.serve.upstream import Forwards, Upstream


@dataclass(frozen=True)
class State:
    """One running server."""

    idiolect: Idiolect
    engine: Engine
    metrics: Metrics
    keys: Keys
    upstream: Upstream | None
    """Set where the backend passes requests on instead of answering itself."""

    @staticmethod
    def of(idiolect: Idiolect) -> State:
        """Build the state around an open library."""
        keys, metrics = Keys(idiolect.settings.serve.keys), Metrics(idiolect)
        backend = idiolect.backend
        upstream = Upstream(backend, metrics, keyed=bool(keys)) if isinstance(backend, Forwards) else None
        return State(idiolect, Engine(idiolect, metrics), metrics, keys, upstream)

    @property
    def model(self) -> str:
        """The name under which a model of our own is offered."""
        named = str(getattr(self.idiolect.backend, "model", "") or "")
        return (Path(named).stem if named.endswith(".gguf") else named) or self.idiolect.backend_name or "model"

    @property
    def max_body(self) -> int:
        """The largest body [bytes]."""
        return self.idiolect.settings.serve.max_body_mb << 20

    @property
    def sign(self) -> Callable[[bytes], str]:
        """Keyed hash under the store's master key."""
        return self.idiolect.store.keyring.sign


def state_of(request: Request) -> State:
    """Return the server that a request came to."""
    return cast("State", request.app.state.server)
