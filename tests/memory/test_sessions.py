from __future__ import annotations

from dataclasses import replace

import pytest

from helpers import open_store, say
from idiolect.backends.toy import ScriptedBackend, ToyBackend
from idiolect.config import Settings
from idiolect.memory.sessions import Sessions, Summary, extract, read, score
from idiolect.pipeline import Idiolect
from idiolect.store.view import view
from idiolect.types import Call

START = 1_700_000_000.0
DAY = 86400.0


@pytest.fixture
def house(tmp_path):
    now = [START]
    app = Idiolect(open_store(tmp_path), ToyBackend(), Settings(methods=("sessions",)), clock=lambda: now[0])
    app.now = now
    return app


def talk(house, session, at, *texts):
    house.store.add([say("ana", text, at + 60.0 * n, session, kind="dialogue") for n, text in enumerate(texts)])


def summaries(house):
    found = Sessions().current(view(house.store, "ana"))
    return [] if found is None else read(found)


def consolidate(house, at):
    house.now[0] = at
    return house.consolidate(["sessions"], ["ana"])


def test_the_overlap_and_its_decay_by_hand():
    # exp(-0.1) * (1/2 + 1/3) / 2
    assert score(frozenset("ab"), frozenset("bcd"), 1e6, 1e-7) == pytest.approx(0.37702, abs=1e-5)
    assert score(frozenset("ab"), frozenset("cd"), 0.0, 1e-7) == 0.0


def test_a_conversation_is_summarised_once_and_only_after_the_silence(house):
    talk(house, "one", START, "We went to the lighthouse on Hiddensee.", "The lighthouse was closed.")
    last = START + 60.0
    assert consolidate(house, last + 3599) == 0
    assert consolidate(house, last + 3601) == 1
    assert [s.text for s in summaries(house)] == ["We went to the lighthouse on Hiddensee. The lighthouse was closed."]
    assert consolidate(house, last + 9999) == 0
    assert len(summaries(house)) == 1


def test_a_summary_names_its_records_and_goes_with_them(house):
    talk(house, "one", START, "My loom arrived today.", "The loom is huge.")
    consolidate(house, START + DAY)
    ids = summaries(house)[0].record_ids
    assert [house.store.find("ana", rid).output for rid in ids] == ["My loom arrived today.", "The loom is huge."]
    house.store.delete("ana", [ids[0]])
    assert summaries(house) == []


def test_only_what_shares_words_is_offered_the_newest_first(house):
    talk(house, "one", START, "The loom needs oil.")
    talk(house, "two", START + 100 * DAY, "The loom runs well.")
    talk(house, "three", START + 101 * DAY, "Which ferry goes to Juist?")
    consolidate(house, START + 102 * DAY)

    def told(question):
        return [u.text for u in house.plan(Call(({"role": "user", "content": question},)), "ana").call.used]

    assert told("And the loom?") == ["The loom needs oil.", "The loom runs well."]  # in order of time
    planned = house.plan(
        Call(({"role": "user", "content": "And the loom?"},)), "ana", methods=[{"name": "sessions", "k": 1}]
    )
    assert [u.text for u in planned.call.used] == ["The loom runs well."]
    assert told("Who won the match?") == []


def test_old_conversations_fold_into_months_and_years_and_the_size_stays(house):
    for n in range(400):
        talk(house, f"s{n}", START + n * 7 * DAY, f"Visit number {n} to the sculpture park with Ottilie.")
        if n % 50 == 49:
            consolidate(house, START + n * 7 * DAY + DAY)
    found = summaries(house)
    assert [s.span for s in found].count("session") == 64
    assert {s.span for s in found} == {"session", "month", "year"}
    assert len(found) < 64 + 48 + 10
    assert all(s.record_ids for s in found)
    assert [s.end for s in found] == sorted(s.end for s in found)


def test_folding_loses_no_conversation_that_was_not_yet_over(house):
    talk(house, "one", START, "The kiln is at a thousand degrees.")
    talk(house, "two", START + 3 * 3600, "Still glazing the bowls here.")
    consolidate(house, START + 3 * 3600 + 60)
    assert [s.text for s in summaries(house)] == ["The kiln is at a thousand degrees."]
    talk(house, "two", START + 3 * 3600 + 600, "The bowls are done now.")
    consolidate(house, START + DAY)
    assert [s.text for s in summaries(house)][1:] == ["Still glazing the bowls here. The bowls are done now."]


def test_a_models_summary_is_used_and_an_unusable_one_counted(house):
    answers = iter(["Ana talked about her loom and its oil.", "?"])
    house.backend = ScriptedBackend(lambda call: next(answers))
    talk(house, "one", START, "The loom needs oil.")
    talk(house, "two", START + DAY, "The ferry was late again.")
    house.now[0] = START + 3 * DAY
    seen = view(house.store, "ana")
    artifact = next(Sessions(write="model").fit([seen], replace(house.context(), model=house.backend)))
    assert [s.text for s in read(artifact)] == ["Ana talked about her loom and its oil.", "The ferry was late again."]
    assert b'"malformed":1' in artifact.payload


def test_extracts_keep_the_order_and_the_length():
    text = extract(["The bees swarmed. I was late.", "The bees are back in the hive."], 10)
    assert text == "The bees swarmed. The bees are back in the hive."
    assert extract(["ok"], 10) == "ok"


def test_summaries_read_back_as_they_were(house):
    talk(house, "one", START, "The loom needs oil.")
    consolidate(house, START + DAY)
    assert summaries(house) == [
        Summary("session", START, START, "The loom needs oil.", (house.store.page("ana")[0][0].id,))
    ]
