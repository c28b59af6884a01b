from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers import HashEmbedder, open_store
from idiolect.backends.toy import ScriptedBackend
from idiolect.prompting.shared.distillation import distill
from idiolect.prompting.shared.feedback import find, table
from idiolect.prompting.shared.scorer import FEATURES, Batch, Scorer, see
from idiolect.prompting.usefulness import Usefulness, rewarded
from idiolect.store.view import StoredUser
from idiolect.types import EVERYONE, Artifact, Call, Context, Record, text_of

PEOPLE = [f"p{n}" for n in range(8)]
THINGS = "sea rain lamp stone fern glass".split()


def planted(user, rng, n=36):
    """Notes on the same things under two tags; only those under one of them help."""
    out = []
    for at in range(n):
        tag = ("alpha", "omega")[int(rng.integers(2))]
        about = " ".join(rng.choice(THINGS, 3))
        note = Record.new(user, f"{tag} note {about} {at}", time=1e9 + at, input=about, kind="content")
        out.append(note)
    return out


def worth(call, text):
    """The right text is likelier by 20 nats after a note under 'alpha', and unlikelier by 20 after another one."""
    before = text_of(call.messages[-1])
    return -50.0 + 20.0 * ("alpha note" in before) - 20.0 * ("omega note" in before)


def world(tmp_path, people=PEOPLE):
    store, rng = open_store(tmp_path, HashEmbedder()), np.random.default_rng(5)
    for user in people:
        store.add(planted(user, rng))
    model = ScriptedBackend(scores=worth)
    model.count_tokens = len
    ctx = Context(model, lambda: 2e9, np.random.default_rng(0), store.embedder, tokens=3000)
    return store, ctx, [StoredUser(store, user) for user in people]


def asked(thing):
    return Call(({"role": "user", "content": thing},))


def best(items):
    return max(items, key=lambda item: item.score)


@pytest.mark.parametrize("objective", ["distillation", "reward", "calibrated"])
def test_only_what_helps_comes_first_for_people_it_never_saw(tmp_path, objective):
    store, ctx, users = world(tmp_path)
    method = Usefulness(objective)
    (artifact,) = method.fit(users[:6], ctx)
    assert artifact.user_id == EVERYONE
    assert set(artifact.people) == set(PEOPLE[:6])
    store.put_artifacts([artifact])
    first = before = 0
    for user in PEOPLE[6:]:
        for thing in THINGS:
            person = StoredUser(store, user)
            call = method.apply(asked(thing), person, ctx)
            first += "alpha note" in best(call.context[0].items).text
            before += "alpha note" in find(person, thing, 1)[0].record.output
            assert call.used[-1].id == artifact.id
    assert first == 12
    assert before < 12


def test_without_anything_learnt_it_is_the_search(tmp_path):
    _, ctx, users = world(tmp_path, PEOPLE[:1])
    items = Usefulness(k=5).apply(asked("sea fern"), users[0], ctx).context[0].items
    found = find(users[0], "sea fern", 5)
    assert [(item.used.id, item.score) for item in items] == [(hit.record.id, hit.score) for hit in found]


def test_an_untrained_scorer_ranks_as_the_search_does(tmp_path):
    _, ctx, users = world(tmp_path, PEOPLE[:1])
    hits = find(users[0], "sea fern", 16)
    seen = see("sea fern", hits, ctx.embedder)
    scorer = Scorer.untrained(Batch.of([seen], [np.zeros(len(hits))]), 4, 0, 1.0, "")
    values = scorer.of(seen)
    assert all(values[:-1] >= values[1:] - 1e-12)
    again = Scorer.unpack(scorer.pack())
    np.testing.assert_allclose(again.of(seen), values, atol=1e-4)


def test_the_calibrated_score_foretells_whether_anything_helps(tmp_path):
    """The area under the curve of the best score against whether the best record really helps."""
    _, ctx, users = world(tmp_path)
    scorer = Scorer.unpack(next(Usefulness("calibrated").fit(users[:6], ctx)).payload)
    rng, helped, missed = np.random.default_rng(1), [], []
    for user in users[6:]:
        hits = find(user, "sea rain lamp", 36)
        for _ in range(40):
            some = [hits[n] for n in rng.choice(len(hits), 3, replace=False)]
            real = any(hit.record.output.startswith("alpha") for hit in some)
            (helped if real else missed).append(float(scorer.of(see("sea rain lamp", some, ctx.embedder)).max()))
    assert len(missed) > 3
    above = np.array(helped)[:, None] > np.array(missed)[None]
    assert above.mean() > 0.9


def test_where_nothing_is_expected_to_help_the_call_stays_as_it_is(tmp_path):
    store, ctx, users = world(tmp_path)
    method = Usefulness("calibrated")
    (artifact,) = method.fit(users, ctx)
    store.put_artifacts([artifact])
    call = asked("sea")
    kept = method.apply(call, StoredUser(store, "p0"), ctx).context[0].items
    assert all("alpha note" in item.text for item in kept)
    assert all(item.used.parts["gain"] >= 0 for item in kept)
    assert replace(method, threshold=1e6).apply(call, StoredUser(store, "p0"), ctx) is call


def test_what_another_model_or_embedder_taught_is_left_alone(tmp_path):
    store, ctx, users = world(tmp_path, PEOPLE[:3])
    method = Usefulness()
    store.put_artifacts(method.fit(users, ctx))
    user = StoredUser(store, "p0")
    plain = Usefulness().apply(asked("sea"), StoredUser(open_store(tmp_path / "x"), "p0"), ctx)
    assert plain == asked("sea")
    assert method.apply(asked("sea"), user, ctx).used
    assert not method.apply(asked("sea"), user, replace(ctx, embedder=HashEmbedder("other"))).used
    other = ScriptedBackend(scores=worth)
    other.fingerprint = "another"
    assert not method.apply(asked("sea"), user, replace(ctx, model=other)).used


def test_rows_that_are_all_alike_teach_no_order(tmp_path):
    _, ctx, users = world(tmp_path, PEOPLE[:3])
    flat = replace(ctx, model=ScriptedBackend(scores=lambda call, text: -1.0))
    assert list(Usefulness().fit(users, flat)) == []


def test_the_reward_is_what_exceeds_the_searchs_first():
    assert rewarded(np.array([[0.5, 1.0, 0.25]])).tolist() == [[0.0, 0.5, -0.25]]


def test_slopes_agree_with_differences(tmp_path):
    _, ctx, users = world(tmp_path, PEOPLE[:2])
    rows = [row for _, some in table(users, ctx, replays=3, candidates=5) for row in some]
    batch = Batch.of([see(r.replay.call.query, r.hits, ctx.embedder) for r in rows], [r.gains for r in rows])
    scorer = Scorer.untrained(batch, 2, 0, 1.0, "")
    rng = np.random.default_rng(3)
    at = {name: value + rng.normal(size=value.shape) / 9 for name, value in scorer.parameters.items()}

    def loss(parameters):
        return float(distill(scorer.scores(batch, parameters), batch.gains, 20.0, batch.mask)[0].sum())

    slopes = scorer.slopes(batch, at, distill(scorer.scores(batch, at), batch.gains, 20.0, batch.mask)[1])
    for name, place in (("weights", (FEATURES.index("dense"),)), ("bias", (0,)), ("left", (4, 1)), ("right", (7, 0))):
        up, down = ({k: v.copy() for k, v in at.items()} for _ in range(2))
        up[name][place] += 1e-5
        down[name][place] -= 1e-5
        assert slopes[name][place] == pytest.approx((loss(up) - loss(down)) / 2e-5, abs=1e-6)


def test_fitting_twice_gives_the_same_artifact(tmp_path):
    _, ctx, users = world(tmp_path, PEOPLE[:3])
    for objective in ("distillation", "reward", "calibrated"):
        one, two = (list(Usefulness(objective).fit(users, ctx)) for _ in range(2))
        assert one == two
        assert isinstance(one[0], Artifact)


def test_without_an_embedder_what_the_search_knows_is_learnt_from(tmp_path):
    store, ctx, _ = world(tmp_path, PEOPLE[:3])
    plain = replace(ctx, embedder=None)
    store.put_artifacts(Usefulness().fit([StoredUser(store, user) for user in PEOPLE[:3]], plain))
    assert Usefulness().apply(asked("sea"), StoredUser(store, "p0"), plain).used
