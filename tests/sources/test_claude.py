from __future__ import annotations

import json
import zipfile

import pytest


def message(name, sender, text, second, parent=None, **more):
    content = [{"type": "text", "text": text}] if text else []
    row = {
        "uuid": name,
        "sender": sender,
        "text": text,
        "content": content,
        "created_at": f"2025-01-01T12:00:{second:02d}.5Z",
    }
    return row | ({"parent_message_uuid": parent} if parent else {}) | more


TALK = {
    "uuid": "c1",
    "name": "Rivers",
    "created_at": "2025-01-01T11:00:00Z",
    "chat_messages": [
        message("1", "human", "Which rivers?", 1),
        message(
            "2",
            "assistant",
            "The Rhine.",
            2,
            content=[{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "The Rhine."}],
        ),
        message("3", "human", "", 3, attachments=[{"file_name": "a.txt", "extracted_content": "pasted"}]),
        message(
            "4", "human", "And \U0001f600?", 4, content=[{"type": "text", "text": "And \U0001f600?"}, {"type": "image"}]
        ),
        message("5", "robot", "?", 5),
        "broken",
    ],
}
MEMORY = {"conversations_memory": "Anna likes rivers.", "project_memories": {"p1": "A book."}, "account_uuid": "x"}
PROJECT = {
    "uuid": "p1",
    "name": "Book",
    "prompt_template": "Write in verse.",
    "created_at": "2025-01-01T00:00:00Z",
    "docs": [{}, {}],
}


@pytest.fixture
def export(tmp_path):
    path = tmp_path / "claude.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("conversations.json", json.dumps([TALK, 7, {"uuid": "?"}]))
        file.writestr("memories.json", json.dumps([MEMORY]))
        file.writestr("projects/p1.json", json.dumps(PROJECT))
        file.writestr("users.json", json.dumps([{"uuid": "x", "full_name": "Anna"}]))
    return path


def test_turns_memories_and_project_instructions(export, read):
    records, skipped = read(export, "anna", "claude")
    turns = [record for record in records if record.kind == "dialogue"]
    assert [(turn.input, turn.output, turn.time) for turn in turns] == [
        ("", "Which rivers?", 1735732801.5),
        ("", "And \U0001f600?", 1735732804.5),
    ]
    assert turns[0].meta == {"session": "c1", "title": "Rivers"}
    assert [(record.output, record.time) for record in records if record.kind == "profile"] == [
        ("Anna likes rivers.", 0.0),
        ("A book.", 0.0),
        ("Write in verse.", 1735689600.0),
    ]
    reasons = [item.reason for item in skipped if item.file == "claude.zip:conversations.json"]
    assert reasons == [
        "conversation c1: 1 x block of type image",
        "conversation c1: 1 x entry of attachments",
        "conversation c1: 1 x message of sender 'robot'",
        "conversation c1: 1 x message that cannot be read",
        "conversation c1: 1 x turn of the user without text",
        "item 1: neither conversation, memory nor project",
        "item 2: neither conversation, memory nor project",
    ]
    assert "2 documents" in next(item.reason for item in skipped if item.file.endswith("p1.json"))
    assert "users.json" in skipped[-1].reason


def test_the_answer_before_a_turn_is_its_input(tmp_path, read):
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([{**TALK, "chat_messages": [*TALK["chat_messages"][:2], TALK["chat_messages"][3]]}]))
    assert [record.input for record in read(path, "anna", "claude")[0]] == ["", "The Rhine."]


def test_of_edited_turns_the_shown_branch_counts(tmp_path, read):
    messages = [
        message("1", "human", "Draft", 1, "0"),
        message("2", "assistant", "No", 2, "1"),
        message("3", "human", "Better", 3, "0"),
        message("4", "assistant", "Yes", 4, "3"),
    ]
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([{"uuid": "c", "chat_messages": messages}]))
    records, skipped = read(path, "anna", "claude")
    assert [record.output for record in records] == ["Better"]
    assert "branch that was left" in skipped[0].reason


def test_a_memory_file_alone(tmp_path, read):
    (tmp_path / "memories.json").write_text(json.dumps([MEMORY]))
    assert len(read(tmp_path / "memories.json", "anna", "claude")[0]) == 2
