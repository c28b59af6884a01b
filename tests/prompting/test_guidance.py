from __future__ import annotations

import numpy as np
import orjson
import pytest

from helpers import InsideToy, open_store, say
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.errors import UnsupportedCall
from idiolect.pipeline import Idiolect
from idiolect.prompting.controller import lengths
from idiolect.prompting.shared.guiding import unpack
from idiolect.prompting.shared.preference import Pair
from idiolect.store.sharing import share
from idiolect.types import EVERYONE, Call, Completion, text_of

PEOPLE = ("ana", "bob", "cleo")
ASKED = Call(({"role": "user", "content": "what now?"},))
TRAIN = {"name": "controller", "rounds": 4, "k": 8, "learning_rate": 0.1, "epochs": 4, "beta": 0.5}


class Painter(InsideToy):
    """A controller that writes BLUE or GRAY, as likely as it finds them; it remembers the prompts before it."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def generate(self, calls):
        self.asked += calls
        out = []
        for call in calls:
            blue, gray = (row.sum() for row in self.token_logprobs([call, call], ["BLUE", "GRAY"]))
            drawn = np.random.default_rng(call.sampling.seed).random() < 1 / (1 + np.exp((gray - blue) / 20))
            out.append(Completion("BLUE" if drawn else "GRAY"))
        return out


def succeeds(call, text):
    """The answering model foresees what was written where the guidance says BLUE."""
    return -1.0 if any("BLUE" in text_of(message) for message in call.messages) else -50.0


def build(tmp_path, helper, people=PEOPLE):
    store = open_store(tmp_path)
    for user in people:
        store.add([say(user, f"{user} wrote note {i}", 1e9 + i, input=f"note {i}?") for i in range(15)])
        share(store, user, user != "cleo")
    settings = Settings(methods=(), peers=PeersPolicy(texts=False, least=2))
    return Idiolect(store, ScriptedBackend(scores=succeeds), settings, clock=lambda: 2e9, helper=helper)


def test_the_guidance_that_served_best_is_kept_with_all_that_was_measured(tmp_path):
    helper = ScriptedBackend(["likes gray", "", "likes BLUE", "likes gray", "BLUE and short", "none"])
    app = build(tmp_path, helper)
    app.fit("guidance", ["ana"])
    (artifact,) = app.store.artifacts("ana")
    payload = orjson.loads(artifact.payload)
    assert payload["text"] == "likes BLUE"  # the first of equals
    per_byte = [-1 / 17, -50 / 17]
    assert np.sign(np.diff(payload["worth"])).tolist() == [1, 0, -1]
    assert payload["worth"][1] == pytest.approx(per_byte[0], rel=0.1)
    assert payload["plain"] == payload["worth"][0] == pytest.approx(per_byte[1], rel=0.1)
    assert (payload["malformed"], payload["trained"], artifact.people) == (1, "", ())
    used = app.plan(ASKED, "ana", methods=["guidance"]).call.used
    assert [(use.id, use.text) for use in used] == [(artifact.id, "likes BLUE")]
    assert {call.sampling.seed for call in helper.calls} == set(range(6))


def test_the_controller_reads_no_answer_that_is_asked_for(tmp_path):
    helper = ScriptedBackend(lambda call: "anything")
    app = build(tmp_path, helper)
    app.fit("guidance", ["ana"])
    prompt = text_of(helper.calls[0].messages[0])
    assert "ana wrote note 9" in prompt
    assert "note 10?" in prompt  # a question that is asked again
    assert not any(f"ana wrote note {i}" in prompt for i in range(10, 15))


def test_a_controller_that_writes_nothing_is_counted_and_replaced_by_counting(tmp_path):
    app = build(tmp_path, ScriptedBackend(lambda call: " \n"))
    app.fit("guidance", ["ana"])
    payload = orjson.loads(app.store.artifacts("ana")[0].payload)
    assert payload["malformed"] == 6
    assert "ana wrote note 9" in payload["text"]


def test_it_learns_from_its_own_wins_to_write_blue(tmp_path):
    helper = Painter()
    app = build(tmp_path, helper)
    app.fit(TRAIN, PEOPLE)
    (shared,) = app.store.artifacts(EVERYONE)
    soft, notes = unpack(shared.payload)
    assert soft.shape == (8, helper.hidden)
    assert (shared.people, shared.record_ids, shared.base_model) == (("ana", "bob"), (), helper.fingerprint)
    assert len(notes["worth"]) == 5
    assert notes["losses"][0][0] == pytest.approx(np.log(2), abs=1e-3)

    def blue(vectors):
        call = Call(helper.asked[0].messages, soft_prompt=vectors)
        return np.subtract(*(row.sum() for row in helper.token_logprobs([call, call], ["BLUE", "GRAY"])))

    assert blue(soft) > blue(helper.asked[0].soft_prompt)
    assert notes["worth"][-1] >= notes["worth"][0]
    assert orjson.loads(app.store.artifacts("ana")[0].payload)["text"] == "BLUE"
    assert app.plan(ASKED, "ana", methods=["controller"]).call.used
    assert app.store.artifacts("cleo") == []  # does not share


def test_guidance_uses_what_was_trained_also_for_those_who_do_not_share(tmp_path):
    helper = Painter()
    app = build(tmp_path, helper)
    app.fit(TRAIN, PEOPLE)
    (shared,) = app.store.artifacts(EVERYONE)
    app.fit("guidance", ["ana", "cleo"])
    np.testing.assert_array_equal(helper.asked[-1].soft_prompt, unpack(shared.payload)[0])
    (guidance,) = app.store.artifacts("cleo")
    assert orjson.loads(guidance.payload)["trained"] == shared.id
    assert guidance.people == ("ana", "bob")
    assert next(a for a in app.store.artifacts("ana") if a.method == "guidance").people == ("bob",)
    share(app.store, "ana", False)
    assert app.store.artifacts("cleo") == app.store.artifacts(EVERYONE) == []


def test_a_controller_without_gradients_is_refused(tmp_path):
    app = build(tmp_path, ScriptedBackend(lambda call: "x"))
    with pytest.raises(UnsupportedCall, match="fit controller"):
        app.fit("controller", PEOPLE)


def test_pairs_that_may_teach_length_are_counted():
    data = [Pair(ASKED, "a" * 10, "b" * 4, 1.0), Pair(ASKED, "c" * 6, "d" * 8, 1.0)]
    assert lengths(data) == {"chosen_chars": 8, "rejected_chars": 6, "uneven": 1}
