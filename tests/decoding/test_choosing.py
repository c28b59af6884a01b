from __future__ import annotations

import pytest

from idiolect.decoding.choosing import TEMPERATURE, drafts_of, generate_chosen, whole
from idiolect.types import Call, Choose, Completion, Sampling

QUALITY = [3, 1, 4, 1, 5, 9, 2, 6]


def ask(content="?", **fields):
    return Call(({"role": "user", "content": content},), **fields)


def drawn(calls):
    """A draft says how good it is, which depends on its seed alone."""
    return [Completion(str(QUALITY[(call.sampling.seed or 0) % 8]), tokens_in=10, tokens_out=2) for call in calls]


def oracle(drafts):
    return [float(draft) for draft in drafts]


def test_more_drafts_are_never_worse_with_an_oracle():
    best = [int(generate_chosen([ask(choose=Choose(n, oracle))], drawn)[0].text) for n in range(1, 9)]
    assert best == [3, 3, 4, 4, 5, 9, 9, 9]


def test_seeds_differ_and_greedy_drafts_are_warmed():
    drafts = drafts_of(ask(choose=Choose(3, oracle), sampling=Sampling(seed=40, max_tokens=7)))
    assert [draft.sampling.seed for draft in drafts] == [40, 41, 42]
    assert {(d.sampling.temperature, d.sampling.max_tokens) for d in drafts} == {(TEMPERATURE, 7)}
    assert all(draft.choose is None for draft in drafts)
    warm = drafts_of(ask(choose=Choose(2, oracle), sampling=Sampling(temperature=1.2)))
    assert {draft.sampling.temperature for draft in warm} == {1.2}


@pytest.mark.parametrize("n", [0, 1])
def test_a_single_draft_is_the_call_itself_as_it_was_sampled(n):
    call = ask(choose=Choose(n, oracle), sampling=Sampling(temperature=0.0))
    (draft,) = drafts_of(call)
    assert (draft.messages, draft.sampling.temperature) == (call.messages, 0.0)


def test_alternatives_are_each_answered_n_times_in_their_order_with_the_calls_own_sampling():
    others = (ask("one", sampling=Sampling(seed=5)), ask("two"))
    call = ask(choose=Choose(2, oracle, others), sampling=Sampling(seed=8), extra={"user": "x"})
    drafts = drafts_of(call)
    assert [(d.messages[0]["content"], d.sampling.seed) for d in drafts] == [
        ("one", 8), ("one", 9), ("two", 8), ("two", 9)
    ]  # fmt: skip
    assert all(draft.extra == {"user": "x"} for draft in drafts)


def test_all_drafts_are_one_batch_and_others_come_through_in_their_places():
    batches = []

    def generate(calls):
        batches.append(len(calls))
        return drawn(calls)

    plain = ask(sampling=Sampling(seed=1))
    made = generate_chosen([plain, ask(choose=Choose(3, oracle)), plain], generate)
    assert batches == [5]
    assert [one.text for one in made] == ["1", "4", "1"]
    assert [(one.tokens_in, one.tokens_out) for one in made] == [(10, 2), (30, 6), (10, 2)]


def test_of_equals_the_earlier_is_kept():
    def generate(calls):
        return [Completion(f"draft {n}") for n in range(len(calls))]

    made = generate_chosen([ask(choose=Choose(4, lambda drafts: [0.0, 1.0, 1.0, 0.5]))], generate)
    assert made[0].text == "draft 1"


def test_a_scorer_that_forgets_a_draft_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        generate_chosen([ask(choose=Choose(3, lambda drafts: [1.0]))], drawn)


def test_a_chosen_answer_streams_as_one_chunk():
    (chunk,) = whole(Completion("text", "length", 3, 4))
    assert (chunk.text, chunk.finish_reason, chunk.tokens_in, chunk.tokens_out) == ("text", "length", 3, 4)
