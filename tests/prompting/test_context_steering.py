"""The dial of personal context: its ends, its neutral point, and finding where a text stands on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.backends._generation import log_softmax
from idiolect.backends.toy import ToyBackend
from idiolect.config import Settings
from idiolect.errors import ConfigError
from idiolect.pipeline import Idiolect
from idiolect.prompting.shared.contrast import log_likelihoods, posterior, steered
from idiolect.prompting.shared.replay import Replay
from idiolect.types import Branch, Call, Record, Sampling

ASK = Call(({"role": "user", "content": "how do you end a letter"},))
GRID = (-1.0, 0.0, 1.0, 2.0, 3.0)
PERSONAL = replace(ASK, messages=({"role": "user", "content": "cheerio and toodle-pip, cheerio\nhow do you end it"},))


def next_logits(call, answer=b""):
    return log_softmax(ToyBackend().logits(call, answer))


def record(text, time=1e9):
    return Record.new("ana", text, time=time, input="how do you end a letter")


@pytest.mark.parametrize("answer", [b"", b"ch", b"too"])
def test_the_ends_and_the_neutral_point_are_exact(answer):
    for plausibility in (0.0, 0.1):
        np.testing.assert_array_equal(
            next_logits(steered(PERSONAL, ASK.messages, 0.0, plausibility), answer), next_logits(PERSONAL, answer)
        )
        np.testing.assert_array_equal(
            next_logits(steered(PERSONAL, ASK.messages, -1.0, plausibility), answer), next_logits(ASK, answer)
        )


@pytest.mark.parametrize("strength", [-0.5, 0.5, 2.0, 3.0])
def test_a_context_that_adds_nothing_changes_nothing(strength):
    np.testing.assert_allclose(next_logits(steered(ASK, ASK.messages, strength)), next_logits(ASK), atol=1e-5)


def test_strength_multiplies_the_difference():
    with_context, without = next_logits(PERSONAL).astype(np.float64), next_logits(ASK).astype(np.float64)
    expected = with_context + 2.0 * (with_context - without)
    got = next_logits(steered(PERSONAL, ASK.messages, 2.0))
    np.testing.assert_allclose(got, expected - np.logaddexp.reduce(expected), atol=1e-4)


def test_only_what_goes_beyond_the_context_is_held_to_plausibility():
    assert steered(PERSONAL, ASK.messages, 1.0, 0.1).plausibility == 0.1
    assert steered(PERSONAL, ASK.messages, -0.5, 0.1).plausibility == 0.0


@pytest.mark.parametrize("true", GRID)
def test_the_posterior_of_texts_drawn_at_a_strength_peaks_there(true, tmp_path):
    app = house(tmp_path)
    source = steered(PERSONAL, ASK.messages, true)
    drawn = [replace(source, sampling=Sampling(temperature=1.0, max_tokens=24, seed=seed)) for seed in range(30)]
    texts = [made.text for made in app.backend.generate(drawn)]
    asked = [(PERSONAL, Replay(record(text), ASK, text)) for text in texts]
    probable = posterior(log_likelihoods(app.context(), asked, GRID))
    assert probable.sum() == pytest.approx(1.0)
    assert GRID[int(probable.argmax())] == true


def house(path, records=()):
    store = open_store(path, HashEmbedder())
    store.add(records)
    return Idiolect(store, ToyBackend(), Settings(methods=()), clock=lambda: 2e9, backend_name="toy")


def wrote(user, n=12):
    return [say(user, f"toodle-pip and cheerio to number {i}", 1e9 + i, kind="content") for i in range(n)]


def method(**settings):
    return {"name": "context_steering", **settings}


def test_the_call_has_the_context_in_one_branch_only(tmp_path):
    app = house(tmp_path, wrote("ana"))
    call = app.plan(ASK, "ana", methods=[method(strength=2.0, infer=False)]).call
    assert call.mix == (Branch(None, 3.0), Branch(ASK.messages, -2.0))
    assert call.plausibility == 0.1
    assert "toodle-pip" in str(call.messages)
    assert "toodle-pip" not in str(call.mix)


def test_at_minus_one_nothing_is_looked_up_and_at_zero_nothing_is_mixed(tmp_path):
    app = house(tmp_path, wrote("ana"))
    assert app.plan(ASK, "ana", methods=[method(strength=-1, infer=False)]).call is ASK
    plain = app.plan(ASK, "ana", methods=[method(strength=0, infer=False)]).call
    assert plain.mix == ()
    assert plain.used


def test_the_strength_is_learnt_from_the_persons_own_texts(tmp_path):
    app = house(tmp_path)
    settings = Sampling(temperature=1.0, max_tokens=30)
    app.store.add(wrote("ana", 16))
    for n in range(8):  # what the person goes on to write comes from the model at strength 2
        now = 1e9 + 100 + n
        ask = Call(
            ({"role": "user", "content": "Write what this person writes next."},), sampling=replace(settings, seed=n)
        )
        plan = app.plan(ask, "ana", methods=[method(strength=2, infer=False, plausibility=0.0)], now=1e9 + 50)
        app.store.add([say("ana", app.backend.generate([plan.call])[0].text, now, kind="content")])
    assert app.fit("context_steering", ["ana"]) == 1
    artifact = app.store.artifacts("ana")[0]
    learnt = orjson.loads(artifact.payload)
    assert learnt["strength"] == 2.0
    assert sum(learnt["posterior"]) == pytest.approx(1.0)
    assert artifact.time == 1e9 + 107
    used = app.plan(ASK, "ana", methods=["context_steering"]).call
    assert used.mix[0].weight == 3.0
    assert artifact.id in {u.id for u in used.used}
    ignored = app.plan(ASK, "ana", methods=[method(infer=False)]).call
    assert ignored.mix[0].weight == 2.0


def test_it_is_learnt_again_after_enough_records_and_never_where_it_is_not_wanted(tmp_path):
    from idiolect.registry import make_method
    from idiolect.store.view import view

    app = house(tmp_path, wrote("ana"))
    wanted = make_method(method(refresh=2))[1]
    assert wanted.stale(view(app.store, "ana"))
    app.fit(method(refresh=2), ["ana"])
    assert not wanted.stale(view(app.store, "ana"))
    app.store.add(wrote("ana", 14))
    assert wanted.stale(view(app.store, "ana"))
    assert not make_method(method(infer=False))[1].stale(view(app.store, "ana"))


def test_two_methods_that_mix_are_refused(tmp_path):
    app = house(tmp_path, wrote("ana"))
    with pytest.raises(ConfigError, match="leave one of them out"):
        app.plan(ASK, "ana", methods=[method(strength=1), method(strength=1)])
