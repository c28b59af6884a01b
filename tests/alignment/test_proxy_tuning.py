"""A small model that knows a person moves a large one that does not."""

from __future__ import annotations

import pytest

from adapted import write_gpt2
from alignment.people import SMALL, house, leans, plan
from helpers import InsideToy, open_store, say
from idiolect.backends.transformers import TransformersBackend
from idiolect.config import Settings
from idiolect.errors import ConfigError, UnsupportedCall
from idiolect.pipeline import Idiolect
from idiolect.types import Call

ASK = Call(({"role": "user", "content": "which tea"},))
OWN = {
    "name": "proxy_tuning",
    "plausibility": 0.0,
    "context": [f"dpo:context=none:rank={SMALL['rank']}:rate=0.01:epochs=10"],
}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("house")
    app = house(folder, counts=(8, 8, 0))
    small = TransformersBackend(str(write_gpt2(folder / "small")), dtype="float32", threads=1)
    with_small = Idiolect(app.store, small, app.settings, clock=app.clock, backend_name="transformers")
    assert with_small.fit({"name": "dpo", **SMALL}, ["ana", "bob"]) == 2
    app.backend = TransformersBackend(app.backend.model, dtype="float32", threads=1, proxy=small.model)
    return app


def test_the_large_model_answers_as_each_one_chose_though_only_the_small_one_was_trained(app):
    bare = leans(app, plan(app, "nobody", OWN))
    ana, bob = (plan(app, name, OWN) for name in ("ana", "bob"))
    assert leans(app, ana) > bare + 1
    assert leans(app, bob) < bare - 1
    assert not ana.adapters
    assert [used.method for used in ana.used] == ["dpo"]
    assert leans(app, plan(app, "ana", {**OWN, "strength": 0.2})) < leans(app, ana)


def test_an_adapter_for_the_large_model_is_none_for_the_small_one(app):
    assert plan(app, "ana", {"name": "dpo", **SMALL}).adapters == ()
    assert plan(app, "nobody", OWN).mix == ()


def toy(tmp_path, **settings):
    store = open_store(tmp_path)
    store.add([say("ana", "I like green tea", 1.0), say("ana", "no sugar in my tea", 2.0)])
    app = Idiolect(store, InsideToy(), Settings(), backend_name="toy")
    return app, lambda: app.plan(ASK, "ana", methods=[{"name": "proxy_tuning", **settings}]).call


def test_the_large_model_never_sees_the_text(tmp_path):
    app, planned = toy(tmp_path, context=["retrieval"], strength=2.0)
    call = planned()
    assert call.messages == ASK.messages
    large, told, plain = call.mix
    assert (large.messages, large.weight, large.proxy) == (None, 1.0, False)
    assert ("green tea" in str(told.messages), told.weight, told.proxy) == (True, 2.0, True)
    assert (plain.messages, plain.weight, plain.proxy) == (ASK.messages, -2.0, True)
    assert call.plausibility == 0.1
    assert {used.text for used in call.used} == {"I like green tea", "no sugar in my tea"}
    assert app.backend.logprobs([call], [" tea"]) != app.backend.logprobs([ASK], [" tea"])


def test_what_it_does_without_history_strength_or_a_small_model(tmp_path):
    app, planned = toy(tmp_path, context=["retrieval"])
    assert app.plan(ASK, "nobody", methods=["proxy_tuning"]).call == ASK
    assert toy(tmp_path / "off", strength=0.0)[1]() == ASK
    app.backend.supports = app.backend.supports - {"proxy"}
    with pytest.raises(UnsupportedCall, match=r"backends\.transformers\.proxy"):
        planned()


def test_a_context_that_is_neither_text_nor_adapters_is_refused(tmp_path):
    _, planned = toy(tmp_path, context=["context_steering:infer=false:strength=2"])
    with pytest.raises(ConfigError, match="adds mix"):
        planned()
