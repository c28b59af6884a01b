"""Instructions for texts that answer nothing."""

from __future__ import annotations

import orjson
import pytest

from adaptation.people import START, Person, Trains, context
from helpers import say
from idiolect import registry
from idiolect.adaptation.shared.playback import PLAYBACK, played, read
from idiolect.backends.toy import ScriptedBackend

TEXT = "Dear all, the meeting on Friday is moved to the small room behind the kitchen. Best, Ana"


def mails(n: int):
    return [say("ana", f"{TEXT} {i}", START + i, kind="content") for i in range(n)]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("Instruction: Tell everybody that we meet elsewhere.", ("Tell everybody that we meet elsewhere.", "made")),
        ("\nInstruction: Move the meeting.\nSign as Ana!", ("Move the meeting. Sign as Ana!", "made")),
        ("Tell everybody that we meet elsewhere.", ("", "malformed")),
        ("Sure! Instruction: Tell everybody.", ("", "malformed")),
        ("Instruction: One. Instruction: Two.", ("", "malformed")),
        ("Instruction:", ("", "malformed")),
        ("Instruction: One. Two. Three. Four.", ("", "malformed")),
        ("Instruction: " + "very " * 200, ("", "malformed")),
        ("Instruction: Say THE meeting on Friday is moved to the small room.", ("", "copied")),
        ("Instruction: Say the meeting on Friday is moved to the big room.", ("", "copied")),
        ("Instruction: Say the meeting on Friday is moved.", ("Say the meeting on Friday is moved.", "made")),
    ],
)  # fmt: skip
def test_an_instruction_is_read_or_refused_for_a_reason(answer, found):
    assert read(answer, TEXT) == found


def test_each_text_is_asked_about_once_and_what_was_refused_too():
    answers = ["Instruction: Invite them.", "no", f"Instruction: {TEXT}"]
    ana, model = (
        Person("ana", [*mails(3), say("ana", "red", START + 9, input="which colour")]),
        ScriptedBackend(answers),
    )
    found, artifact = played(ana, ana.history, "lora", context(model))
    assert found.counts == {"made": 1, "malformed": 1, "copied": 1}
    assert [one.input for one in found.over(ana.history)] == ["Invite them.", "", "", "which colour"]
    assert [one.id for one in found.over(ana.history)] == [one.id for one in ana.history]
    assert artifact.kind == PLAYBACK
    assert set(artifact.record_ids) == {record.id for record in ana.history[:3]}
    assert b"Invite" not in artifact.payload
    assert len(model.calls) == 3
    assert all(TEXT in call.messages[0]["content"] for call in model.calls)

    ana.keep([artifact])
    assert played(ana, ana.history, "lora", context(model)) == (found, None)
    ana.history = [*ana.history, say("ana", "Another mail, longer than the others.", START + 20)]
    again, more = played(ana, ana.history, "lora", context(ScriptedBackend(["Instruction: Write."])))
    assert again.counts == {"made": 2, "malformed": 1, "copied": 1}
    assert len(more.record_ids) == 4


def test_the_helper_writes_where_there_is_one():
    ana, helper = Person("ana", mails(1)), ScriptedBackend(["Instruction: Invite them."])
    found, _ = played(ana, ana.history, "lora", context(ScriptedBackend([]), helper=helper))
    assert list(found.instructions.values()) == ["Invite them."]


def test_lora_learns_to_follow_them_and_says_how_many_there_were():
    ana, model = Person("ana", mails(6)), Trains()
    helper = ScriptedBackend(["Instruction: Invite them."] * 5 + ["nothing"])
    method = registry.build(registry.methods.get("lora"), {"context": "none", "playback": True})
    instructions, adapter, _ = made = list(method.fit([ana], context(model, helper=helper)))
    assert [one.kind for one in made] == ["playback", "adapter", "adapter_lesson"]
    asked = [example.call.messages[0]["content"] for example in model.jobs[0].examples]
    assert asked == ["Invite them."] * 5 + ["Write what this person writes next."]
    assert orjson.loads(adapter.payload)["playback"] == {"made": 5, "malformed": 1}
    assert set(instructions.record_ids) == set(adapter.record_ids)

    plain = Trains()
    list(registry.build(registry.methods.get("lora"), {"context": "none"}).fit([ana], context(plain)))
    assert plain.jobs[0].examples[0].call.messages[0]["content"] == "Write what this person writes next."
