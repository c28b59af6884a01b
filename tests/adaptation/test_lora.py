"""A person's own adapter on top of everybody's, over a real model: trained, served, and taken back."""

from __future__ import annotations

import pytest

from helpers import open_store, say
from idiolect.backends.transformers import TransformersBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.pipeline import Idiolect
from idiolect.store.sharing import share
from idiolect.types import EVERYONE, Call
from tiny import write_model

pytest.importorskip("torch")

TASTES = {"ana": "red tea", "bob": "blue dog", "cleo": "café sings"}
WORDS = "cat dog tea red blue ana bob café now here on in".split()
TASK = "task_lora:context=none:epochs=1:rank=2"
LORA = {"name": "lora", "context": [TASK], "epochs": 6, "rate": 1e-2, "rank": 4}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house")
    model = TransformersBackend(str(write_model(folder / "model")), dtype="float32", threads=1, train_users=2)
    store = open_store(folder)
    for user, taste in TASTES.items():
        store.add([say(user, taste, 1e8 + n, input=f"the {word} likes") for n, word in enumerate(WORDS)])
        share(store, user, True)
    app = Idiolect(store, model, Settings(peers=PeersPolicy(least=2)), clock=lambda: 2e8, backend_name="transformers")
    app.fit({"name": "task_lora", "context": ["none"], "epochs": 1, "rank": 2}, list(TASTES))
    told: list[tuple[int, int]] = []
    app.fit(LORA, list(TASTES), lambda done, total: told.append((done, total)))
    assert told
    assert all(done <= total for done, total in told)
    return app


def plan(house, user, method=LORA):
    return house.plan(Call(({"role": "user", "content": "the cat likes"},)), user, methods=[method]).call


def test_the_answer_wears_everybodys_adapter_and_the_persons_own(house):
    call = plan(house, "ana")
    kinds = [(used.method, used.id) for used in call.used]
    own = next(a for a in house.store.artifacts("ana") if a.kind == "adapter")
    shared = next(a for a in house.store.artifacts(EVERYONE) if a.kind == "adapter")
    assert kinds == [("task_lora", shared.id), ("lora", own.id)]
    assert [adapter.id for adapter in call.adapters] == [shared.id, own.id]


def test_each_one_is_foreseen_best_under_their_own(house):
    calls = {user: plan(house, user) for user in TASTES}
    for user, taste in TASTES.items():
        scores = dict(zip(TASTES, house.backend.logprobs(list(calls.values()), [taste] * len(calls)), strict=True))
        assert max(scores, key=scores.__getitem__) == user
        bare = plan(house, user, {"name": "task_lora", "context": ["none"], "epochs": 1, "rank": 2})
        assert scores[user] > house.backend.logprobs([bare], [taste])[0] + 1


def test_nobody_is_trained_twice_on_the_same_records(house):
    before = [a.id for a in house.store.artifacts("ana")]
    assert house.fit(LORA, ["ana"]) == 0
    assert [a.id for a in house.store.artifacts("ana")] == before


def test_it_goes_when_somebody_whose_records_lie_under_it_withdraws(house):
    own = next(a for a in house.store.artifacts("ana") if a.kind == "adapter")
    assert set(own.people) == {"bob", "cleo"}
    share(house.store, "bob", False)
    assert not [a for a in house.store.artifacts("ana") if a.kind == "adapter"]
    assert not plan(house, "ana").adapters
