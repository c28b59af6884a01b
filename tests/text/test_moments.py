"""Expressions of time against a table worked out by hand; said on Friday, 20 November 2026, unless told otherwise."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf, nan

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from idiolect.text.dates import date_ranges, label, read_label
from idiolect.text.moments import Moment, asked_ranges, dated, names, resolve


def at(*day: int) -> float:
    return datetime(*day, tzinfo=UTC).timestamp()


FRIDAY = at(2026, 11, 20, 15)

SAID = [
    # near days
    ("I was there today", "today (20 November 2026)"),
    ("yesterday I slept", "yesterday (19 November 2026)"),
    ("what a night, last night!", "last night (19 November 2026)"),
    ("tonight we eat out", "tonight (20 November 2026)"),
    ("this morning I ran", "this morning (20 November 2026)"),
    ("see you tomorrow evening", "tomorrow evening (21 November 2026)"),
    ("the day before yesterday", "the day before yesterday (18 November 2026)"),
    ("the day after tomorrow", "the day after tomorrow (22 November 2026)"),
    ("yesterday's news", "yesterday's (19 November 2026)"),
    # last, this, next
    ("I moved last month", "last month (October 2026)"),
    ("last week was hard", "last week (9 to 15 November 2026)"),
    ("last weekend", "last weekend (14 to 15 November 2026)"),
    ("last year", "last year (2025)"),
    ("last Monday", "last Monday (16 November 2026)"),
    ("last Friday", "last Friday (13 November 2026)"),
    ("last Tues", "last Tues (17 November 2026)"),
    ("last Sunday morning", "last Sunday morning (15 November 2026)"),
    ("last spring", "last spring (March to May 2026)"),
    ("last fall", "last fall (September to November 2025)"),
    ("last winter", "last winter (December 2025 to February 2026)"),
    ("last June", "last June (June 2026)"),
    ("last November", "last November (November 2025)"),
    ("last may I moved", "last may (May 2026)"),
    ("last Christmas", "last Christmas (25 December 2025)"),
    ("this week", "this week (16 to 22 November 2026)"),
    ("this month", "this month (November 2026)"),
    ("this year", "this year (2026)"),
    ("this winter", "this winter (December 2026 to February 2027)"),
    ("this Monday I started", "this Monday (16 November 2026)"),
    ("I will start this Monday", "this Monday (23 November 2026)"),
    ("this weekend I'm going out", "this weekend (21 to 22 November 2026)"),
    ("we went hiking this weekend", "this weekend (14 to 15 November 2026)"),
    ("that trip this past weekend", "this past weekend (14 to 15 November 2026)"),
    ("next Friday", "next Friday (27 November 2026)"),
    ("next Monday", "next Monday (23 November 2026)"),
    ("next Sunday", "next Sunday (22 November 2026 or 29 November 2026)"),
    ("next week", "next week (23 to 29 November 2026)"),
    ("next month", "next month (December 2026)"),
    ("next year", "next year (2027)"),
    ("next summer", "next summer (June to August 2027)"),
    ("next June", "next June (June 2027)"),
    ("this coming Sunday", "this coming Sunday (22 November 2026)"),
    ("the weekend before last", "the weekend before last (7 to 8 November 2026)"),
    ("the week after next", "the week after next (30 November to 6 December 2026)"),
    # of last year, of next week
    ("in May last year", "May last year (May 2025)"),
    ("on 3 May next year", "3 May next year (3 May 2027)"),
    ("last year in June", "last year in June (June 2025)"),
    ("Christmas of last year", "Christmas of last year (25 December 2025)"),
    ("on Tuesday of next week", "Tuesday of next week (24 November 2026)"),
    ("last week on Monday", "last week on Monday (9 November 2026)"),
    # counted
    ("two years ago", "two years ago (2024)"),
    ("two weeks ago", "two weeks ago (2 to 8 November 2026)"),
    ("3 days ago", "3 days ago (17 November 2026)"),
    ("a couple of months ago", "a couple of months ago (September 2026)"),
    ("two weekends ago", "two weekends ago (7 to 8 November 2026)"),
    ("two summers ago", "two summers ago (June to August 2025)"),
    ("a few days ago", "a few days ago (15 to 18 November 2026)"),
    ("a few months ago", "a few months ago (June to September 2026)"),
    ("two or three years ago", "two or three years ago (2023 to 2024)"),
    ("a decade ago", "a decade ago (2015 to 2017)"),
    ("a year and a half ago", "a year and a half ago (April to June 2025)"),
    ("two and a half years ago", "two and a half years ago (April to June 2024)"),
    ("half a year ago", "half a year ago (April to June 2026)"),
    ("I leave in three days", "in three days (23 November 2026)"),
    ("the wedding is in two months", "in two months (January 2027)"),
    ("in two weeks' time", "in two weeks' time (30 November to 6 December 2026)"),
    ("I'm moving in a month", "in a month (December 2026)"),
    ("a week from now", "a week from now (23 to 29 November 2026)"),
    ("over the last two weeks", "the last two weeks (6 to 20 November 2026)"),
    ("in the next few days", "the next few days (20 to 23 November 2026)"),
    ("the past year was good", "the past year (November 2025 to November 2026)"),
    ("I met her the other day", "the other day (13 to 19 November 2026)"),
    # the sentence tells the year or the week
    ("since March I work nights", "March (March 2026)"),
    ("since December we are three", "December (December 2025)"),
    ("I moved in March", "March (March 2026)"),
    ("I will move in March", "March (March 2027)"),
    ("I'm flying on 5 May", "5 May (5 May 2027)"),
    ("we met on May 5th", "May 5th (5 May 2026)"),
    ("I have an exam on Tuesday", "Tuesday (24 November 2026)"),
    ("I saw him on Tuesday", "Tuesday (17 November 2026)"),
    ("I'm in Rome until Friday", "Friday (27 November 2026)"),
]


@pytest.mark.parametrize(("text", "said"), SAID, ids=[text for text, _ in SAID])
def test_relative_expressions_get_their_date(text, said):
    made = dated(text, FRIDAY)
    assert said in made
    assert made.replace(said[said.index(" (") :], "") == text


@pytest.mark.parametrize(
    ("day", "text", "said"),
    [
        ((2026, 11, 17), "next Friday", "next Friday (20 November 2026 or 27 November 2026)"),
        ((2026, 11, 22), "last Friday", "last Friday (20 November 2026)"),
        ((2026, 11, 22), "we went out this weekend", "we went out this weekend (21 to 22 November 2026)"),
        ((2026, 11, 22), "last weekend", "last weekend (14 to 15 November 2026)"),
        ((2027, 1, 10), "this winter", "this winter (December 2026 to February 2027)"),
        ((2027, 1, 10), "last winter", "last winter (December 2025 to February 2026)"),
        ((2027, 1, 10), "last summer", "last summer (June to August 2026)"),
        ((2027, 1, 10), "last month", "last month (December 2026)"),
        ((2027, 1, 2), "last week", "last week (21 to 27 December 2026)"),
        ((2027, 1, 1), "this week", "this week (28 December 2026 to 3 January 2027)"),
        ((2026, 4, 10), "last spring", "last spring (March to May 2025)"),
        ((2026, 4, 10), "next June", "next June (June 2026 or June 2027)"),
        ((2024, 2, 29), "a year ago", "a year ago (2023)"),
        ((2024, 3, 31), "last month", "last month (February 2024)"),
        ((2024, 3, 1), "yesterday", "yesterday (29 February 2024)"),
    ],
)
def test_edges_of_weeks_and_years(day, text, said):
    assert dated(text, at(*day)) == said


@pytest.mark.parametrize(
    "text",
    [
        "I may go, they march on, we fall ill and drink from the spring",
        "this may be wrong", "Wait a second", "two seconds ago", "the second of my three", "I fall asleep easily",
        "a spring in the garden", "this spring broke", "this fall hurt my hip", "my last fall was bad",
        "Sunday roast", "the next Sunday roast", "this Sunday roast is great", "every Sunday", "I rest on Sundays",
        "in my twenties", "at 5 pm", "meet me at 17:30", "in five minutes", "an hour ago", "24/7", "half past ten",
        "last but not least", "the last one", "next to me", "next door", "this is it", "what comes next",
        "the last week of June", "my last year at school", "the next day", "the last Friday of the month",
        "I read it in two weeks", "three times in two weeks", "there are seven days in a week", "twice in a year",
        "over two years ago", "more than a year ago", "2,000 years ago", "ten thousand years ago",
        "it feels like yesterday", "USA Today", "it cost 2000 dollars", "room 2019", "in 2000 meters turn left",
        "my birthday is on 5 May", "we always go in June", "April said so", "March's people", "Will and May left",
        "on Good Friday", "a long time ago", "back in the day", "the other side", "1.2.3", "version 1.10.2023.4",
        "31/31/2023", "2023-13-01", "on 31 February 2023", "two years older", "Around the World in 80 Days",
    ],
)  # fmt: skip
def test_what_is_no_date_is_left_alone(text):
    assert resolve(text, FRIDAY) == []
    assert dated(text, FRIDAY) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("in 2019 I moved", [("2019", "2019", "year")]),
        ("May 5th, 2023", [("May 5th, 2023", "5 May 2023", "day")]),
        ("the 5th of May 2023", [("the 5th of May 2023", "5 May 2023", "day")]),
        ("5 Dec 2020", [("5 Dec 2020", "5 December 2020", "day")]),
        ("in May of 2023", [("May of 2023", "May 2023", "month")]),
        ("spring 2024", [("spring 2024", "March to May 2024", "season")]),
        ("Christmas 2020", [("Christmas 2020", "25 December 2020", "day")]),
        ("on 2023-05-04T10:00", [("2023-05-04", "4 May 2023", "day")]),
        ("4.5.2023", [("4.5.2023", "4 May 2023", "day")]),
        ("25/12/2023", [("25/12/2023", "25 December 2023", "day")]),
        ("5/6/2023", [("5/6/2023", "6 May 2023", "day"), ("5/6/2023", "5 June 2023", "day")]),
        ("5/5/2023", [("5/5/2023", "5 May 2023", "day")]),
        ("born (5 May 1990), see Smith (2024)", [("5 May 1990", "5 May 1990", "day")]),
    ],
)
def test_absolute_dates_are_found_and_left_as_they_are(text, found):
    for moment in (FRIDAY, at(1980, 1, 1), 5.0, inf, nan):
        seen = [(m.text, name(m), m.grain) for m in resolve(text, moment)]
        assert seen == found
        assert dated(text, moment) == text


def name(moment: Moment) -> str:
    first, end = (datetime.fromtimestamp(t, UTC).date() for t in (moment.start, moment.end))
    return label((first, end), moment.grain)


def test_a_date_behind_an_expression_counts_for_it_whenever_it_is_read():
    told = dated("I moved last month and leave next Sunday, two years ago I came", FRIDAY)
    later = at(2030, 1, 1)
    assert dated(told, later) == told
    assert [(m.start, m.end, m.grain) for m in resolve(told, later)] == [
        (at(2026, 10, 1), at(2026, 11, 1), "month"),
        (at(2026, 11, 22), at(2026, 11, 23), "day"),
        (at(2026, 11, 29), at(2026, 11, 30), "day"),
        (at(2024, 1, 1), at(2025, 1, 1), "year"),
    ]


@pytest.mark.parametrize("moment", [inf, -inf, nan, 7.0, 1e300, -1e300])
def test_where_the_moment_is_no_date_relative_words_say_nothing(moment):
    assert resolve("yesterday and last year", moment) == []


WORDS = (
    "yesterday today last this next week month year Friday weekend spring fall May march on in since until 5 5th 2023 "
    "two a few ago half and the of before after I moved will am moving days (2024) (October (October 2026) , . ( ) "
    "2023-05-04 5/6/2023 (9 to 15 November 2026) or Christmas ı K ſ other past over"
).split(" ")
texts = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join),
    st.lists(st.sampled_from([text for text, _ in SAID] + [said for _, said in SAID]), max_size=3).map(", ".join),
    st.text(max_size=40),
)
moments = st.floats(1e8, 4e9) | st.sampled_from([0.0, inf, nan, FRIDAY, 2.0**37 - 1])


@given(texts, moments, moments)
@example("yesterday (31 February 2023)", FRIDAY, FRIDAY)
def test_dating_twice_changes_nothing_and_only_adds_brackets(text, moment, later):
    once = dated(text, moment)
    assert dated(once, moment) == once
    if not any(found.labelled for found in names(text, moment)):
        assert [(m.start, m.end, m.grain) for m in resolve(once, moment)] == [
            (m.start, m.end, m.grain) for m in resolve(text, moment)
        ]
    assert resolve(text, later) == resolve(text, later)


@given(texts, moments)
def test_ranges_are_in_order_and_whole_days_with_a_name_that_reads_back(text, moment):
    found = resolve(text, moment)
    assert [m.span for m in found] == sorted(m.span for m in found)
    for m in found:
        assert m.start < m.end
        assert m.start % 86400 == m.end % 86400 == 0
        assert text[slice(*m.span)] == m.text
        days = tuple(datetime.fromtimestamp(t, UTC).date() for t in (m.start, m.end))
        assert read_label(label(days, m.grain)) == [(days, "week" if m.grain == "week" else m.grain)]


# -- what a question asks about

YEARS = (2024, 2025, 2026)


@pytest.mark.parametrize(
    ("query", "ranges"),
    [
        ("what did I do last spring", [(at(2026, 3, 1), at(2026, 6, 1))]),
        ("what did I say yesterday?", [(at(2026, 11, 19), at(2026, 11, 20))]),
        ("what did I eat today?", [(at(2026, 11, 20), at(2026, 11, 21))]),
        ("what shall I eat today?", []),
        ("what is on next week", []),
        ("sum up the past week", [(at(2026, 11, 13), at(2026, 11, 21))]),
        ("where have I been since last June", [(at(2026, 6, 1), inf)]),
        ("what did I write after May 2025", [(at(2025, 6, 1), inf)]),
        ("where did I live before 2025", [(-inf, at(2025, 1, 1))]),
        ("what did I read until 3 May 2025", [(-inf, at(2025, 5, 4))]),
        ("what did I do on 2025-05-04", [(at(2025, 5, 4), at(2025, 5, 5))]),
        ("how was last May", [(at(2026, 5, 1), at(2026, 6, 1))]),
        ("what did I do in May last year", [(at(2025, 5, 1), at(2025, 6, 1))]),
    ],
)
def test_what_a_question_asks_about(query, ranges):
    assert asked_ranges(query, YEARS, FRIDAY) == ranges


@pytest.mark.parametrize(
    "query", ["in May 2025", "on August 7th", "trip 2025?", "in February", "mayor, decide", "hello"]
)
def test_absolute_questions_are_what_they_were(query):
    assert asked_ranges(query, YEARS, inf) == asked_ranges(query, YEARS, FRIDAY) == date_ranges(query, YEARS)
