"""Training on calls with soft prompts: word embeddings in front of a prompt teach what these words would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from idiolect.backends._torch_training import rows_of
from idiolect.backends.transformers import TransformersBackend
from idiolect.errors import InputError
from idiolect.trainable import Example, Job, Recipe
from idiolect.training import peft_format
from idiolect.training.rows import TokenRow
from tiny import CALLS, TEXTS, write_model

pytest.importorskip("torch")
WORDS = "the cat is on"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    backend = TransformersBackend(str(write_model(tmp_path_factory.mktemp("tiny"))), dtype="float32", threads=1)
    yield backend
    backend.close()


def trained(model, rows, held, recipe):
    from idiolect.training._torch_trainer import Trainer

    engine = model._loaded()
    trainer = Trainer(engine.model, engine.layers, recipe, 2, 64, None)
    job = Job("ana", [Example(CALLS[0], "tea")])
    (made,) = trainer.run([(job, rows, held, "")], "tiny", None, None, None)
    return made, peft_format.load(made.body.read())


@pytest.mark.parametrize("layers", [0, 1])
def test_a_soft_prompt_of_word_embeddings_teaches_what_these_words_in_front_teach(model, layers):
    words = tuple(model._loaded().tokens(WORDS))
    soft = model.embeddings(words)
    plain = rows_of(model._loaded(), [Example(call, text) for call, text in zip(CALLS, TEXTS, strict=True)], ())
    # Some rows with and some without, so that passes hold both
    marked = [replace(row, soft=soft) if n % 2 else row for n, row in enumerate(plain)]
    spelt = [
        TokenRow((*words, *row.ids), row.start + len(words), row.weight) if n % 2 else row
        for n, row in enumerate(plain)
    ]
    recipe = Recipe(rank=2, layers=layers, rate=1e-2, epochs=3, batch=2, dtype="float32")
    one, theirs = trained(model, marked, marked[1:2], recipe)
    two, ours = trained(model, spelt, spelt[1:2], recipe)
    assert one.losses == pytest.approx(two.losses, abs=1e-5)
    assert one.held == pytest.approx(two.held, abs=1e-5)
    assert one.held[-1] < one.held[0]
    for name, factors in ours.modules.items():
        np.testing.assert_allclose(theirs.modules[name].b, factors.b, atol=1e-4)
        np.testing.assert_allclose(theirs.modules[name].a, factors.a, atol=1e-4)
    bare = trained(model, plain, plain[1:2], recipe)[0]
    assert abs(bare.held[0] - one.held[0]) > 1e-2


def test_calls_with_soft_prompts_are_trained_on_through_the_backend(model):
    soft = model.embeddings([4, 5, 6])
    calls = [replace(call, soft_prompt=soft) for call in CALLS]
    jobs = [Job("ana", [Example(call, text) for call, text in zip(calls, TEXTS, strict=True)])]
    (made,) = model.train(jobs, Recipe(rank=2, rate=1e-2, epochs=5, dtype="float32"))
    assert made.losses[-1] < made.losses[0]


def test_rows_with_other_soft_prompts_are_other_rows():
    one, two = (TokenRow((1, 2, 3), 1, soft=np.full((40, 32), value, np.float32)) for value in (1.0, 1.0 + 1e-6))
    assert one.key != two.key
    assert len(one) == 43
    assert one.learnt == 2


def test_embeddings_are_the_models_own_and_unknown_ids_are_refused(model):
    table = model._loaded().model.model.embed_tokens.weight.numpy()
    np.testing.assert_array_equal(model.embeddings([3, 3, 7]), table[[3, 3, 7]])
    assert model.vocabulary == len(table)
    with pytest.raises(InputError, match="no token 24"):
        model.embeddings([24])
