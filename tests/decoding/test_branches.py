"""What each source of a mixture reads and meets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from idiolect.backends._generation import log_softmax
from idiolect.backends.toy import ToyBackend
from idiolect.decoding.branches import dialled, instructed, lost, sources_of
from idiolect.errors import ConfigError
from idiolect.types import Adapter, Body, Branch, Call

SYSTEM = {"role": "system", "content": "Be kind."}
ASK = Call(({"role": "user", "content": "tell me of rivers"},))
BRIEF = Branch(None, 2.0, "Be brief and terse.")
ADAPTER = Adapter("a", 1.0, Body.of(b"weights"))


def test_an_instruction_ends_the_system_message():
    assert instructed(ASK.messages, "Be brief.") == ({"role": "system", "content": "Be brief."}, *ASK.messages)
    assert instructed((SYSTEM, *ASK.messages), "Be brief.")[0]["content"] == "Be kind.\n\nBe brief."
    parts = ({"role": "developer", "content": [{"type": "text", "text": "x"}]},)
    assert instructed(parts, "y")[0]["content"] == [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]
    assert instructed((), "y") == ({"role": "system", "content": "y"},)
    assert SYSTEM["content"] == "Be kind."


def test_who_meets_which_adapters():
    other = replace(ADAPTER, id="b")
    mix = (
        Branch(None, 0.0), Branch(None, 0.5, adapters=(other,)), Branch(None, 0.5, adapters=()),
        Branch(ASK.messages, 0.0), Branch(ASK.messages, 0.0, adapters=(other,)),
    )  # fmt: skip
    call = replace(ASK, adapters=(ADAPTER,), mix=mix)
    assert [one.adapters for one in sources_of(call)] == [(ADAPTER,), (other,), (), (), (other,)]
    assert [one.own for one in sources_of(call)] == [True, True, True, False, False]
    assert lost(call) == []
    assert lost(replace(call, mix=mix[1:])) == ["adapters"]
    assert lost(replace(call, mix=mix[3:])) == ["adapters"]
    assert lost(replace(ASK, mix=mix[3:])) == []


def test_adapters_of_a_branch_are_a_need():
    assert replace(ASK, mix=(Branch(None, 1.0, adapters=(ADAPTER,)),)).needs == {"mix", "adapters"}
    assert replace(ASK, mix=(Branch(None, 1.0, adapters=()),)).needs == {"mix"}


def test_a_dial_at_zero_is_the_call_itself():
    assert dialled(ASK, [replace(BRIEF, weight=0.0)], 0.1, "x") is ASK


def test_a_dial_at_one_is_the_instruction_itself():
    turned = dialled(ASK, [replace(BRIEF, weight=1.0)], 0.1, "x")
    alone = Call(instructed(ASK.messages, BRIEF.instruction))
    one, two = (log_softmax(ToyBackend().logits(call, b"br")) for call in (turned, alone))
    np.testing.assert_allclose(one, two, atol=1e-5)
    assert turned.plausibility == 0.0  # nothing goes beyond its sources


def test_several_dials_add_their_differences():
    formal = Branch(None, -0.5, "Be formal, sir.")
    turned = dialled(ASK, [BRIEF, formal], 0.0, "x")
    base, first, second = (
        log_softmax(ToyBackend().logits(Call(instructed(ASK.messages, text)), b"b")).astype(np.float64)
        for text in ("", BRIEF.instruction, formal.instruction)
    )
    expected = base + 2.0 * (first - base) - 0.5 * (second - base)
    np.testing.assert_allclose(ToyBackend().logits(turned, b"b"), expected, atol=1e-4)
    assert sum(branch.weight for branch in turned.mix) == pytest.approx(1.0)
    assert dialled(ASK, [BRIEF], 0.05, "x").plausibility == 0.05


def test_dials_add_to_a_mixture_over_the_calls_own_prompt_and_to_no_other():
    steered = replace(ASK, mix=(Branch(None, 2.0), Branch((SYSTEM,), -1.0)), plausibility=0.1)
    turned = dialled(steered, [BRIEF], 0.01, "x")
    assert turned.mix == (Branch(None, 0.0), Branch((SYSTEM,), -1.0), BRIEF)
    assert turned.plausibility == 0.1
    with pytest.raises(ConfigError, match="'x' adds to the call's own prompt"):
        dialled(replace(ASK, mix=(Branch((SYSTEM,), 1.0),)), [BRIEF], 0.01, "x")
