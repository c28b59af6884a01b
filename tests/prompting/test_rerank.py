"""Choosing among drafts by what the person's records add to them."""

from __future__ import annotations

import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import Settings
from idiolect.decoding.choosing import generate_chosen
from idiolect.errors import ConfigError, UnsupportedCall
from idiolect.pipeline import Idiolect
from idiolect.types import Call

ASK = Call(({"role": "user", "content": "say goodbye to the guests"},))


def house(path, helper, answers=("one", "cheers all of you", "two words", "three")):
    store = open_store(path, HashEmbedder())
    store.add([say("ana", f"goodbye and cheers {i}", 1e9 + i) for i in range(5)])
    model = ScriptedBackend(list(answers))
    return Idiolect(store, model, Settings(methods=()), clock=lambda: 2e9, backend_name="scripted", helper=helper)


def judge(call, text):
    """With records in the prompt 'cheers' is likelier by 8 nats; everything else loses 1."""
    if "goodbye and cheers" not in str(call.messages):
        return -20.0
    return -12.0 if "cheers" in text else -21.0


def test_the_draft_that_the_records_favour_is_kept(tmp_path):
    helper = ScriptedBackend(scores=judge)
    app = house(tmp_path, helper)
    plan = app.plan(ASK, "ana", methods=["rerank"])
    assert generate_chosen([plan.call], app.backend.generate)[0].text == "cheers all of you"
    assert plan.call.choose.n == 4
    assert len(helper.calls) == 8


def test_the_score_is_the_mean_difference_of_a_token(tmp_path):
    app = house(tmp_path, ScriptedBackend(scores=judge))
    score = app.plan(ASK, "ana", methods=["rerank"]).call.choose.score
    assert score(["cheers all of you", "two words", " "]) == [8.0 / 4, -1.0 / 2, -1e9]


def test_the_records_go_to_the_judge_alone(tmp_path):
    app = house(tmp_path, ScriptedBackend(scores=judge))
    plan = app.plan(ASK, "ana", methods=["rerank"])
    generate_chosen([plan.call], app.backend.generate)
    assert len(app.backend.calls) == 4
    assert not any("cheers" in str(call.messages) for call in app.backend.calls)
    assert plan.call.used
    assert {used.method for used in plan.call.used} == {"rerank"}


def test_after_retrieval_the_drafts_know_the_records_too(tmp_path):
    app = house(tmp_path, ScriptedBackend(scores=judge))
    plan = app.plan(ASK, "ana", methods=["retrieval", "rerank"])
    assert "goodbye and cheers" in str(plan.call.messages)
    assert "goodbye and cheers" in str(plan.call.choose.score.personal.messages)
    assert plan.call.choose.score.bare.messages == ASK.messages
    assert {used.method for used in plan.call.used} == {"retrieval"}  # said once


def test_without_a_helper_the_model_itself_judges(tmp_path):
    app = house(tmp_path, None)
    assert app.plan(ASK, "ana", methods=["rerank"]).call.choose.score.model is app.backend


def test_a_judge_without_log_probabilities_is_refused_early(tmp_path):
    app = house(tmp_path, ScriptedBackend(supports=frozenset()))
    with pytest.raises(UnsupportedCall, match="'rerank' needs 'logprobs'"):
        app.plan(ASK, "ana", methods=["rerank"])


def test_two_methods_that_choose_are_refused(tmp_path):
    app = house(tmp_path, ScriptedBackend(scores=judge))
    with pytest.raises(ConfigError, match="leave one of them out"):
        app.plan(ASK, "ana", methods=["rerank", {"name": "rerank", "n": 2}])
