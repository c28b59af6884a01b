"""A person's weighted sum of adapters: exact, learnt from few choices, and taken back."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import orjson
import pytest

from alignment.people import NOW, WORDS, house, leans, plan, seen
from helpers import say
from idiolect import registry
from idiolect.alignment.shared.mixing import best_weights
from idiolect.errors import ConfigError
from idiolect.store.sharing import share
from idiolect.types import EVERYONE, Adapter


def _nearness(target, tried):
    return [-float(np.square(np.subtract(one, target)).sum()) for one in tried]


class TestSearch:
    def test_it_finds_the_corner_the_middle_and_nothing(self):
        for target in ((0.0, 1.0, 0.0), (0.5, 0.0, 0.5), (0.0, 0.0, 0.0), (0.25, 0.75, 0.0)):
            found, gain = best_weights(3, partial(_nearness, target))
            assert found == pytest.approx(target, abs=0.05)
            assert gain == pytest.approx(sum(x * x for x in target), abs=0.01)

    def test_weights_stay_on_the_simplex(self):
        seen = []

        def value(many):
            seen.extend(many)
            return [float(np.dot(one, (3.0, -1.0, 2.0, 0.5))) for one in many]

        found, _ = best_weights(4, value)
        assert found == (1.0, 0.0, 0.0, 0.0)
        assert all(min(one) >= 0 and sum(one) <= 1 + 1e-9 for one in seen)


MEMBER = "dpo:context=none:rank=4:rate=0.01:epochs=10"
BRIEF = MEMBER + ":objectives=brief:margins=[0.5]"


def soup(**more):
    return {"name": "soup", "context": ["none"], "members": [MEMBER], **more}


def spec(text):
    name, settings = registry.read_settings(text)
    return {"name": name, **settings}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    pytest.importorskip("torch")
    app = house(tmp_path_factory.mktemp("house"), counts=(8, 8, 3))
    app.fit(soup(), ["ana", "bob", "cyd"])
    return app


def scores(app, call):
    return np.array(app.backend.logprobs([call] * 3, ["red tea", "blue dog", "café sings on and on"]))


def test_all_the_weight_on_one_is_that_adapter(app):
    app.fit(spec(BRIEF), ["ana"])
    for at, member in enumerate((MEMBER, BRIEF)):
        weights = [float(n == at) for n in range(2)]
        mixed = plan(app, "ana", soup(members=[MEMBER, BRIEF], weights=weights))
        one = plan(app, "ana", spec(member))
        assert [a.body for a in mixed.adapters] == [a.body for a in one.adapters]
        np.testing.assert_allclose(scores(app, mixed), scores(app, one), atol=1e-5)
    assert plan(app, "nobody", soup(weights=[1.0])) == plan(app, "nobody", {"name": "retrieval"})


def test_a_sum_is_the_sum_of_the_changes_of_the_weights(app):
    from adapted import plain_logprobs

    app.fit(spec(BRIEF), ["ana"])
    mixed = plan(app, "ana", soup(members=[MEMBER, BRIEF], weights=[0.3, 0.7]))
    assert [adapter.weight for adapter in mixed.adapters] == [0.3, 0.7]
    texts = ["red tea", "blue dog", "café sings on and on"]
    expected = [plain_logprobs(app.backend, mixed, text).sum() for text in texts]
    np.testing.assert_allclose(scores(app, mixed), expected, atol=1e-4)
    tokens = app.backend.token_logprobs([mixed] * 3, texts)
    for found, text in zip(tokens, texts, strict=True):
        np.testing.assert_allclose(found, plain_logprobs(app.backend, mixed, text), atol=1e-5)


def test_somebody_new_is_given_the_weights_of_those_who_choose_alike(app):
    choice = next(a for a in seen(app, "cyd").artifacts if a.kind == "soup")
    told = orjson.loads(choice.payload)
    owners = [orjson.loads(a.payload)["owner"] for name in told["members"]
              for a in app.store.artifacts(EVERYONE) if a.id == name]  # fmt: skip
    weight = dict(zip(owners, told["weights"], strict=True))
    assert told["by"] == "choices"
    assert weight["bob"] > 0.5 > weight["ana"]
    call = plan(app, "cyd", soup())
    assert {used.owner for used in call.used} <= {"ana", "bob"}
    assert leans(app, call) < leans(app, plan(app, "nobody", soup())) - 1


def test_whoever_shares_gives_and_is_never_given_their_own(app):
    assert not [a for a in seen(app, "cyd").artifacts if a.user_id == "cyd" and a.method == "dpo"]
    for user, other in (("ana", "bob"), ("bob", "ana")):
        assert {used.owner for used in plan(app, user, soup()).used} <= {other}


def test_without_choices_the_texts_a_person_wrote_say_which_fit(app):
    app.store.add(say("dora", "blue dog", NOW + n, input=f"the {word} likes") for n, word in enumerate(WORDS[:4]))
    method = registry.build(registry.methods.get("soup"), {k: v for k, v in soup().items() if k != "name"})
    assert method.stale(seen(app, "dora"))
    (choice,) = method.place([seen(app, "dora")], app.context())
    told = orjson.loads(choice.payload)
    assert told["by"] == "texts"
    assert told["gain"] > 0
    assert set(choice.people) == {"ana", "bob"}


def test_only_methods_that_learn_adapters_are_mixed():
    for members in (["retrieval"], ["dpo+lora"]):
        method = registry.build(registry.methods.get("soup"), {"members": members})
        with pytest.raises(ConfigError, match="adapters"):
            list(method.fit([object()], None))
    method = registry.build(registry.methods.get("soup"), {"members": ["dpo"], "weights": [0.5, 0.5]})
    with pytest.raises(ConfigError, match="1 members and 2 weights"):
        method.mixed(object(), "m")


def test_a_withdrawal_takes_the_adapter_out_of_everybodys_soup(tmp_path):
    pytest.importorskip("torch")
    app = house(tmp_path, counts=(8, 8, 3))
    app.fit(soup(), ["ana", "bob", "cyd"])
    assert plan(app, "cyd", soup()).adapters
    share(app.store, "bob", False)
    assert not plan(app, "cyd", soup()).adapters
    assert not [a for a in app.store.artifacts(EVERYONE) if "bob" in a.people]
    assert [a for a in app.store.artifacts("bob") if a.method == "dpo"]  # their own stays


def test_twice_the_same_adapter_is_twice_the_weight(app):
    call = plan(app, "ana", spec(MEMBER))
    (one,) = call.adapters
    twice = replace(call, adapters=(Adapter("a", 0.5, one.body), Adapter("b", 0.5, one.body)))
    np.testing.assert_allclose(scores(app, twice), scores(app, call), atol=1e-5)
