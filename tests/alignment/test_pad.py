"""The model as it is, guided by its personal version."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alignment.people import SMALL, house, leans, plan
from idiolect.errors import ConfigError

pytest.importorskip("torch")
DPO = {"name": "dpo", **SMALL}
GUIDED = {"name": "pad", "context": [f"dpo:context=none:rank={SMALL['rank']}:rate=0.01:epochs=10"]}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    app = house(tmp_path_factory.mktemp("house"), counts=(8, 8, 0))
    assert app.fit(DPO, ["ana", "bob"]) == 2
    return app


def test_each_one_is_guided_by_their_own_weights_and_less_than_by_these_alone(app):
    bare = leans(app, plan(app, "nobody", GUIDED))
    for name, sign in (("ana", 1), ("bob", -1)):
        guided, alone = (sign * (leans(app, plan(app, name, one)) - bare) for one in (GUIDED, DPO))
        assert 0.5 < guided < alone
        assert [used.method for used in plan(app, name, GUIDED).used] == ["dpo"]


def test_the_model_as_it_is_keeps_its_part(app):
    guided, alone = plan(app, "ana", GUIDED), plan(app, "ana", DPO)
    assert guided.adapters == ()
    assert [branch.weight for branch in guided.mix] == pytest.approx([0.2, 0.8])
    found = [app.backend.logprobs([call], [" red"])[0] for call in (replace(alone, adapters=()), alone)]
    mixed = app.backend.logprobs([guided], [" red"])[0]
    # the normalizer of a product of two distributions is below 1: it can only add
    assert mixed >= np.dot([0.2, 0.8], found) - 1e-4


def test_at_strength_one_it_is_the_personal_version_and_beyond_it_implausible_tokens_go(app):
    alone, one = plan(app, "ana", DPO), plan(app, "ana", {**GUIDED, "strength": 1.0})
    assert leans(app, one) == pytest.approx(leans(app, alone), abs=1e-3)
    assert one.plausibility == 0.0
    beyond = plan(app, "ana", {**GUIDED, "strength": 2.0})
    assert beyond.plausibility == 0.01
    assert leans(app, replace(beyond, plausibility=0.0)) > leans(app, alone)


def test_what_it_does_without_history_weights_or_strength(app):
    assert plan(app, "nobody", GUIDED).mix == ()
    assert plan(app, "ana", {**GUIDED, "strength": 0.0}).mix == ()
    assert plan(app, "ana", {"name": "pad", "context": ["none"]}).mix == ()


def test_who_cannot_guide_is_refused_by_name(app):
    with pytest.raises(ConfigError, match="'pad' is guided by text and adapters alone; its context adds mix"):
        plan(app, "ana", {"name": "pad", "context": ["context_steering:infer=false:strength=2"]})
