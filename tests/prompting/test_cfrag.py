"""CFRAG: people alike, records ranked by question and person, a map of people learnt by contrast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.backends.toy import ToyBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.pipeline import Idiolect
from idiolect.prompting.cfrag import Cfrag
from idiolect.prompting.shared.distillation import softmax
from idiolect.prompting.shared.user_encoder import UserEncoder, info_nce, train, views
from idiolect.store.sharing import share
from idiolect.store.view import view
from idiolect.types import EVERYONE, Artifact, Call

TASTES = {"ana": "tea cake lakes", "bob": "tea cake lakes", "cleo": "tea engines", "dora": "engines oil noise"}
ASKED = Call(({"role": "user", "content": "which cake"},))


@pytest.fixture
def app(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    for user, taste in TASTES.items():
        store.add([say(user, f"{taste} {user}{n}", 1e9 + n, meta={"score": n}) for n in range(6)])
        share(store, user, True)
    return Idiolect(store, ToyBackend(), Settings(peers=PeersPolicy(texts=True, least=2)), clock=lambda: 2e9)


def hits(app, user="ana", call=ASKED, **settings):
    blocks = Cfrag(**settings).apply(call, view(app.store, user), app.context()).context
    return sorted((item for block in blocks for item in block.items), key=lambda item: -item.score)


def test_w_0_is_plain_dense_order(app):
    found = hits(app, w=0.0, k=99)
    vectors = app.store.embedder.embed(["which cake", *(item.text for item in found)])
    cosines = vectors[1:] @ vectors[0]
    assert np.array_equal(np.argsort(-cosines, kind="stable"), np.arange(len(found)))
    assert [item.score for item in found] == pytest.approx(cosines.tolist(), abs=1e-6)


def test_the_score_is_question_and_person_by_w(app):
    person = app.peers.vector(view(app.store, "ana"))
    for item in hits(app, w=0.3, k=99):
        query, record = app.store.embedder.embed(["which cake", item.text])
        assert item.used.parts["person"] == pytest.approx(float(record @ person), abs=1e-5)
        assert item.score == pytest.approx(0.7 * float(query @ record) + 0.3 * float(record @ person), abs=1e-5)


def test_the_nearest_people_are_asked_and_called_others(app):
    blocks = Cfrag(n=1, k=99).apply(ASKED, view(app.store, "ana"), app.context()).context
    assert [block.slot for block in blocks] == ["cfrag", "cfrag_others"]
    assert {item.used.owner for item in blocks[0].items} == {""}
    assert {item.used.owner for item in blocks[1].items} == {"bob"}
    assert "not this person's own words" in blocks[1].title
    assert (len(blocks[0].items), len(blocks[1].items)) == (5, 5)


def test_no_record_stands_twice_and_k_is_over_all(app):
    ids = [item.used.id for item in hits(app, k=99)]
    assert len(ids) == len(set(ids)) == 4 * 5
    assert len(hits(app, k=7)) == 7


def test_a_withdrawal_removes_all_records_of_a_neighbour(app):
    assert "bob" in {item.used.owner for item in hits(app)}
    share(app.store, "bob", False)
    assert "bob" not in {item.used.owner for item in hits(app, k=99)}


def test_without_people_alike_the_own_records_remain(app):
    for user in TASTES:
        share(app.store, user, False)
    assert {item.used.owner for item in hits(app)} == {""}
    ctx = app.context()
    alone = Cfrag().apply(ASKED, view(app.store, "ana"), replace(ctx, embedder=None, peers=None))
    assert len(alone.context[0].items) == 5


def test_a_records_own_score_is_not_the_ranking_score(app):
    for item in hits(app, user="bob", n=0):
        record = app.store.find("bob", item.used.id)
        assert record.meta["score"] == int(record.output[-1])
        assert item.text == record.output


def test_two_people_with_other_topics_are_told_apart(app):
    rng = np.random.default_rng(1)
    common = rng.normal(size=16) * 3
    topics = [common + 2 * np.eye(16)[n] for n in range(4)]
    people = [(topic + 0.3 * rng.normal(size=(20, 16))).astype(np.float32) for topic in topics]
    encoder = train(people, "e", steps=150, rate=0.01, seed=0)
    fresh = [views(vectors, np.random.default_rng(9)) for vectors in people]
    same = [encoder.similarity(a, b) for a, b in fresh]
    cross = [encoder.similarity(a, fresh[m][1]) for n, (a, _) in enumerate(fresh) for m in range(4) if m != n]
    assert min(same) > max(cross) + 0.2
    assert encoder.losses[1] < 0.5 * encoder.losses[0]
    again = UserEncoder.load(encoder.dump())
    assert np.array_equal(again.matrix, encoder.matrix)
    assert (again.embedder, again.losses) == (encoder.embedder, encoder.losses)


def test_the_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(2)
    one, other, matrix = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), rng.normal(size=(4, 4))
    _, gradient = info_nce(matrix, one, other)
    for at in ((0, 0), (1, 3), (3, 2)):
        step = np.zeros((4, 4))
        step[at] = 1e-6
        slope = (info_nce(matrix + step, one, other)[0] - info_nce(matrix - step, one, other)[0]) / 2e-6
        assert gradient[at] == pytest.approx(slope, rel=1e-4)


def test_the_loss_by_hand():
    eye = np.eye(2)
    loss, _ = info_nce(eye, eye, eye)  # cosines 1 and 0 over 0.1
    assert loss == pytest.approx(np.log1p(np.exp(-10)))
    assert softmax(np.array([0.4, 0.3, 0.2]) / 0.1) == pytest.approx([0.665, 0.245, 0.090], abs=5e-4)


def test_the_map_is_learnt_from_all_who_share_and_chooses_the_neighbours(app):
    share(app.store, "dora", False)
    assert app.fit({"name": "cfrag", "steps": 5}, list(TASTES)) == 1
    (artifact,) = app.store.artifacts(EVERYONE)
    assert artifact.people == ("ana", "bob", "cleo")
    assert artifact.time == 1e9 + 5
    learnt = UserEncoder.load(artifact.payload)
    assert learnt.embedder == app.store.embedder.fingerprint
    assert {item.used.owner for item in hits(app, n=1, k=99)} == {"", "bob"}
    # A map under which bob is ana's opposite and cleo her like.
    means = np.stack([app.peers.vector(view(app.store, user)) for user in ("ana", "bob", "cleo")])
    apart = np.linalg.lstsq(means, np.array([1.0, -1.0, 1.0]), rcond=None)[0]
    other = UserEncoder(np.outer(apart, apart).astype(np.float32), learnt.embedder)
    made = Artifact.new(EVERYONE, "encoder", method="cfrag", payload=other.dump(), record_ids=(), time=1.5e9)
    app.store.put_artifacts([made])
    assert {item.used.owner for item in hits(app, n=1, k=99)} == {"", "cleo"}
    assert {item.used.owner for item in hits(app, n=1, k=99, encoder="mean")} == {"", "bob"}


def test_nothing_is_learnt_without_an_embedder_or_with_one_person(app):
    people = [view(app.store, user) for user in TASTES]
    assert list(Cfrag(encoder="mean").fit(people, app.context())) == []
    assert list(Cfrag().fit(people[:1], app.context())) == []
    ctx = app.context()
    assert list(Cfrag().fit(people, replace(ctx, embedder=None, peers=None))) == []
