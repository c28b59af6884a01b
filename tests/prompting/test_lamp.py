from __future__ import annotations

import logging

import numpy as np
import pytest

from helpers import open_store
from idiolect.backends.toy import ToyBackend
from idiolect.prompting.assembly import personalize
from idiolect.prompting.lamp import Lamp, parts, shape
from idiolect.store.view import StoredUser
from idiolect.types import Call, Context, Record


def given(output, input="", time=1e9):
    return Record.new("ana", output, time=time, input=input, kind="interaction")


def context(tokens=600):
    return Context(ToyBackend(), lambda: 2e9, np.random.default_rng(0), tokens=tokens)


def asked(length, about="fern"):
    return Call(({"role": "user", "content": about + "?" * (length - len(about))},), about)


def texts(lengths):
    """Worded texts of so many bytes."""
    return [('"', "x" * (length - 2), '"') for length in lengths]


def person(tmp_path, records):
    store = open_store(tmp_path)
    store.add(records)
    return StoredUser(store, "ana")


def test_the_cards_budget_short_items_give_to_later_ones():
    cut = Lamp().cut(texts([50, 300, 300, 300]), 100, 10_000, len)
    assert [len(text) for text in cut] == [50, 152, 101, 101]
    assert all(text.startswith('"') and text.endswith('"') for text in cut)


def test_the_prompt_budget_is_shared_alike_where_it_is_smaller():
    cut = Lamp().cut(texts([50, 300, 300, 300]), 100, 207, len)
    assert [len(text) for text in cut] == [50, 50, 50, 50]


def test_the_factor_falls_until_the_wording_has_room():
    # Of 100 tokens a question of 80 may take 60, which leaves (40 - 7) // 4 = 8 each; 50 leave 10.
    worded = [("123456789", "middle", "")] * 4
    assert Lamp(max_len=100).cut(worded, 80, 999, len) == ["123456789m"] * 4
    assert Lamp(max_len=8).cut(worded, 80, 999, len) is None


@pytest.mark.parametrize(
    ("outputs", "inputs", "wording"),
    [
        (["4", "2.5"], ["a review", "another"], "score"),
        (["sci-fi", "based on a book"], ["a film", "another"], "category"),
        (["How to keep bees in a cold winter"] * 2, ["a long article " * 9] * 2, "title"),
        (["a text of mine, longer than that"] * 2, ["yes?"] * 2, "text"),
        (["a text of mine"] * 2, ["", "article"], "text"),
    ],
)
def test_records_show_by_their_shape_how_they_are_worded(outputs, inputs, wording):
    assert shape([given(o, i) for o, i in zip(outputs, inputs, strict=True)]) == wording


def test_the_wordings():
    record = given("sea", "fern and  rain")
    assert "".join(parts(record, "tag")) == '"sea" is the tag for "fern and rain"'
    assert "".join(parts(record, "score")) == 'sea is the score for "fern and rain"'
    assert "".join(parts(record, "text")) == '"sea"'
    assert "".join(parts(given("sea"), "title")) == '"sea"'


def test_items_enter_whole_best_first_and_within_the_budget(tmp_path):
    records = [given(("red", "blue")[n % 2], f"fern {n} " + "leaf " * 90, 1e9 + n) for n in range(9)]
    user = person(tmp_path, records)
    for tokens in (250, 400, 600):
        ctx = context(tokens)
        call, offered = personalize(asked(60), user, [("lamp", Lamp())], ctx)
        (block,) = offered
        assert [item.used.id for item in block.items] == [hit.record.id for hit in user.search("fern", 4)]
        assert len(call.used) == 4
        assert all(use.text.endswith('"') and '" is the category for "fern' in use.text for use in call.used)
        assert sum(len(use.text) + 1 for use in call.used) + len(f"\n{block.title}\n") <= tokens


def test_without_records_or_k_the_call_is_the_same_bytes(tmp_path):
    user = person(tmp_path, [given("red", "fern"), given("blue", "fern leaf", 1e9 + 1)])
    call = asked(40)
    assert personalize(call, user, [("lamp", Lamp(k=0))], context())[0] is call
    assert Lamp().apply(call, StoredUser(user.store, "nobody"), context()) is call


def test_a_budget_that_fails_asks_bare_and_says_so(tmp_path, caplog):
    user = person(tmp_path, [given("red", "fern"), given("blue", "fern leaf", 1e9 + 1)])
    call = asked(500)
    with caplog.at_level(logging.WARNING, "idiolect"):
        assert Lamp(max_len=30).apply(call, user, context()) is call
    assert caplog.messages == ["lamp: a question of 500 tokens leaves no room for records; it is asked bare"]
