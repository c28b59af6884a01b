from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers import HashEmbedder, open_store
from idiolect.backends.toy import ScriptedBackend, ToyBackend
from idiolect.decoding.choosing import generate_chosen
from idiolect.errors import UnsupportedCall
from idiolect.prompting.assembly import assemble
from idiolect.prompting.profile import Profile
from idiolect.prompting.selector import Selector
from idiolect.prompting.shared.distillation import softmax
from idiolect.prompting.shared.known import Known
from idiolect.prompting.shared.selection import Chooser, Manner, Question, of_drafts, pick
from idiolect.store.view import StoredUser
from idiolect.types import EVERYONE, Call, Completion, Context, Record, text_of

PEOPLE = [f"p{n}" for n in range(9)]
KINDS = ("match", "sum", "plain")
THINGS = "sea rain lamp stone fern glass".split()


def whole(call):
    return "\n".join(text_of(message) for message in call.messages)


def worth(call, text):
    """Records help questions to match, a summary those to sum, plain ones suffer from either."""
    prompt, question = whole(call), text_of(call.messages[-1]).split("\n")[-1]
    records, summary = "own records:" in prompt, "About this person:" in prompt
    if question.startswith("match"):
        return -60.0 + 30.0 * records
    if question.startswith("sum"):
        return -60.0 + 30.0 * summary
    return -60.0 - 20.0 * records - 20.0 * summary


def world(tmp_path, model=None, people=PEOPLE):
    store, rng = open_store(tmp_path, HashEmbedder()), np.random.default_rng(5)
    for user in people:
        store.add([
            Record.new(
                user, f"what {' '.join(rng.choice(THINGS, 4))} says, number {at}", time=1e9 + at,
                input=f"{KINDS[int(rng.integers(3))]} {' '.join(rng.choice(THINGS, 3))}", kind="content",
            )
            for at in range(40)
        ])  # fmt: skip
    model = model or ScriptedBackend(scores=worth)
    ctx = Context(model, lambda: 2e9, np.random.default_rng(0), store.embedder, tokens=400)
    return store, ctx, [StoredUser(store, user) for user in people]


def asked(text):
    return Call(({"role": "user", "content": text},))


def knowing(user, artifacts, ctx):
    return Known(user, (*Profile().fit([user], ctx), *artifacts))


def titles(call):
    return [block.title for block in call.context]


def test_questions_of_a_kind_go_to_the_candidate_that_wins_there(tmp_path):
    _, ctx, users = world(tmp_path)
    method = Selector()
    (artifact,) = method.fit(users[:7], ctx)
    assert artifact.user_id == EVERYONE
    assert set(artifact.people) == set(PEOPLE[:7])
    for user in users[7:]:
        person = knowing(user, [artifact], ctx)
        for thing in THINGS:
            assert titles(method.apply(asked(f"match {thing}"), person, ctx)) == ["From this person's own records:"]
            assert titles(method.apply(asked(f"sum {thing}"), person, ctx)) == ["About this person:"]
            plain = asked(f"plain {thing}")
            assert method.apply(plain, person, ctx) is plain


def test_the_choice_stands_in_the_trace(tmp_path):
    _, ctx, users = world(tmp_path)
    (artifact,) = Selector().fit(users, ctx)
    mark = Selector().apply(asked("match sea"), knowing(users[0], [artifact], ctx), ctx).used[-1]
    assert (mark.what, mark.id) == ("artifact", artifact.id)
    assert set(mark.parts) == {"none", "retrieval", "profile"}
    assert sum(mark.parts.values()) == pytest.approx(1)
    assert mark.score == max(mark.parts.values())


def test_a_candidate_with_nothing_to_say_is_never_chosen(tmp_path):
    _, ctx, users = world(tmp_path)
    (artifact,) = Selector().fit(users, ctx)
    unfitted = Known(users[0], (artifact,))
    call = Selector().apply(asked("sum sea"), unfitted, ctx)
    assert "About this person:" not in titles(call)
    nobody = StoredUser(users[0].store, "nobody")
    call = asked("match sea")
    assert Selector().apply(call, Known(nobody, (artifact,)), ctx) is call


def test_without_anything_learnt_or_another_pool_the_call_stays(tmp_path):
    _, ctx, users = world(tmp_path)
    call = asked("match sea")
    assert Selector().apply(call, users[0], ctx) is call
    (artifact,) = Selector().fit(users, ctx)
    person = Known(users[0], (artifact,))
    assert Selector().apply(call, person, ctx) is not call
    assert Selector(pool=("none", "retrieval")).apply(call, person, ctx) is call
    assert Selector().apply(call, person, replace(ctx, embedder=HashEmbedder("other"))) is call


def test_utilities_that_are_all_alike_teach_nothing(tmp_path):
    _, ctx, users = world(tmp_path, ScriptedBackend(scores=lambda call, text: -1.0))
    assert list(Selector().fit(users, ctx)) == []


def test_a_tie_goes_to_none_and_what_is_not_there_does_not_count():
    names = ("retrieval", "none", "profile")
    assert pick(names, [0.5, 0.5, 0.1], [True, True, True]) == "none"
    assert pick(names, [0.5, 0.1, 9.0], [True, True, False]) == "retrieval"
    assert pick(names[::2], [0.5, 0.5], [True, True]) == "retrieval"
    assert pick(names[::2], [0.5, 0.5], [False, False]) == "none"


def test_temperature_divides_logits_and_padding_gets_nothing():
    """Utilities are in units of their spread, which is 1: the target is the softmax of (1, -1) / 0.5."""
    there = np.array([True, True, False])
    rows = [Question(np.array([[n % 2], [-n % 2], [9.0]], float), np.zeros(4), there, np.array([1.0, -1, 50]))
            for n in range(4)]  # fmt: skip
    chooser = Chooser.train(rows, [], 0.5, "")
    scores = chooser.scores(rows[0].candidates[None], rows[0].question[None])[0]
    np.testing.assert_allclose(softmax(scores, there), [1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4)), 0], atol=0.01)
    assert chooser.parameters["bias"][2] == 0
    again = Chooser.unpack(chooser.pack())
    np.testing.assert_allclose(again.scores(rows[0].candidates[None], rows[0].question[None])[0], scores, atol=1e-5)


def test_drafts_are_rated_by_what_can_be_seen_of_them():
    manner = Manner(9.0, ())
    seen = of_drafts(["red fern!!", "red fern!!", ""], ["fern", "", ""], "fern lamp", manner, None)
    np.testing.assert_allclose(seen[0], [-np.log(1.1), 0, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(seen[2], [-np.log(10), 0, 0, 0, 0])


class Writer(ScriptedBackend):
    """Writes a helped answer wherever the prompt helps."""

    def __init__(self):
        super().__init__(
            lambda call: "what sea fern rain lamp says, number 7" if worth(call, "") > -50 else "no", scores=worth
        )

    def generate(self, calls):
        return generate_chosen(calls, super().generate)


def test_after_keeps_the_draft_that_is_like_the_person(tmp_path):
    _, ctx, users = world(tmp_path, Writer())
    method = Selector(when="after")
    (artifact,) = method.fit(users[:7], ctx)
    person = knowing(users[8], [artifact], ctx)
    call = method.apply(asked("sum fern glass"), person, ctx)
    assert call == method.apply(asked("sum fern glass"), person, ctx)
    assert len(call.choose.alternatives) == 3
    assert call.choose.alternatives[0] == asked("sum fern glass")
    assert call.used[-1].id == artifact.id
    made = ctx.model.generate([assemble(call, ctx.tokens, ctx.model.count_tokens)])[0]
    assert made.text.startswith("what sea")
    ratings = call.choose.score(["no", "no", "what sea fern rain lamp says, number 7"])
    assert ratings[2] == max(ratings)


def test_after_runs_on_a_real_backend_and_costs_an_answer_of_each(tmp_path):
    _, ctx, users = world(tmp_path, ToyBackend(), PEOPLE[:3])
    method = Selector(when="after", replays=3)
    (artifact,) = method.fit(users, ctx)
    call = method.apply(asked("match fern"), knowing(users[0], [artifact], ctx), ctx)
    made = ctx.model.generate([assemble(call, ctx.tokens, ctx.model.count_tokens)])[0]
    alone = ctx.model.generate([assemble(one, ctx.tokens, ctx.model.count_tokens) for one in call.choose.alternatives])
    assert made.text in [one.text for one in alone]
    assert made.tokens_in == sum(one.tokens_in for one in alone)
    assert isinstance(made, Completion)


def test_fitting_twice_gives_the_same_and_shows_what_was_malformed(tmp_path):
    _, ctx, users = world(tmp_path, ScriptedBackend(lambda call: "I would rather not.", scores=worth), PEOPLE[:3])
    method = Selector(pool=("none", "retrieval", "profile:write=model"), replays=4)
    one, two = (list(method.fit(users, ctx)) for _ in range(2))
    assert one == two
    assert one[0].scores["malformed"] == 3


def test_a_candidate_that_cannot_learn_here_is_named(tmp_path):
    _, ctx, users = world(tmp_path, people=PEOPLE[:2])
    ctx.model.supports = frozenset({"choose"})
    with pytest.raises(UnsupportedCall, match="fit usefulness"):
        list(Selector(pool=("none", "usefulness")).fit(users, ctx))


def test_without_an_embedder_the_plain_features_are_learnt_from(tmp_path):
    _, ctx, users = world(tmp_path, people=PEOPLE[:3])
    plain = replace(ctx, embedder=None)
    for when in ("before", "after"):
        method = Selector(when=when)
        model = Writer() if when == "after" else ctx.model
        (artifact,) = method.fit(users, replace(plain, model=model))
        call = asked("sum sea")
        planned = method.apply(call, knowing(users[0], [artifact], plain), replace(plain, model=model))
        assert artifact.id in {used.id for used in planned.used}
        assert (planned.choose is not None) is (when == "after")
