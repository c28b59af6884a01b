"""The effect of personal context, token by token."""

from __future__ import annotations

import numpy as np
import pytest

from idiolect.backends.toy import ToyBackend
from idiolect.errors import UnsupportedCall
from idiolect.prompting.shared.effect import token_personalization_effect, token_personalization_effects
from idiolect.types import Call, Context

VOCABULARY = 100


class Bigrams:
    """Words as tokens, all alike; only a person who is known to says 'cheers' after 'goodbye'."""

    supports = frozenset({"inside", "logprobs"})

    def token_logprobs(self, calls, continuations):
        return [self._score(call, text.split()) for call, text in zip(calls, continuations, strict=True)]

    def _score(self, call, words):
        known = "always says cheers" in str(call.messages)
        out = []
        for before, word in zip(["", *words], words, strict=False):
            usual = 1 / VOCABULARY
            planted = 0.9 if word == "cheers" else 0.1 / (VOCABULARY - 1)
            out.append(np.log(planted if known and before == "goodbye" else usual))
        return np.array(out, np.float32)


BARE = Call(({"role": "user", "content": "take your leave"},))
PERSONAL = Call(({"role": "user", "content": "always says cheers\ntake your leave"},))


def context(model):
    return Context(model, lambda: 0.0, np.random.default_rng(0))


def test_only_what_the_person_always_says_has_an_effect():
    text = "well then goodbye cheers and safe travels"
    effect = token_personalization_effect(context(Bigrams()), PERSONAL, BARE, text)
    assert [word for word, one in zip(text.split(), effect, strict=True) if one > 0.5] == ["cheers"]
    assert effect[3] == pytest.approx(np.log(0.9 * VOCABULARY), abs=1e-5)
    np.testing.assert_array_equal(np.delete(effect, 3), 0.0)


def test_what_the_person_would_not_say_has_a_negative_one():
    effect = token_personalization_effect(context(Bigrams()), PERSONAL, BARE, "goodbye everybody")
    assert effect[0] == 0.0
    assert effect[1] < -2


def test_the_same_prompt_twice_has_none_and_a_batch_equals_one_by_one():
    ctx, texts = context(Bigrams()), ["goodbye cheers", "see you"]
    np.testing.assert_array_equal(token_personalization_effect(ctx, BARE, BARE, texts[0]), 0.0)
    together = token_personalization_effects(ctx, [PERSONAL, BARE], [BARE, PERSONAL], texts)
    alone = [
        token_personalization_effect(ctx, PERSONAL, BARE, texts[0]),
        token_personalization_effect(ctx, BARE, PERSONAL, texts[1]),
    ]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_closed_model_is_refused():
    with pytest.raises(UnsupportedCall, match="inside"):
        token_personalization_effect(context(ToyBackend()), PERSONAL, BARE, "x")
