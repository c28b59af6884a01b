"""A backend that cannot do what a method asks is refused by name, before anything is generated."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from idiolect import registry
from idiolect.errors import UnsupportedCall
from idiolect.types import Branch, Call, Context, User

from .conftest import QUESTION


@dataclass(frozen=True)
class Mixes:
    """Need a logit mixture."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        return replace(call, mix=(Branch(call.messages, 1.0),))


def test_method_backend_need_and_an_able_one_are_named(world, monkeypatch):
    registry.methods.get("retrieval")
    monkeypatch.setitem(
        registry.methods._entries,
        "mixes",
        registry.Entry("mixes", Mixes, {"level": "input", "paper": "none", "needs": ("mix",)}),
    )
    generated = []
    monkeypatch.setattr(world.app.backend, "supports", frozenset({"logprobs"}), raising=False)
    monkeypatch.setattr(world.app.backend, "generate", generated.append, raising=False)
    with pytest.raises(UnsupportedCall) as caught:
        world.app.chat(QUESTION.messages, "ana", methods=["mixes"])
    for word in ("'mixes'", "'toy'", "'mix'", "Backends that can", "toy"):
        assert word in str(caught.value)
    assert generated == []
