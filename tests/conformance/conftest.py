"""A small population of people for the conformance tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers import HashEmbedder, RememberingToy, open_store, say
from idiolect import registry
from idiolect.config import PeersPolicy, Settings
from idiolect.memory.feedback import SOURCE
from idiolect.pipeline import Idiolect
from idiolect.store.sharing import share, sharing
from idiolect.store.store import Store
from idiolect.types import Call, Kind, Record

NOW = 1_700_000_000.0
DAY = 86400.0
QUESTION = Call(
    ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "what shall I cook with saffron"})
)

KINDS: tuple[Kind, ...] = ("profile", "dialogue", "content", "preference", "interaction")
TASTES = {"ana": "saffron rice and quiet lakes", "bob": "smoked brisket and loud engines", "cleo": "raw fish and opera"}


def history(user: str, taste: str, n: int = 30) -> list[Record]:
    """All kinds of records in turn; the preferences are comments on answers and edits of them, in turn."""
    return [_said(user, f"I like {taste} number {i}", i, n) for i in range(n)]


def _said(user: str, text: str, i: int, n: int) -> Record:
    kind, more = KINDS[i % len(KINDS)], {}
    if kind == "preference":
        meta = {"answer": "Stew.", "trace": "", "feedback": {"edit" if i % 2 else "comment": text}}
        more = {"input": str(QUESTION.messages[-1]["content"]), "source": SOURCE, "meta": meta}
    return say(user, text, NOW - (n - i) * DAY, f"s{i // 6}", kind=kind, **more)


@dataclass
class World:
    app: Idiolect
    folder: Path

    def fitted(self, name: str) -> None:
        """Run the method's offline learning for everybody, where it has any."""
        from idiolect.registry import make_method
        from idiolect.types import Fits, Proves

        method = make_method(name)[1]
        together = registry.methods.get(name).info["together"]
        if isinstance(method, Fits) and not (together and not any(sharing(self.app.store))):
            self.app.fit(name, list(TASTES))
        if isinstance(method, Proves):
            self.app.prove(name, list(TASTES))

    def plan(self, name: str, user: str, call: Call = QUESTION, **kw: Any) -> Call:
        return self.app.plan(call, user, methods=[name], **kw).call


ALLOWING = Settings(peers=PeersPolicy(texts=True, least=2))


def app(store: Store) -> Idiolect:
    """A house whose operator allows everything; who shares is another matter."""
    return Idiolect(store, RememberingToy(), ALLOWING, clock=lambda: NOW, backend_name="toy")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Everybody shares; the tests of what is a person's own withdraw it."""
    store = open_store(tmp_path, HashEmbedder())
    for user, taste in TASTES.items():
        store.add(history(user, taste))
        share(store, user, True)
    return World(app(store), tmp_path)
