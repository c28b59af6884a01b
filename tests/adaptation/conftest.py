"""A random two-layer Llama, and two people who answer the same questions in opposite ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from helpers import open_store
from idiolect.backends.transformers import TransformersBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.pipeline import Idiolect
from idiolect.store.sharing import share
from idiolect.store.view import view
from idiolect.types import Context, Record
from merged import logprobs
from tiny import ask, write_model

NOW = 1_700_000_000.0
LABELS = ("red", "blue")
THINGS = ("the cat", "a dog", "tea is here", "ana sings", "bob likes the café", "a cat in here", "the dog", "tea now")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    backend = TransformersBackend(str(write_model(tmp_path_factory.mktemp("tiny"))), dtype="float32", threads=1)
    yield backend
    backend.close()


def label(user: str, n: int) -> str:
    """Ana finds every second thing red; bob finds those blue."""
    return LABELS[(n + (user == "bob")) % 2]


@dataclass
class Opposites:
    """Ana and bob, who share; cyd, who does not, and sees things as bob does."""

    house: Idiolect

    @property
    def ctx(self) -> Context:
        return self.house.context()

    def user(self, name: str):
        return view(self.house.store, name)

    def right(self, method, name: str, marked_as: str = "") -> float:
        """Return the part of the things that the person's own label is likelier for, answered as somebody."""
        user, hits = self.user(marked_as or name), []
        for n, thing in enumerate(THINGS):
            call = method.apply(ask(thing), user, self.ctx)
            found = logprobs(self.house.backend, call, LABELS)
            hits.append(LABELS[int(np.argmax(found))] == label(name, n))
        return float(np.mean(hits))


@pytest.fixture
def opposites(tmp_path, tiny):
    store = open_store(tmp_path)
    for name in ("ana", "bob", "cyd"):
        store.add(
            Record.new(name, label(name if name != "cyd" else "bob", n), time=NOW + 100 * k + n, input=thing)
            for k in range(2)
            for n, thing in enumerate(THINGS)
        )
        share(store, name, name != "cyd")
    settings = Settings(peers=PeersPolicy(least=2))
    return Opposites(Idiolect(store, tiny, settings, clock=lambda: NOW + 1e6, backend_name="transformers"))
