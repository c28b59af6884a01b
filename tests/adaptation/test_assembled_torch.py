"""Both methods over a real model, from records to logits: what is served is what was put together, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import HashEmbedder, open_store
from idiolect.config import PeersPolicy, Settings
from idiolect.pipeline import Idiolect
from idiolect.store.sharing import share
from idiolect.training import peft_format
from idiolect.training.modules import sites
from idiolect.types import Record
from tiny import WORDS, ask, write_model

torch = pytest.importorskip("torch")
OWN = [word for word in WORDS if not word.startswith("<")]
NOW, DAY = 1_700_000_000.0, 86400.0
PEOPLE = {"ana": OWN[:2], "ben": OWN[2:4], "cyd": OWN[4:6]}
SPECS = [
    {"name": "per_pcs", "k": 2, "rank": 4, "epochs": 2},
    {"name": "profile_to_peft", "rank": 4, "steps": 6, "width": 16, "bound": 0.5},
]


def history(user, own, n=9):
    rng = np.random.default_rng(len(user) + ord(user[0]))
    said = [(" ".join(rng.choice(own, 3)), " ".join(rng.choice(own, 4))) for _ in range(n)]
    return [Record.new(user, text, time=NOW - (n - i) * DAY, input=asked) for i, (asked, text) in enumerate(said)]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    from idiolect.backends.transformers import TransformersBackend

    folder = tmp_path_factory.mktemp("house")
    store = open_store(folder, HashEmbedder())
    for user, own in PEOPLE.items():
        store.add(history(user, own))
        share(store, user, True)
    store.add(history("gus", PEOPLE["ben"]))
    backend = TransformersBackend(str(write_model(folder / "model")), dtype="float32", threads=1)
    settings = Settings(peers=PeersPolicy(texts=True, least=2))
    with Idiolect(store, backend, settings, clock=lambda: NOW, backend_name="transformers") as made:
        yield made


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["name"])
def test_what_is_served_equals_the_merged_weights_for_people_who_share_and_who_do_not(house, spec):
    house.fit(spec, [*PEOPLE, "gus"])
    question, text, backend = ask("ana likes"), "the red tea", house.backend
    plain = backend.logprobs([question], [text])[0]
    calls = [house.plan(question, user, methods=[spec]).call for user in ("ana", "gus")]
    served = backend.logprobs(calls, [text, text])
    for call, found in zip(calls, served, strict=True):
        merged = _merged(backend, call, question, text)
        assert abs(found - plain) > 1e-2
        assert found == pytest.approx(merged, abs=1e-4)
    assert abs(served[0] - served[1]) > 1e-3
    assert backend.logprobs([question], [text])[0] == pytest.approx(plain, abs=1e-6)


def _merged(backend, call, question, text):
    engine = backend._loaded()
    found, adapter = sites(engine.model, engine.layers), peft_format.load(call.adapters[0].body.read())
    kept = {name: found[name].module.weight.clone() for name in adapter.modules}
    with torch.no_grad():
        for name in adapter.modules:
            found[name].module.weight += torch.from_numpy(adapter.delta(name))
        merged = backend.logprobs([question], [text])[0]
        for name, weight in kept.items():
            found[name].module.weight.copy_(weight)
    return merged
