"""Corrections come back by the shape of the task, facts by their subject; what a person says in reply is recognised."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import open_store
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import Settings
from idiolect.memory import remarks
from idiolect.memory.corrections import Corrections
from idiolect.memory.feedback import Feedback, read, record_of
from idiolect.pipeline import Idiolect
from idiolect.store.view import StoredUser
from idiolect.types import Call, Context, Turn, text_of

THEN, DAY = 1_700_000_000.0, 86400.0
ONE = ("corrections",)


def said(question, comment="", day=0, **more):
    return record_of("ana", question, "an answer", Feedback(comment=comment, **more), time=THEN + day * DAY, trace="")


def asking(text, **more):
    return Call(({"role": "user", "content": text},), **more)


class World:
    def __init__(self, tmp_path, *records, answers=(), embedder=None):
        self.store = open_store(tmp_path, embedder)
        self.store.add(records)
        self.model = ScriptedBackend(answers)
        self.app = Idiolect(self.store, self.model, Settings(methods=ONE), clock=lambda: THEN + 50 * DAY)

    def items(self, text, **settings):
        ctx = Context(self.model, lambda: THEN, np.random.default_rng(0), self.store.embedder)
        call = Corrections(**settings).apply(asking(text), StoredUser(self.store, "ana"), ctx)
        found = [item for block in call.context for item in block.items]
        return sorted(found, key=lambda item: -item.score)

    def shown(self, text, **settings):
        return [item.text.split(": ", 1)[-1].removeprefix("- ") for item in self.items(text, **settings)]


@pytest.fixture
def world(tmp_path):
    return lambda *records, **more: World(tmp_path, *records, **more)


SYNONYM = said("What is akin to < flair > ?", "No, I meant a synonym.")


# -- the cards' own tests


def test_after_one_correction_the_next_question_worded_otherwise_is_answered_right(world):
    """MemPrompt: a scripted model that needs the clarification."""

    def script(call):
        return "a synonym: needed" if "I meant a synonym" in text_of(call.messages[-1]) else "a thing that rhymes"

    house = world(answers=script)
    first = {"role": "user", "content": "What is akin to < flair > ?"}
    answer = house.app.chat([first], "ana").text
    assert answer == "a thing that rhymes"
    reply = {"role": "user", "content": "No, I meant a synonym."}
    house.app.chat([first, {"role": "assistant", "content": answer}, reply], "ana")
    house.app.worker.drain()
    assert house.app.ask("Please, what's akin to 'vital'?", "ana").text == "a synonym: needed"
    assert house.app.ask("What has the ring of 'vital'?", "ana").text == "a thing that rhymes"


def test_the_same_key_twice_is_one_and_the_newest_wins(world):
    antonym = said("What is akin to < dull > ?", "No, I meant an antonym.", day=2)
    house = world(SYNONYM, antonym)
    assert house.shown("What is akin to < chap > ?") == ["No, I meant an antonym."]
    again = said("What is akin to < boy > ?", "no, I meant a synonym!", day=4)
    house.store.add([again])
    assert [item.used.id for item in house.items("What is akin to < chap > ?")] == [again.id]


def test_another_task_gets_nothing(world):
    house = world(SYNONYM)
    call = asking("Sort every letter of < flair > but the first")
    assert house.app.plan(call, "ana").call == call
    assert not house.shown("What is unlike < flair > ?")  # three words, one of them another
    assert not house.shown("What is < flair > ?")


def test_the_fact_turns_the_penny_and_not_the_iron(world):
    """TeachMe: a model that believes that all metals are magnetic, unless it is told of one."""

    def script(call):
        return "no" if "copper is not magnetic" in text_of(call.messages[-1]) else "yes"

    house = world(said('Is a "penny" magnetic?', "Wrong: copper is not magnetic."), answers=script)
    for question, answer in {
        'Is a "penny" magnetic?': "no",
        "Would a magnet attract a penny?": "no",
        "Does copper wire stick to my fridge?": "no",
        'Is an "iron nail" magnetic?': "yes",
        "Is iron magnetic?": "yes",
    }.items():
        assert house.app.ask(question, "ana").text == answer, question


def test_of_facts_on_one_subject_the_newest_counts_and_has_its_date(world):
    house = world(
        said("Is copper magnetic?", "copper is magnetic"), said("Is copper magnetic?", "copper is not", day=9)
    )
    (item,) = house.items("is copper magnetic")
    assert (item.text, item.header) == ("- copper is not", "[23 November 2023]")


# -- what counts, and for how long


def test_confidence_comes_from_the_records_alone(world):
    question = "What is akin to < {} > ?"
    first = said(question.format("a"), "I meant a synonym")
    liked = said(question.format("b"), day=1, rating=1.0)
    second = said(question.format("c"), "I meant one word only", day=2)
    house = world(first, liked, second)
    found = house.items(question.format("z"))
    assert [item.used.id for item in found] == [second.id, first.id]  # liked once, failed once: 2/3
    assert [item.used.parts["confidence"] for item in found] == [1, pytest.approx(2 / 3)]
    third = said(question.format("d"), "I meant an antonym", day=3)
    house.store.add([third])
    assert [item.used.id for item in house.items(question.format("z"))] == [third.id]  # 2/4 and 1/2: not trusted
    assert [item.used.id for item in house.items(question.format("z"), least=0.5)] == [third.id, second.id]


def test_praise_and_ratings_correct_nothing(world):
    question = "What is akin to < flair > ?"
    house = world(
        said(question, "great, thanks", rating=-1.0), said(question, "nice", 1), said(question, day=2, rating=1)
    )
    assert not house.shown(question)


def test_an_edit_is_shown_as_the_answer_that_should_have_been(world):
    house = world(said("Summarise this: the first text", edit="Two lines."))
    (item,) = house.items("summarise this: another text")
    assert item.text == 'Asked "Summarise this: the first text": the answer should have been: "Two lines."'


def test_unmarked_questions_may_differ_in_one_word_of_four(world):
    house = world(said("give me something which rhymes with sea", "No, I meant a song."))
    assert house.shown("give me something which rhymes with lake")  # give something rhymes _
    assert not house.shown("give me a recipe which rhymes with lake")
    assert not house.shown("give me something which rhymes with lake", tau_bare=0.15)


class Paired:
    """Says that two wordings are near and all others are not."""

    dim, fingerprint = 2, "paired"

    def embed(self, texts):
        near = ("what is akin to it ?", "which word is similar to it ?")
        return np.array([[1, 0] if " ".join(t.lower().split()) in near else [0, 1] for t in texts], np.float32)


def test_the_embedder_finds_other_wordings_where_no_shape_is_like(world):
    antonym = said("What is unlike < big > ?", "No, I meant an antonym.", day=3)
    house = world(SYNONYM, antonym, embedder=Paired())
    assert house.shown("Which word is similar to < big > ?") == ["No, I meant a synonym."]
    assert not house.shown("Which word is similar to < big > ?", near=1.1)
    assert house.shown("What is unlike < tall > ?") == ["No, I meant an antonym."]  # a like shape comes first


def test_the_instruction_around_a_focus_makes_the_shape(world):
    house = world(said("Which category is it? AN ARTICLE ON TAX", "No, I meant the section of the paper."))
    call = asking("Which category is it? Rain in May", focus="Rain in May")
    assert house.app.plan(call, "ana").call == call  # recorded whole, the article was part of the question
    house.store.add([said("Which category is it?\n\nAn article on tax", "I meant the section of the paper.", day=1)])
    assert house.app.plan(call, "ana").call.used


def test_a_forgotten_correction_is_gone(world):
    house = world(SYNONYM)
    house.store.delete("ana", [SYNONYM.id])
    assert not house.shown("What is akin to < flair > ?")


# -- recognising a correction

ASKED, ANSWERED = "Is a penny magnetic?", "Yes, a penny is made of copper, and metals are magnetic."


@pytest.mark.parametrize(
    "text",
    [
        "no, I meant a synonym",
        "I meant the city, not the person",
        "That's not what I asked, what is the opposite?",
        "this isn\u2019t what I wanted",
        "It was not what I said.",
        "not copper but zinc",
        "No, not a poem but a letter.",
        "wrong: copper is not magnetic",
        "Wrong, it was in 1912.",
        "no, copper is not magnetic",
        "Actually, copper is not magnetic.",
        "I asked for a synonym, not a definition",
        "I said Tuesday, not Thursday",
        "You misunderstood me",
        "You didn't answer my question",
        "when I ask for akin to, I want a synonym",
        "That's incorrect. Copper is a metal, but not magnetic.",
        "I didn't ask for a poem",
    ],
)
def test_corrections_are_recognised(text):
    assert remarks.corrects(text, ASKED, ANSWERED)


@pytest.mark.parametrize(
    "text",
    [
        "", "no", "no, thanks", "No, thank you!", "no problem", "No worries, that works", "No need, thanks",
        "I meant to ask about Rome", "I meant it", "I meant no offence", "I mean to travel in May", "I mean, come on",
        "Not bad but could be shorter", "not sure but I think so", "not now but later", "not a fan but willing to try",
        "not only copper but zinc too", "No, that is fine", "No, it's ok", "no, I'm good", "No, my brother is coming",
        "No, tell me about Rome", "No. Rome is lovely in May.", "What's wrong with my code?", "wrong number",
        "is that wrong, or not?", "Something is wrong. My bike is broken.", "Actually, can you also list the hotels?",
        "actually I like it", "I didn't mean to bother you", "I did not ask yet", "I said it was fine",
        "I want a poem, not too long", "I wanted to go, not knowing the way", "If I say I want a refund, what happens?",
        "What did I mean?", "I meant a synonym " + "and much more " * 60,
    ],
)  # fmt: skip
def test_other_messages_are_not(text):
    assert not remarks.corrects(text, ASKED, ANSWERED)


def test_a_no_to_a_question_of_the_assistant_answers_it():
    assert not remarks.corrects("No, copper is not in it.", ASKED, "Is it made of copper?")
    assert remarks.corrects("No, I meant the coin.", ASKED, "Is it made of copper?")


@pytest.mark.parametrize(
    ("remark", "fact"),
    [
        ("copper is not magnetic", "copper is not magnetic"),
        ("No, copper isn't magnetic. You should know.", "copper isn't magnetic"),
        ("That's wrong. Iron nails are magnetic!", "Iron nails are magnetic"),
        ("the tone is too formal", ""),
        ("The answer is wrong", ""),
        ("your list is bad", ""),
        ("the intro is too long", ""),
        ("it is a metal", ""),
        ("I have a cat", ""),
        ("too long", ""),
        ("is copper magnetic?", ""),
    ],
)
def test_facts_are_about_things_not_about_the_answer(remark, fact):
    assert remarks.fact(remark) == fact


def observed(*talk, at=THEN):
    messages = tuple(
        {"role": role, "content": text} for role, text in zip(("user", "assistant") * 9, talk, strict=False)
    )
    user = type("Ana", (), {"id": "ana"})()
    ctx = Context(ScriptedBackend(), lambda: THEN, np.random.default_rng(0))
    return Corrections().observe(Turn(messages, "I see.", at), user, ctx).records


def test_a_correction_is_kept_as_feedback_on_the_question_before():
    (record,) = observed("What is akin to 'a'?", "B.", "No, I meant a synonym.")
    kept = read(record)
    assert (kept.question, kept.answer, kept.feedback.comment) == (
        "What is akin to 'a'?",
        "B.",
        "No, I meant a synonym.",
    )
    assert (record.kind, record.user_id, record.time) == ("preference", "ana", THEN)
    assert observed("What is akin to 'a'?", "B.", "No, I meant a synonym.") == (record,)


def test_a_correction_of_a_correction_is_about_the_first_question():
    (record,) = observed("What is akin to 'a'?", "B.", "No, I meant a synonym.", "C.", "That's not what I meant.")
    kept = read(record)
    assert (kept.question, kept.answer, kept.feedback.comment) == (
        "What is akin to 'a'?",
        "C.",
        "That's not what I meant.",
    )


def test_nothing_is_kept_of_a_first_message_or_a_new_question():
    assert not observed("No, I meant a synonym.")
    assert not observed("What is akin to 'a'?", "B.", "no, thanks")
    assert not observed("What is akin to 'a'?", "B.", "And what is akin to 'b'?")
