from __future__ import annotations

import orjson
import pytest

from helpers import open_store, say
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import Settings
from idiolect.errors import UnsupportedCall
from idiolect.memory.critique import capped, sentences
from idiolect.memory.feedback import Feedback, record_of
from idiolect.memory.wanted import material
from idiolect.pipeline import Idiolect
from idiolect.store.view import view
from idiolect.types import Call, text_of

START = 1.6e9
QUESTION = Call(({"role": "user", "content": "what about tea?"},))
GOOD, BAD = "Answer in one short line.", "Answer with many long words."
SMALL = {"name": "instruction", "rounds": 1, "turns": 3, "held": 3}


def edit(i, **more):
    said = Feedback(**(more or {"edit": f"short{i}."}))
    return record_of("ana", f"case {i}?", f"A long answer {i}.", said, time=START + i, trace=f"t{i}")


def body(call):
    return "\n".join(text_of(message) for message in call.messages)


def score(call, text):
    """The better the shorter the instruction in the prompt asks the answer to be."""
    prompt = body(call)
    return -1.0 if GOOD in prompt else -9.0 if BAD in prompt else -5.0


class Critic:
    """Writes the next of some texts when it is asked to; keeps what it was shown."""

    def __init__(self, *texts, said="It never asks for brevity."):
        self.texts, self.said, self.prompts = list(texts), said, []

    def __call__(self, call):
        prompt = body(call)
        if "Compare each answer with" in prompt:
            self.prompts.append(prompt)
            return self.said
        if "What should the instruction say" in prompt:
            self.prompts.append(prompt)
            return self.texts.pop(0)
        return "A long answer."


def build(tmp_path, critic, records, **more):
    store = open_store(tmp_path)
    store.add(records)
    backend = ScriptedBackend(critic, **{"scores": score, **more})
    return Idiolect(store, backend, Settings(methods=()), clock=lambda: 2e9)


def learnt(app):
    artifact = app.store.artifacts("ana")[0]
    return artifact, orjson.loads(artifact.payload)


def shown(app, **more):
    call = app.plan(QUESTION, "ana", methods=[{**SMALL, **more}]).call
    return [used.text for used in call.used] if call != QUESTION else call


EDITS = [edit(i) for i in range(12)]


def test_a_version_that_serves_later_turns_better_is_accepted_and_shown(tmp_path):
    app = build(tmp_path, Critic(GOOD), EDITS)
    assert app.fit(SMALL, ["ana"]) == 1
    artifact, state = learnt(app)
    (version,) = state["versions"]
    assert (version["number"], version["text"], state["shown"], state["refused"]) == (1, GOOD, 1, [])
    # "short9." has 7 bytes, "short10." and "short11." 8: mean of -1/7, -1/8, -1/8 against -5 over the same
    assert version["scores"]["new"] == pytest.approx(-(1 / 7 + 2 / 8) / 3)
    assert version["scores"]["none"] == pytest.approx(-5 * (1 / 7 + 2 / 8) / 3)
    assert artifact.scores == version["scores"]
    assert shown(app) == [GOOD]
    assert "How to answer this person:" in body(app.plan(QUESTION, "ana", methods=[SMALL]).call)
    # bare on 3 held out; two texts, the first one empty, on 3 learnt from; the new one on 3 held out
    assert state["calls"] == {"scored": 3 + 2 * 3 + 3, "answered": 3, "written": 2}


@pytest.mark.parametrize("worse", [BAD, "Answer as ever, dear friend."])
def test_a_version_that_does_not_do_better_is_refused_and_never_shown(tmp_path, worse):
    records = [say("ana", f"old note {i}", START - 100 + i, kind="content") for i in range(3)]
    critic = Critic(GOOD, worse)
    app = build(tmp_path, critic, [*records, *EDITS])
    app.fit(SMALL, ["ana"])
    app.store.add([edit(i) for i in range(12, 24)])
    # it looks well where it was learnt, and only there
    app.backend._scores = lambda call, text: 0.0 if worse in body(call) and text < "short21." else score(call, text)
    app.fit(SMALL, ["ana"])
    _, state = learnt(app)
    (refused,) = state["refused"]
    assert refused["text"] == worse
    assert refused["scores"]["new"] <= refused["scores"]["current"]
    assert (state["shown"], [one["text"] for one in state["versions"]]) == (1, [GOOD])
    assert shown(app) == [GOOD]


def test_without_an_accepted_version_the_call_comes_back(tmp_path):
    app = build(tmp_path, Critic(BAD), EDITS, scores=lambda call, text: -9.0 if BAD in body(call) else -5.0)
    app.fit(SMALL, ["ana"])
    _, state = learnt(app)
    assert (state["shown"], state["versions"]) == (0, [])
    assert shown(app) == QUESTION


def test_versions_are_kept_and_one_can_go_back(tmp_path):
    better = "Answer in one short line. Leave out the full stop."
    app = build(tmp_path, Critic(GOOD, better), EDITS)
    app.fit(SMALL, ["ana"])
    app.store.add([edit(i) for i in range(12, 24)])
    app.backend._scores = lambda call, text: -0.5 if "Leave out" in body(call) else score(call, text)
    app.fit(SMALL, ["ana"])
    artifact, state = learnt(app)
    assert [(one["number"], one["text"].replace("\n", " ")) for one in state["versions"]] == [(1, GOOD), (2, better)]
    assert state["versions"][1]["scores"].keys() == {"none", "current", "new"}
    assert shown(app) == better.replace(". ", ".\n").splitlines()
    assert shown(app, version=1) == [GOOD]
    assert shown(app, version=7) == QUESTION
    # what the first version was written from, the second rests on too: with it both go
    first = state["versions"][0]["record_ids"]
    assert set(first) < set(state["versions"][1]["record_ids"]) < set(artifact.record_ids)
    app.store.delete("ana", first[:1])
    assert app.store.artifacts("ana") == []
    assert shown(app) == QUESTION


def test_going_back_by_deletion_of_what_came_later(tmp_path):
    app = build(tmp_path, Critic(GOOD, "Answer in rhyme alone."), EDITS)
    app.fit(SMALL, ["ana"])
    later = [edit(i) for i in range(12, 24)]
    app.store.add(later)
    app.backend._scores = lambda call, text: -0.5 if "rhyme" in body(call) else score(call, text)
    app.fit(SMALL, ["ana"])
    assert shown(app) == ["Answer in rhyme alone."]
    app.store.delete("ana", [later[-1].id])
    assert shown(app) == [GOOD]


def test_what_no_longer_serves_is_withdrawn(tmp_path):
    app = build(tmp_path, Critic(GOOD, GOOD), EDITS)
    app.fit(SMALL, ["ana"])
    app.store.add([edit(i) for i in range(12, 24)])
    app.backend._scores = lambda call, text: -9.0 if GOOD in body(call) else -5.0
    app.fit(SMALL, ["ana"])
    _, state = learnt(app)
    assert (state["shown"], len(state["versions"])) == (0, 1)
    assert shown(app) == QUESTION


def test_nothing_held_out_is_ever_shown_to_the_writer_or_answered(tmp_path):
    critic = Critic(GOOD, "Answer briefly and kindly.", "Answer in a word or two.")
    records = [say("ana", f"note {i} on tea", START - 50 + i, kind="content", input=f"topic {i}?") for i in range(9)]
    app = build(tmp_path, critic, [*records, *EDITS])
    app.fit({**SMALL, "rounds": 3}, ["ana"])
    _, state = learnt(app)
    held = [r for r in EDITS if r.id in state["held"]]
    assert held == EDITS[-3:]
    assert len(critic.prompts) == 6
    assert not any(r.input in prompt or r.output in prompt for prompt in critic.prompts for r in held)
    assert all(EDITS[at].output in critic.prompts[0] for at in (6, 7, 8))
    answered = app.backend.calls[3:]  # the first three score the bare questions held out
    until = next(at for at, call in enumerate(answered) if not call.sampling.max_tokens)
    assert not any(r.input in body(call) for call in answered[:until] for r in held)


def test_what_the_text_shown_was_written_from_does_not_judge_it(tmp_path):
    """Edits that a text was written from while records judged do not judge it once edits do."""
    notes = [say("ana", f"note {i}", START + 50 + i, kind="content", input=f"topic {i}?") for i in range(12)]
    app = build(tmp_path, Critic(GOOD, "Answer briefly and kindly."), [*EDITS[:8], *notes])
    app.fit({**SMALL, "turns": 8}, ["ana"])
    written_from = {r.id for r in EDITS[:8]}
    assert written_from <= set(learnt(app)[1]["versions"][0]["record_ids"])
    app.store.add([edit(70)])
    assert app.fit({**SMALL, "turns": 8}, ["ana"]) == 0  # of the last three edits one is new


def test_the_text_that_serves_best_where_it_was_learnt_goes_to_the_gate(tmp_path):
    app = build(tmp_path, Critic(GOOD, BAD, "Answer as you like."), EDITS)
    app.fit({**SMALL, "rounds": 3}, ["ana"])
    _, state = learnt(app)
    assert state["tried"] == ["", GOOD, BAD, "Answer as you like."]
    assert [max(state["learnt"]) == value for value in state["learnt"]] == [False, True, False, False]
    assert [one["text"] for one in state["versions"]] == [GOOD]


def test_a_long_text_is_cut_after_a_sentence(tmp_path):
    long = f"{GOOD} " + "Then say that again in other words. " * 2 + "And so on for a very long while indeed."
    app = build(tmp_path, Critic(long), EDITS)
    app.fit({**SMALL, "words": 12}, ["ana"])
    _, state = learnt(app)
    assert state["versions"][0]["text"].splitlines() == [GOOD, "Then say that again in other words."]
    assert state["cut"] == 1
    assert capped(["one two three four five", "six"], 3) == "one two three"
    assert capped(["a b", ""], 5) == ""


ECHO = "Keep what is right in it. At most 80 words, one short plain rule a line."


@pytest.mark.parametrize(
    ("critic", "calls"), [(Critic("   \n--"), 2), (Critic(ECHO), 2), (Critic(GOOD, said=" ?! "), 1)]
)
def test_an_empty_answer_is_counted_and_ends_the_search(tmp_path, critic, calls):
    app = build(tmp_path, critic, EDITS)
    app.fit({**SMALL, "rounds": 3}, ["ana"])
    _, state = learnt(app)
    assert (state["malformed"], state["versions"], state["calls"]["written"]) == (1, [], calls)


def test_an_answer_is_read_without_what_announces_it():
    answer = 'Here is the new text:\n\n**Instruction:** "Be brief. Use no lists!"\n- Name a price.'
    assert sentences(answer) == ["Be brief.", "Use no lists!", "Name a price."]


def test_feedback_comes_before_replays_and_replays_fill_up(tmp_path):
    notes = [say("ana", f"note {i}", START + 0.5 + i, kind="content", input=f"topic {i}?") for i in range(12)]
    comment = edit(5, comment="Too long!")
    store = open_store(tmp_path)
    store.add([*notes, comment])
    found = material(view(store, "ana"), None, 3, 3, 3)
    assert [case.record.input for case in found.held] == ["topic 9?", "topic 10?", "topic 11?"]
    assert [case.record.input for case in found.learn] == ["case 5?", "topic 7?", "topic 8?"]
    assert [case.gold for case in found.learn] == ["", "note 7", "note 8"]
    store.add([edit(20 + i, **said) for i, said in enumerate([
        {"edit": "e0"}, {"rating": 1.0}, {"edit": "e2"}, {"rating": -1.0}, {"drafts": ("a", "b"), "chosen": 1},
        {"edit": "e5"}, {"edit": "e6"}, {"edit": "e7"}, {"edit": "e8"}, {"edit": "e9"}])])  # fmt: skip
    found = material(view(store, "ana"), None, 6, 6, 3)
    assert [case.gold for case in found.held] == ["e7", "e8", "e9"]
    assert [case.gold for case in found.learn] == ["A long answer 21.", "e2", "", "b", "e5", "e6"]
    assert {r.kind for r in found.rest} == {"content"}


def test_a_comment_begins_the_instruction_and_is_never_taken_for_an_answer(tmp_path):
    notes = [say("ana", f"note {i}", START + 0.5 + i, kind="content", input=f"topic {i}?") for i in range(12)]
    critic = Critic(GOOD)
    app = build(tmp_path, critic, [*notes, edit(3, comment="Too long!"), edit(30, comment="Still too long!")])
    app.fit(SMALL, ["ana"])
    _, state = learnt(app)
    assert state["tried"][0].startswith('Said of an answer: "Too long!"')
    assert "The person said of it: Too long!" in critic.prompts[0]
    assert "Still too long!" not in critic.prompts[0]
    assert len(state["held"]) == 3
    assert not any("The person wanted: Too long!" in prompt for prompt in critic.prompts)


def test_it_is_stale_at_first_and_once_enough_has_come(tmp_path):
    from idiolect.registry import make_method

    app = build(tmp_path, Critic(GOOD, "Answer briefly and kindly."), EDITS[:8])
    method = make_method(SMALL)[1]
    assert not method.stale(view(app.store, "ana"))
    assert not method.stale(view(app.store, "nobody"))
    app.store.add(EDITS[8:])
    assert method.stale(view(app.store, "ana"))
    assert app.consolidate([SMALL], ["ana"]) == 1
    assert not method.stale(view(app.store, "ana"))
    assert app.fit(SMALL, ["ana"]) == 0  # the very same records: no call is made
    app.store.add([edit(i) for i in range(12, 31)])
    assert not method.stale(view(app.store, "ana"))
    app.store.add([edit(31)])
    assert method.stale(view(app.store, "ana"))
    assert app.consolidate([SMALL], ["ana"]) == 1


class Silent(ScriptedBackend):
    """Says that it gives log probabilities, and then does not."""

    def logprobs(self, calls, continuations):
        raise UnsupportedCall("logprobs", "silent", "logprobs", [])


@pytest.mark.parametrize("kind", [ScriptedBackend, Silent])
def test_without_log_probabilities_words_of_answers_are_compared(tmp_path, kind):
    critic = Critic(GOOD, GOOD)

    def answers(call):
        return f"short{body(call).rsplit(' ', 1)[-1][:-1]}." if GOOD in body(call) and "What should the" not in body(
            call) and "Compare each" not in body(call) else critic(call)  # fmt: skip

    app = build(tmp_path, critic, EDITS)
    app.backend = kind(answers, supports=frozenset() if kind is ScriptedBackend else None)
    app.fit(SMALL, ["ana"])
    _, state = learnt(app)
    assert state["measure"] == "text"
    assert state["versions"][0]["scores"] == {"none": 0.0, "new": 1.0}


def test_another_model_shows_nothing_of_it(tmp_path):
    app = build(tmp_path, Critic(GOOD), EDITS)
    app.fit(SMALL, ["ana"])
    app.backend.fingerprint = "another"
    assert shown(app) == QUESTION
