from __future__ import annotations

import json
import zipfile

import pytest

from idiolect import sources


def node(name, parent, role, parts, time=None, content_type="text", **more):
    content = (
        {"content_type": content_type, "parts": parts}
        if content_type != "code"
        else {"content_type": "code", "text": "x"}
    )
    message = {"id": f"m-{name}", "author": {"role": role}, "create_time": time, "content": content, "metadata": {}}
    return name, {"id": name, "parent": parent, "children": [], "message": {**message, **more}}


def conversation(**more):
    context = {
        "content_type": "user_editable_context",
        "user_profile": "The user told about themselves:\n```I am a nurse.```",
        "user_instructions": "How to answer:\n```Be brief.```",
    }
    image = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}
    nodes = [
        ("root", {"id": "root", "parent": None, "message": None, "children": ["sys"]}),
        node("sys", "root", "user", [], content=context, metadata={"is_visually_hidden_from_conversation": True}),
        node("u1", "sys", "user", ["Old question"], 10.0),
        node("a1", "u1", "assistant", ["Old answer"], 11.0),
        node("u2", "sys", "user", ["First question"], 20.0),
        node("t2", "u2", "assistant", ["search('x')"], 20.5, recipient="browser"),
        node("r2", "t2", "tool", ["a page"], 20.6),
        node("a2", "r2", "assistant", ["Answer one."], 21.0),
        node("b2", "a2", "assistant", ["More of it."], 22.0),
        node(
            "u3",
            "b2",
            "user",
            [image, "And \U0001f600\n\nthis?", {"content_type": "audio_transcription", "text": "spoken"}],
            30.5,
            "multimodal_text",
        ),
        node("a3", "u3", "assistant", [], 31.0, "code"),
        node("u4", "a3", "user", [image], 40.0, "multimodal_text"),
        node("u5", "u4", "user", ["Last"]),
    ]
    return {
        "title": "Talk",
        "create_time": 5.0,
        "conversation_id": "c1",
        "current_node": "u5",
        "mapping": dict(nodes),
        **more,
    }


@pytest.fixture
def export(tmp_path):
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("conversations.json", json.dumps([conversation(), "nonsense", {"title": "no tree"}]))
        file.writestr("user.json", json.dumps({"id": "user-1", "email": "anna@example.org"}))
        file.writestr("shared_conversations.json", "[]")
        file.writestr("chat.html", "<html>")
    return path


def test_the_shown_branch_becomes_one_record_a_turn(export, read):
    records, skipped = read(export, "anna", "chatgpt")
    turns = [record for record in records if record.kind == "dialogue"]
    assert [(turn.input, turn.output, turn.time) for turn in turns] == [
        ("", "First question", 20.0),
        ("Answer one.\n\nMore of it.", "And \U0001f600\n\nthis?\nspoken", 30.5),
        ("", "Last", 40.0),
    ]
    assert all(turn.user_id == "anna" and turn.source == "chatgpt" for turn in turns)
    assert turns[0].meta == {"session": "c1", "title": "Talk"}
    reasons = {(item.file, item.reason) for item in skipped}
    assert ("export.zip:conversations.json", "item 1: not a conversation (no message tree)") in reasons
    assert ("export.zip:conversations.json", "item 2: not a conversation (no message tree)") in reasons
    for reason in (
        "2 x part of type image_asset_pointer",
        "1 x turn of the user without text",
        "1 x turn of the user on a branch that was left (edited or asked again)",
    ):
        assert ("export.zip:conversations.json", f"conversation c1: {reason}") in reasons
    (note,) = (item for item in skipped if item.is_note)
    assert "chat.html, shared_conversations.json, user.json" in note.reason
    assert len(skipped) == 6


def test_custom_instructions_become_profile_records_once(tmp_path, read):
    path = tmp_path / "conversations.json"
    older, newer = conversation(conversation_id="c0"), conversation(conversation_id="c9", create_time=9.0)
    for talk in (older, newer):
        for entry in talk["mapping"].values():
            if entry["message"]:
                entry["message"]["id"] += talk["conversation_id"]
    path.write_text(json.dumps([newer, older]))
    profile = [record for record in read(path, "anna", "chatgpt")[0] if record.kind == "profile"]
    assert {(record.output, record.meta["topic"]) for record in profile} == {
        ("I am a nurse.", "about"),
        ("Be brief.", "style"),
    }
    path.write_text(json.dumps([older]))
    assert [record for record in read(path, "anna", "chatgpt")[0] if record.kind == "profile"] == profile


def test_older_instructions_and_a_missing_current_node(tmp_path, read):
    talk = conversation(current_node=None)
    context = {"about_user_message": "I sail.", "about_model_message": ""}
    name, entry = node(
        "sys", "root", "system", [""], metadata={"is_user_system_message": True, "user_context_message_data": context}
    )
    talk["mapping"][name] = entry
    talk["mapping"]["u5"]["parent"] = "u5"
    (tmp_path / "conversations.json").write_text(json.dumps([talk]))
    records, skipped = read(tmp_path / "conversations.json", "anna", "chatgpt")
    assert records[-1].output == "I sail."
    assert [record.output for record in records if record.kind == "dialogue"] == [
        "First question",
        "And \U0001f600\n\nthis?\nspoken",
    ]
    assert any("turn of the user on a branch" in item.reason for item in skipped)


def test_a_folder_and_bytes_that_are_not_utf8(tmp_path, read):
    folder = tmp_path / "unpacked"
    folder.mkdir()
    good = json.dumps(conversation(), ensure_ascii=False).encode()
    bad = good.replace(b"First", b"F\xffrst")
    (folder / "conversations-000.json").write_bytes(b"\xef\xbb\xbf[" + bad + b"," + good + b"]")
    records, skipped = read(folder, "anna", "chatgpt")
    assert len(records) == 5
    offset = 4 + bad.index(b"\xff")
    assert skipped[0] == sources.Skipped(
        "unpacked/conversations-000.json", None, f"item 0: not UTF-8: byte 0xff at offset {offset}"
    )


def test_an_export_that_was_cut_short(tmp_path, read):
    (tmp_path / "conversations.json").write_text(json.dumps([conversation(), conversation()])[:-40])
    records, skipped = read(tmp_path / "conversations.json", "anna", "chatgpt")
    assert len(records) == 5
    assert "item 1: not JSON" in skipped[-1].reason
