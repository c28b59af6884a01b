import numpy as np
import pytest

from helpers import say
from idiolect.training.compression import Compressed
from idiolect.training.difference import difference, differences
from idiolect.training.injector import scaled
from idiolect.training.user_encoder import FEATURES, Person, UserEncoder, items_of, unpack

HEADS = ["mean", "attention", "difference", "resampler", "compressed"]
DIM, TOKENS, HIDDEN = 6, 4, 10


def encoder(head, wide=False, norm=2.5):
    made = UserEncoder.new(head, DIM, TOKENS, HIDDEN, norm, seed=3)
    return made.with_weights({n: v.astype(np.float64) for n, v in made.weights.items()}) if wide else made


def person(n, seed=1):
    rng = np.random.default_rng(seed)
    return Person(rng.normal(size=(n, DIM + FEATURES)) / 3, rng.normal(size=(n, DIM)) / 3)


@pytest.mark.parametrize("head", HEADS)
def test_gradients_equal_finite_differences(head):
    made, who, query = encoder(head, wide=True), person(5), np.random.default_rng(2).normal(size=DIM)
    towards = np.random.default_rng(4).normal(size=(TOKENS, HIDDEN))
    gradients = made.forward(who, query)[1](towards)
    assert gradients.keys() == made.weights.keys()
    rng = np.random.default_rng(5)
    for name, value in made.weights.items():
        direction, step = rng.normal(size=value.shape), 1e-6
        ends = [
            (
                made.with_weights({**made.weights, name: value + sign * step * direction}).encode(who, query) * towards
            ).sum()
            for sign in (1, -1)
        ]
        np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), (gradients[name] * direction).sum(), rtol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_as_many_tokens_for_any_history_each_with_the_norm_of_an_embedding_row(head):
    for n in (1, 5, 50, 500):
        soft = encoder(head).encode(person(n))
        assert soft.shape == (TOKENS, HIDDEN)
        np.testing.assert_allclose(np.linalg.norm(soft, axis=1), 2.5, rtol=1e-2)


@pytest.mark.parametrize("head", HEADS)
def test_the_order_of_rows_alone_says_nothing(head):
    who, query = person(20), np.ones(DIM)
    mixed = np.random.default_rng(0).permutation(20)
    np.testing.assert_allclose(
        encoder(head).encode(who, query), encoder(head).encode(who.some(mixed), query), atol=1e-5
    )


def test_age_and_rank_are_features_that_the_resampler_sees_and_a_compressed_document_does_not():
    who = person(4)
    moved = Person(np.concatenate([who.items[:, :-2], who.items[::-1, -2:]], axis=1))
    assert not np.allclose(encoder("resampler").encode(who), encoder("resampler").encode(moved))
    np.testing.assert_array_equal(encoder("compressed").encode(who), encoder("compressed").encode(moved))


def test_the_attention_is_the_mean_where_all_dots_are_equal_and_picks_with_its_temperature():
    rows = np.zeros((4, DIM + FEATURES))
    rows[:, DIM:] = np.random.default_rng(0).normal(size=(4, FEATURES))
    rows[:, 0] = 1
    made, query = encoder("attention"), np.eye(DIM)[0]
    np.testing.assert_allclose(made.weighing(Person(rows), query), 0.25)
    np.testing.assert_allclose(made.encode(Person(rows), query), made.encode(Person(rows)), atol=1e-6)
    rows[:, 0] = [0.8, 0.6, 0.6, 0.6]  # a typical spread of cosines
    weighing = made.weighing(Person(rows), query)
    assert weighing[0] == pytest.approx(1 / (1 + 3 * np.exp(-0.2 / 0.07)))
    assert weighing[0] > 0.8  # 0.29 without a temperature


def test_scaled_rows_have_the_norm_and_a_zero_row_stays_zero():
    rows, _ = scaled(np.array([[3.0, 4.0], [0.0, 0.0]]), 10.0)
    np.testing.assert_allclose(rows, [[6.0, 8.0], [0.0, 0.0]])


def test_difference_from_peers_by_hand():
    own, peers = np.array([1.0, 0.0]), np.array([[0.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(difference(own, peers, np.array([0.5, 0.5])), [0.5, -0.5])
    far = difference(own, peers, np.array([0.2, 0.9]), temperature=0.1)  # the second weighs 1 / (1 + e^-7)
    np.testing.assert_allclose(far, [1 - 1 / (1 + np.exp(-7)), -1 / (1 + np.exp(-7))])
    np.testing.assert_allclose(difference(own, np.stack([own, own]), np.array([0.0, 0.0])), 0)
    np.testing.assert_allclose(difference(own, np.zeros((0, 2)), np.zeros(0)), 0)
    both = differences(np.stack([own, own]), [peers, peers[:0]], [np.array([0.5, 0.5]), np.zeros(0)])
    np.testing.assert_allclose(both, [[0.5, -0.5], [0, 0]])


def test_peers_like_the_person_leave_the_difference_tokens_as_for_everybody():
    made, who, other = encoder("difference"), person(3), person(3, seed=9)
    same = [made.encode(Person(p.items, np.zeros((3, DIM)))) for p in (who, other)]
    np.testing.assert_allclose(same[0][TOKENS // 2 :], same[1][TOKENS // 2 :], atol=1e-6)
    assert not np.allclose(same[0][: TOKENS // 2], same[1][: TOKENS // 2])
    assert not np.allclose(made.encode(who)[TOKENS // 2 :], same[0][TOKENS // 2 :])


def test_compressed_incrementally_equals_the_batch_and_removing_undoes_adding():
    made, who = encoder("compressed"), person(30)
    state = Compressed(0, np.zeros(TOKENS * HIDDEN))
    for row in who.items:
        state = state.add(made.compress(row[None]).total)
    whole = made.compress(who.items)
    np.testing.assert_allclose(state.mean, whole.mean, atol=1e-6)
    one = made.compress(who.items[:1])
    np.testing.assert_array_equal(one.mean, one.total)
    again = whole.add(one.total).remove(one.total)
    assert again.count == 30
    np.testing.assert_allclose(again.mean, whole.mean, atol=1e-12)
    np.testing.assert_array_equal(one.remove(one.total).mean, 0)
    with pytest.raises(ValueError, match="no document"):
        one.remove(one.total).remove(one.total)


def test_items_carry_labels_numbers_length_and_time():
    day = 86400.0
    records = [say("u", text, 1e9 + day * n) for n, text in enumerate(["4", "5", "4", "a longer text " * 9])]
    items = items_of(records, np.zeros((4, DIM), np.float32))[:, DIM:]
    np.testing.assert_array_equal(items[0, :17], items[2, :17])
    assert abs(items[0, :16] @ items[1, :16]) < 0.9
    assert np.linalg.norm(items[0, :16]) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(items[:, 16], [np.log(5) / 2, np.log(6) / 2, np.log(5) / 2, 0], rtol=1e-6)
    assert not items[3, :16].any()
    np.testing.assert_allclose(items[:, -2] * 8, np.log([4, 3, 2, 1]), atol=1e-6)
    np.testing.assert_allclose(items[:, -1] * 4, np.log([4, 3, 2, 1]), atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_as_bytes_and_back(head):
    made, who = encoder(head), person(5)
    data = made.to_bytes(embedder="e")
    assert data == encoder(head).to_bytes(embedder="e")
    assert unpack(data)[1]["embedder"] == "e"
    np.testing.assert_allclose(UserEncoder.from_bytes(data).encode(who), made.encode(who), atol=2e-2)


def test_a_person_without_items_is_refused():
    with pytest.raises(ValueError, match="without items"):
        encoder("mean").encode(person(0))
