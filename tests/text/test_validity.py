from __future__ import annotations

from datetime import UTC, datetime
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idiolect.text.moments import dated
from idiolect.text.validity import holds_from, until


def at(*day: int) -> float:
    return datetime(*day, tzinfo=UTC).timestamp()


FRIDAY = at(2026, 11, 20, 15)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("since March I work nights", at(2026, 3, 1)),
        ("I moved to Berlin last month", at(2026, 10, 1)),
        ("I'm moving next week", at(2026, 11, 23)),
        ("I will work from home from Monday", at(2026, 11, 23)),
        ("as of next month I am a manager", at(2026, 12, 1)),
        ("I have an exam next week", FRIDAY),
        ("I became vegan two years ago", at(2024, 1, 1)),
        ("I've been a nurse since 2019", at(2019, 1, 1)),
        ("I have lived here for two years", at(2024, 1, 1)),
        ("I've been running for a few months", at(2026, 6, 1)),
        ("I started yoga today", at(2026, 11, 20)),
        ("I like films from 1987", FRIDAY),
        ("I'm in Rome until Friday", FRIDAY),
        ("I like tea", FRIDAY),
        ("I start on Monday", at(2026, 11, 23)),
    ],
)
def test_since_when_a_statement_holds(text, start):
    assert holds_from(text, FRIDAY) == start
    if "lived" not in text and "running" not in text:  # what is dated says the same, whenever it is read
        assert start == FRIDAY or holds_from(dated(text, FRIDAY), at(2031, 5, 5)) == start


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("I'm in Rome until Friday", at(2026, 11, 28)),
        ("we stay till the end of next week", at(2026, 11, 30)),
        ("I lived in Rome until 2019", at(2020, 1, 1)),
        ("I'm away for the next two weeks", at(2026, 12, 5)),
        ("on leave through March 2027", at(2027, 4, 1)),
        ("I won't know until Friday", inf),
        ("I'm in Rome", inf),
        ("done by Friday", inf),
        ("until then", inf),
    ],
)
def test_until_when_a_statement_holds(text, end):
    assert until(text, FRIDAY) == end


@given(st.text(max_size=60), st.floats(allow_nan=False))
def test_a_statement_that_says_nothing_of_time_holds_from_when_it_was_said(text, moment):
    assert holds_from(text, moment) <= moment or holds_from(text, moment) < inf
    assert holds_from("I like tea", moment) == moment
