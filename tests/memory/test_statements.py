from __future__ import annotations

from datetime import UTC, datetime

import pytest

from idiolect.memory.statements import candidates, found, statements
from idiolect.types import Turn

JUNE = datetime(2024, 6, 10, 9, tzinfo=UTC).timestamp()  # a Monday


def said(text, question=""):
    return [one.text for one in found(text, question, JUNE)]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Allergic to latex btw", "latex"),
        ("My wife's Korean, what could I cook for her mum?", "Korean"),
        ("Which earplugs are good, since I work nights at the port?", "I work nights"),
        ("Please plan the week. For context I teach chess in Gdansk, and keep it short.", "I teach chess in Gdansk"),
        ("no longer vegan", "no longer vegan"),
        ("I play bass in a ska band", "bass"),
        ("retired baker here", "baker"),
        ("i'm 15 and need a summer job", "15"),
        ("my husband Oskar asked for a cake, any idea?", "Oskar"),
        ("I gave up coffee.", "gave up coffee"),
        ("doctor says my sugar is too high", "sugar"),
        ("choir is Wednesdays at 7", "Wednesdays"),
    ],
)
def test_what_lasts_is_kept_wherever_it_stands(text, kept):
    assert any(kept.lower() in one.lower() for one in said(text)), said(text)


@pytest.mark.parametrize(
    "text",
    [
        'Proofread this: "I live in Oslo and I am allergic to dust."',
        "Proofread this:\nI live in Oslo and I am allergic to dust.",
        "Translate: I have two sons and I work in a bank.",
        "```\nI live in Oslo. My name is Bob.\n```\nwhat is wrong here",
        "Here are my lyrics:\n\nI live on the moon\nI love the rain\nI own a boat",
        "Dear Sir or Madam,\nI live in Oslo and I have two sons.\nKind regards,\nBob",
        "> I live in Oslo\nwhat did he mean?",
        "Let's role play. I'm a pirate and I live in Tortuga.",
        "You're the waiter and I'm a tourist who loves snails.",
        "If I had a dog, I would call it Rex.",
        "If I lived in Rome I would need no car.",
        "I might move to Spain some day.",
        "I'd love to have a horse.",
        "Do I like tea?",
        "I need a recipe for tonight.",
        "I'm so tired today.",
        "I have a headache right now",
        "My friend Tom is allergic to nuts.",
        "My neighbour is a dentist and lives in Kiel.",
        "A woman on my bus has two dogs.",
        "Einstein lived in Bern.",
        "I have a question about Rome.",
        "I love how you explain that!",
        "what is asthma",
        "Thanks, you are great!",
        "",
    ],
)
def test_what_is_not_about_the_person_or_passes_leaves_nothing(text):
    assert said(text) == []


@pytest.mark.parametrize(
    ("question", "answer", "kept"),
    [
        ("Nice. Do you have pets?", "Three, all hens.", "I have pets: Three, all hens"),
        ("So you live in Tampere?", "yes, correct", "I live in Tampere"),
        ("Where do you live?", "Turku", "I live in Turku"),
        ("What do you do for a living?", "mostly welding", "I work as mostly welding"),
        ("Do you eat meat?", "no", "I do not eat meat"),
        ("What is your dog called?", "Bruno", "My dog is called Bruno"),
    ],
)
def test_a_short_answer_says_what_the_question_asked(question, answer, kept):
    assert said(answer, question) == [kept]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Shall I add an emoji?", "yes"),
        ("Would you like them in red and black?", "just black, thanks"),
        ("You seem to love the sea.", "ok"),
        ("Do you have kids?", "what else could I cook?"),
    ],
)
def test_an_answer_about_the_task_says_nothing(question, answer):
    assert said(answer, question) == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("I moved to Hull yesterday", "I moved to Hull yesterday (9 June 2024)"),
        ("I retired in March", "I retired in March (March 2024)"),
        ("I'm getting married in September", "I'm getting married in September (September 2024)"),
        ("my op is on April 9", "My op is on April 9 (9 April 2025)"),
        ("I play chess every Monday", "I play chess every Monday"),
    ],
)
def test_dates_are_resolved_in_the_text(text, kept):
    assert said(text) == [kept]


def test_until_says_how_long_it_holds():
    (one,) = found("I live in Porto until 1 September 2024", "", JUNE)
    assert one.until == datetime(2024, 9, 2, tzinfo=UTC).timestamp()


def test_a_correction_a_change_and_what_is_given_are_told_apart():
    (corrected,) = found("Sorry, I meant my name is Bea.", "", JUNE)
    assert corrected.said_by == "corrected"
    (change,) = found("I moved to Hull", "", JUNE)
    assert change.news
    (given,) = found("As you know I live in Hull.", "", JUNE)
    assert given.given


def test_an_illness_told_of_her_alone_names_her():
    kept = said("A cake for Ines next week. She came out in hives from sesame oil.")
    assert any("Ines" in one and "sesame" in one for one in kept)


def test_names_that_follow_belong_to_the_animal_or_the_child():
    assert said("got a puppy! a beagle. names Rufus") == ["Got a puppy, a beagle, names Rufus"]


def test_wishes_about_answers_are_kept_and_orders_for_one_task_are_not():
    assert said("From now on answer in short sentences please.")
    assert said("No emojis ever again, please, in your answers.")
    assert said("make it shorter, no emojis") == []


def test_what_is_asked_to_be_remembered_is_kept_once():
    assert said("Remember that my car is a 1998 Volvo.") == ["My car is a 1998 Volvo."]


def test_only_the_latest_message_of_the_user_counts():
    turn = Turn(
        (
            {"role": "system", "content": "The user lives in Rome."},
            {"role": "user", "content": "I live in Kiel."},
            {"role": "assistant", "content": "I love jazz."},
            {"role": "user", "content": "I have two cats."},
        ),
        "I am allergic to cats.",
        JUNE,
    )
    assert [one.text for one in candidates(turn)] == ["I have two cats."]
    assert statements("I have two cats.") == ["I have two cats."]


def test_a_long_paste_is_read_in_good_time():
    import time

    text = "i am a nurse and i live in " + "word " * 20000
    start = time.perf_counter()
    statements(text)
    statements("(" * 20000)
    statements('"' * 5000 + "a, " * 5000)
    assert time.perf_counter() - start < 5
