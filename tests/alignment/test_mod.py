"""MOD: corners of the simplex, where adapters come from, and finding a person's weights."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from helpers import HashEmbedder, InsideToy, open_store, say
from idiolect import registry
from idiolect.alignment.mod import simplex
from idiolect.alignment.shared.experts import best_of
from idiolect.alignment.shared.objectives import MEASURES
from idiolect.backends._generation import log_softmax
from idiolect.config import PeersPolicy, Settings
from idiolect.errors import ConfigError, UnsupportedCall
from idiolect.memory.feedback import Feedback, record_of
from idiolect.pipeline import Idiolect
from idiolect.store.sharing import share
from idiolect.training import peft_format
from idiolect.training.factors import Factors, LowRank
from idiolect.types import EVERYONE, Branch, Call, Sampling

ASK = Call(({"role": "user", "content": "how was the walk"},), sampling=Sampling(max_tokens=12))
SHORT, LONG = "zz", "quite a quiet walk it was by the quay and the queen asked quickly"


def wrote(user, texts, at=1e9):
    return [say(user, text, at + n, kind="content") for n, text in enumerate(texts)]


def chose(user, n, better, worse):
    said = Feedback(drafts=(worse, better), chosen=1)
    return record_of(user, "how was the walk", "", said, time=1e9 + 100 + n, trace=f"{user}{n}")


@pytest.fixture
def app(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    for user in ("ana", "bob"):
        store.add(wrote(user, [SHORT, LONG] * 4))
        store.add([chose(user, n, *((SHORT, LONG) if user == "ana" else (LONG, SHORT))) for n in range(4)])
        share(store, user, True)
    settings = Settings(peers=PeersPolicy(texts=True, least=2), methods=())
    return Idiolect(store, InsideToy(), settings, clock=lambda: 2e9, backend_name="toy")


def mod(**settings):
    return {"name": "mod", "part": 0.5, **settings}


def plan(app, user="ana", call=ASK, **settings):
    return app.plan(call, user, methods=[mod(**settings)]).call


def next_row(app, call, answer=b"q"):
    return log_softmax(app.backend.logits(call, answer)).astype(np.float64)


def test_the_simplex_holds_the_model_itself_and_every_corner():
    found = simplex(2, 4)
    assert found[0] == [0.0, 0.0]
    assert len(found) == 15
    assert [1.0, 0.0] in found
    assert [0.0, 1.0] in found
    assert all(sum(one) <= 1 for one in found)


def test_best_of_takes_the_texts_with_most_of_an_objective_in_their_own_order():
    records = wrote("ana", ["three words here", "one", "two words", "and these are five words"])
    assert [r.output for r in best_of(records, "brief", 0.5)] == ["one", "two words"]
    assert [r.output for r in best_of(records, "detailed", 0.5)] == ["three words here", "and these are five words"]
    assert len(best_of(records, "brief", 0.01)) == 1


@pytest.mark.parametrize(
    ("objective", "more", "less"),
    [
        ("brief", "Yes.", "Yes, as I have told you before."),
        ("detailed", "Yes, as I have told you before.", "Yes."),
        ("formal", "I am delighted to assist you.", "Hey, I'm so glad, yay!"),
        ("casual", "Hey, I'm so glad, yay!", "I am delighted to assist you."),
        ("simple", "The cat sat on the mat.", "Considerable deliberation preceded implementation."),
        ("expert", "Considerable deliberation preceded implementation.", "The cat sat on the mat."),
        ("warm", "I hope you enjoy it, dear friend.", "It is on the table."),
    ],
)
def test_each_measure_tells_more_of_its_objective_from_less(objective, more, less):
    assert MEASURES[objective](more) > MEASURES[objective](less)
    assert isinstance(MEASURES[objective](""), float)


def test_an_objectives_adapter_is_trained_on_its_texts_alone(app):
    app.fit(mod(), ["ana", "bob"])
    rows = {}
    for artifact in app.store.artifacts(EVERYONE):
        rows[artifact.settings["objective"]] = peft_format.load(artifact.body.read()).delta("out")[:, 0]
        assert set(artifact.people) == {"ana", "bob"}
    assert set(rows) == {"brief", "detailed"}
    assert rows["brief"][ord("z")] > rows["brief"][ord("q")]
    assert rows["detailed"][ord("q")] > rows["detailed"][ord("z")]


def test_weight_one_is_that_source_and_is_worn_without_a_mixture(app):
    app.fit(mod(), ["ana", "bob"])
    first = plan(app, weights=[1, 0])
    assert first.mix == ()
    assert [one.weight for one in first.adapters] == [1.0]
    assert plan(app, weights=[0, 1]).adapters != first.adapters
    nearly = plan(app, weights=[1 - 1e-7, 1e-7])  # the same by way of the mixture
    np.testing.assert_allclose(next_row(app, nearly), next_row(app, first), atol=1e-4)
    assert plan(app, weights=[0, 0]) is ASK


def test_two_identical_sources_are_one(app):
    app.fit(mod(), ["ana", "bob"])
    twice = plan(app, objectives=["brief", "brief"], weights=[0.3, 0.7])
    assert len(twice.mix) == 2
    np.testing.assert_allclose(next_row(app, twice), next_row(app, plan(app, weights=[1, 0])), atol=1e-5)


def test_the_mixture_is_the_normalized_product_of_the_policies(app):
    app.fit(mod(), ["ana", "bob"])
    brief, detailed, base = (plan(app, weights=w) for w in ([1, 0], [0, 1], [0, 0]))
    expected = 0.5 * next_row(app, brief) + 0.25 * next_row(app, detailed) + 0.25 * next_row(app, base)
    expected -= np.logaddexp.reduce(expected)
    mixed = plan(app, weights=[0.5, 0.25])
    assert mixed.mix[0] == Branch(None, 0.25)
    np.testing.assert_allclose(next_row(app, mixed), expected, atol=1e-4)
    calls = [mixed, brief, ASK]
    assert app.backend.generate(calls) == [app.backend.generate([call])[0] for call in calls]


def test_adapters_worn_already_lie_under_every_source(app):
    app.fit(mod(), ["ana", "bob"])
    dressed = plan(app, weights=[1, 0])
    mixed = plan(app, call=dressed, weights=[0, 0.5])
    assert [branch.adapters for branch in mixed.mix] == [None, (*dressed.adapters, mixed.mix[1].adapters[-1])]


def test_each_person_gets_the_weights_that_explain_their_choices(app):
    app.fit(mod(), ["ana", "bob"])
    found = {}
    for user in ("ana", "bob"):
        (own,) = app.store.artifacts(user)
        found[user] = orjson.loads(own.payload)
        assert found[user]["log_likelihood"] > found[user]["without"]
        assert set(own.people) == {"ana", "bob"} - {user}
    assert found["ana"]["weights"][0] > found["ana"]["weights"][1]
    assert found["bob"]["weights"][1] > found["bob"]["weights"][0]
    assert "adapters" in plan(app, "ana").needs
    assert plan(app, "cleo") is ASK


def test_somebody_who_shares_nothing_is_placed(app):
    app.store.add([chose("cleo", n, SHORT, LONG) for n in range(4)])
    app.fit(mod(), ["ana", "bob", "cleo"])
    assert orjson.loads(app.store.artifacts("cleo")[0].payload)["weights"][0] > 0
    assert not any("cleo" in one.people for one in app.store.artifacts(EVERYONE))


def test_adapters_come_from_a_folder_by_id_and_by_method(app, tmp_path):
    app.fit(mod(), ["ana", "bob"])
    app.fit("task_lora", ["ana", "bob"])
    row = np.zeros((257, 1), np.float32)
    row[ord("!")] = 9.0
    data = peft_format.dump(LowRank({"out": Factors(np.ones((1, 1), np.float32), row)}, 1.0, ""))
    folder = peft_format.save_folder(data, tmp_path / "loud", "toy")
    brief = next(one for one in app.store.artifacts(EVERYONE) if one.settings.get("objective") == "brief")
    task = next(one for one in app.store.artifacts(EVERYONE) if one.method == "task_lora")
    call = plan(app, objectives=[str(folder), brief.id, "task_lora"], weights=[0.5, 0.25, 0.25])
    ids = [branch.adapters[0].id for branch in call.mix]
    assert ids[1:] == [brief.id, task.id]
    assert ids[0].startswith("peft-")
    assert {use.id for use in call.used} == {brief.id, task.id}
    worn = plan(app, objectives=[str(folder)], weights=[1])
    assert app.backend.generate([worn])[0].text == "!" * 12


def test_what_cannot_be_is_refused(app):
    with pytest.raises(ConfigError, match="no adapter for 'brief' yet"):
        plan(app, weights=[0.5, 0.5])
    app.fit(mod(), ["ana", "bob"])
    for wrong in ([1], [0.8, 0.4], [-0.1, 0.5]):
        with pytest.raises(ConfigError, match="at most 1 together"):
            plan(app, weights=wrong)
    with pytest.raises(ConfigError, match="'loud' is no objective"):
        plan(app, objectives=["loud"], weights=[1])
    with pytest.raises(ConfigError, match="both mix"):
        plan(app, call=plan(app, weights=[0.5, 0.5]), weights=[0.5, 0.5])
    app.backend.supports = frozenset({"logprobs", "mix"})
    with pytest.raises(UnsupportedCall, match="'mod' needs 'adapters'"):
        plan(app, weights=[0.5, 0.5])


def test_weights_learnt_for_other_adapters_do_not_serve(app):
    app.fit(mod(), ["ana", "bob"])
    before = plan(app, "ana")
    assert before != ASK
    share(app.store, "bob", False)  # what was learnt with him is gone
    assert plan(app, "ana") is ASK
    assert registry.make_method(mod())[1].objectives == ("brief", "detailed")
