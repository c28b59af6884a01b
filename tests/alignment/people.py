"""People who chose among texts, over a tiny model."""

from __future__ import annotations

from helpers import open_store
from idiolect.backends.transformers import TransformersBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.memory.feedback import Feedback, record_of
from idiolect.pipeline import Idiolect
from idiolect.store.sharing import share
from idiolect.store.view import view
from idiolect.types import Call, Record
from tiny import write_model

NOW = 1e8
WORDS = "cat dog tea red blue ana bob café".split()
COLOURS = {"ana": ("red tea", "blue dog"), "bob": ("blue dog", "red tea"), "cyd": ("blue dog", "red tea")}
"""What each one takes, and what not: cyd is like bob."""
SMALL = {"context": ["none"], "rank": 4, "rate": 1e-2, "epochs": 10}


def asked(word: str) -> str:
    return f"the {word} likes"


def took(user: str, word: str, taken: str, left: str, time: float) -> Record:
    return record_of(user, asked(word), left, Feedback(drafts=(left, taken), chosen=1), time=time, trace="")


def edited(user: str, word: str, edit: str, answer: str, time: float) -> Record:
    return record_of(user, asked(word), answer, Feedback(edit=edit), time=time, trace="")


def house(folder, counts=(8, 8, 8), sharing=("ana", "bob")) -> Idiolect:
    """Ana and bob, who share and took opposite things, and cyd, who does not share."""
    model = TransformersBackend(str(write_model(folder / "model")), dtype="float32", threads=1, train_users=2)
    store = open_store(folder)
    for (user, (taken, left)), count in zip(COLOURS.items(), counts, strict=True):
        if count:
            store.add(took(user, word, taken, left, NOW + n) for n, word in enumerate(WORDS[:count]))
            share(store, user, user in sharing)
    settings = Settings(peers=PeersPolicy(least=2))
    return Idiolect(store, model, settings, clock=lambda: 2 * NOW, backend_name="transformers")


def seen(app: Idiolect, user: str):
    return view(app.store, user)


def plan(app: Idiolect, user: str, method: dict, word: str = "now") -> Call:
    """The call for a question that nobody was asked yet."""
    return app.plan(Call(({"role": "user", "content": asked(word)},)), user, methods=[method]).call


def leans(app: Idiolect, call: Call, one: str = "red tea", other: str = "blue dog") -> float:
    """By how much one text is likelier than another [nats]."""
    found = app.backend.logprobs([call, call], [one, other])
    return found[0] - found[1]
