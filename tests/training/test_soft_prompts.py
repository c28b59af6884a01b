from dataclasses import replace

import numpy as np
import pytest

from helpers import InsideToy
from idiolect.training.soft_prompts import Adam, Training, fit
from idiolect.training.user_encoder import FEATURES, Person, UserEncoder
from idiolect.types import Call

DIM = 8
HEADS = ["mean", "attention", "difference", "resampler", "compressed"]
ASK = Call(({"role": "user", "content": "tea or milk"},), "tea or milk")


def person(seed, n=6):
    rng = np.random.default_rng(seed)
    items = np.zeros((n, DIM + FEATURES), np.float32)
    items[:, :DIM] = rng.normal(size=DIM) + 0.3 * rng.normal(size=(n, DIM))
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    return Person(items, items[:, :DIM] - 0.1)


def encoder(head, model):
    return UserEncoder.new(head, DIM, 4, model.hidden, model.embedding_norm)


def score(model, made, who, answer):
    return model.logprobs([replace(ASK, soft_prompt=made.encode(who, np.ones(DIM, np.float32)))], [answer])[0]


@pytest.mark.parametrize("head", HEADS)
def test_two_people_with_opposite_answers_to_one_question_are_told_apart(head):
    model, people = InsideToy(), [person(1), person(2)]
    examples = [(0, ASK, "tea"), (1, ASK, "milk")]
    queries = [np.ones(DIM, np.float32)] * 2
    made = fit(model, encoder(head, model), people, examples, Training(steps=60, rate=1e-2), queries=queries)
    assert made.losses[-1] < made.losses[0] / 2
    for who, own, other in ((people[0], "tea", "milk"), (people[1], "milk", "tea")):
        assert score(model, made.encoder, who, own) > score(model, made.encoder, who, other)
    # another person's history serves worse
    assert score(model, made.encoder, people[0], "tea") > score(model, made.encoder, people[1], "tea") + 1


def test_twice_the_same_gives_the_same_weights_and_progress_is_told():
    model, people, told = InsideToy(), [person(1), person(2)], []
    examples = [(n % 2, ASK, text) for n, text in enumerate(["tea", "milk", "tea", ""])]
    one, two = (
        fit(
            model,
            encoder("mean", model),
            people,
            examples,
            Training(steps=4, batch=2),
            progress=lambda *at: told.append(at),
        )
        for _ in range(2)
    )
    for name, value in one.encoder.weights.items():
        np.testing.assert_array_equal(value, two.encoder.weights[name])
    assert one.losses == two.losses
    assert told[:4] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_training_stops_on_people_whom_it_was_not_fitted_to_and_gives_the_best_weights_back():
    model, people = InsideToy(), [person(1), person(1), person(2)]
    setting = Training(steps=40, rate=1e-2, check=2, patience=2)
    opposite = fit(model, encoder("mean", model), people, [(0, ASK, "tea")], setting, held=[(1, ASK, "wine")])
    assert len(opposite.losses) < 40
    alike = fit(model, encoder("mean", model), people, [(0, ASK, "tea")], setting, held=[(1, ASK, "tea")])
    assert len(alike.losses) == 40
    assert alike.held < alike.plain
    again = -score(model, alike.encoder, people[1], "tea") / 3
    assert alike.held == pytest.approx(again, abs=0.05)  # the mean of items, whatever the query


def test_nothing_to_learn_from_leaves_the_encoder():
    model = InsideToy()
    start = encoder("mean", model)
    made = fit(model, start, [person(1)], [(0, ASK, "")])
    assert made.encoder is start
    assert made.losses == ()


def test_adam_by_hand():
    adam, weights = Adam(0.1), {"w": np.array([1.0, -2.0])}
    first = adam.step(weights, {"w": np.array([0.5, -4.0])})["w"]
    np.testing.assert_allclose(first, [0.9, -1.9], atol=1e-6)  # the first step is the rate times the sign
    second = adam.step({"w": first}, {"w": np.array([0.0, -4.0])})["w"]
    m, v = 0.9 * 0.05 / 0.19, 0.999 * 0.00025 / 0.001999
    np.testing.assert_allclose(second, [0.9 - 0.1 * m / np.sqrt(v), -1.8], atol=1e-5)
