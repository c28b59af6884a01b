"""Cue-CoT: a status read first, and kept nowhere."""

from __future__ import annotations

import orjson

from helpers import open_store, say
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import Settings
from idiolect.pipeline import Idiolect
from idiolect.tracing import PASSED
from idiolect.types import text_of

STATUS = "Probably anxious and worn out, perhaps lonely; not sure."


def build(folder, backend, records=None):
    store = open_store(folder)
    if records is None:
        records = [say("ana", f"I could not sleep, night {i}", 1e9 + i * 86400) for i in range(7)]
    store.add(records)
    return Idiolect(store, backend, Settings(methods=(), remember=False), clock=lambda: 2e9)


def test_two_calls_and_the_second_holds_the_first_ones_text_marked_as_tentative(tmp_path):
    backend = ScriptedBackend([STATUS, "Try a walk."])
    app = build(tmp_path, backend)
    assert app.ask("what shall I do tonight?", "ana", methods=["cue"]).text == "Try a walk."
    first, second = ("\n".join(text_of(m) for m in call.messages) for call in backend.calls)
    assert "what shall I do tonight?" in first
    assert "night 6" in first
    assert "night 1" not in first  # the latest five
    assert STATUS in second
    assert "tentative" in second
    assert "night 6" in second


def test_the_status_is_kept_nowhere(tmp_path):
    app = build(tmp_path, ScriptedBackend([STATUS, "Try a walk."]))
    answer = app.ask("what shall I do tonight?", "ana", methods=["cue"])
    assert any(u.ephemeral and u.text == STATUS for u in answer.used)
    trace = app.trace(answer.trace_id)
    assert STATUS not in orjson.dumps(trace).decode()
    assert [u["text"] for u in trace["used"] if u["slot"] == "cue"] == [PASSED]
    assert PASSED in str(trace["messages"])
    assert "night 6" in str(trace["messages"])  # the person's own record stays
    assert app.store.artifacts("ana") == []
    assert len(list(app.store.all_records("ana"))) == 7


def test_one_call_asks_the_answering_model_to_consider_it(tmp_path):
    backend = ScriptedBackend(["Try a walk."])
    app = build(tmp_path, backend)
    answer = app.ask("what shall I do tonight?", "ana", methods=[{"name": "cue", "variant": "one_call"}])
    assert len(backend.calls) == 1
    prompt = "\n".join(text_of(m) for m in backend.calls[0].messages)
    assert "Before you answer, consider in silence" in prompt
    assert "night 6" in prompt
    assert not any(u.ephemeral for u in answer.used)


def test_an_empty_reading_leaves_the_records_and_is_counted(tmp_path):
    app = build(tmp_path, ScriptedBackend([" ...\n", "ok"]))
    used = app.ask("hello", "ana", methods=["cue"]).used
    assert {u.slot for u in used} == {"cue_records"}
    assert all(u.parts == {"no_reading": 1.0} for u in used)


def test_without_texts_of_their_own_nobody_is_read(tmp_path):
    backend = ScriptedBackend(["ok"])
    app = build(tmp_path, backend, [say("ana", "4", 1e9, kind="interaction")])
    assert app.ask("hello", "ana", methods=["cue"]).used == ()
    assert len(backend.calls) == 1


def test_a_helper_reads_in_place_of_the_model(tmp_path):
    backend, helper = ScriptedBackend(["Try a walk."]), ScriptedBackend([STATUS])
    app = build(tmp_path, backend)
    app.helper = helper
    app.ask("hello", "ana", methods=["cue"])
    assert (len(backend.calls), len(helper.calls)) == (1, 1)
    assert STATUS in str(backend.calls[0].messages)
