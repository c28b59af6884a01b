"""Vectors out of choices inside a real decoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from idiolect.alignment.shared.steering import Job, Pair, odds, train
from idiolect.backends.transformers import TransformersBackend
from idiolect.trainable import Recipe
from idiolect.types import Steer
from tiny import CALLS, ask, write_model

pytest.importorskip("torch")
RECIPE = Recipe(rate=0.02, epochs=8, batch=2, decay=0.05, schedule="cosine")
CHOICES = [("the red dog", "the blue cat"), ("red tea here", "blue tea here"), ("ana likes red", "ana likes blue"),
           ("a red red dog", "a blue blue dog")]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    backend = TransformersBackend(str(write_model(tmp_path_factory.mktemp("tiny"))), dtype="float32", threads=1)
    yield backend
    backend.close()


def pairs(swapped=False):
    return [Pair(call, *(reversed(texts) if swapped else texts)) for call, texts in zip(CALLS, CHOICES, strict=True)]


def trained(model, *jobs, places=4):
    return {one.key: one.vector for one in train(model, jobs, 0, 0.1, RECIPE, places)}


def test_opposite_choices_give_opposite_vectors_side_by_side_or_not(model):
    jobs = Job("ana", pairs()), Job("bob", pairs(swapped=True))
    both, ana = trained(model, *jobs), trained(model, jobs[0])["ana"]
    np.testing.assert_allclose(both["ana"], ana, atol=1e-4)
    one, two = both["ana"], both["bob"]
    assert one @ two / np.linalg.norm(one) / np.linalg.norm(two) < -0.95


def test_the_gap_grows_with_the_strength(model):
    vector = trained(model, Job("ana", pairs()))["ana"]
    probe = [Pair(ask("bob likes the sings"), "the red tea", "the blue tea")]
    gaps = [float(odds(model, probe, [(Steer(0, vector, strength),)])[0]) for strength in (-2, -1, 0, 1, 2)]
    assert np.all(np.diff(gaps) > 0)
    assert gaps[2] == float(odds(model, probe, [()])[0])
    call = replace(CALLS[0], steering=(Steer(0, vector, 0.0),))
    assert model.logprobs([call], ["red tea"]) == model.logprobs([CALLS[0]], ["red tea"])
