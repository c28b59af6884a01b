"""One steering vector for each record, averaged over those that are like the question."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import HashEmbedder, InsideToy, open_store, say
from idiolect.config import Settings
from idiolect.pipeline import Idiolect
from idiolect.prompting.fints import weights_of
from idiolect.prompting.shared.vectors import unpack
from idiolect.registry import make_method
from idiolect.store.view import view
from idiolect.types import Call, Completion, Hit

TOPICS = ("bread", "boats", "birds", "books")
ASK = Call(({"role": "user", "content": "tell me of boats"},))


class Generic(InsideToy):
    """A toy that always says the same when it is left alone."""

    def generate(self, calls):
        return [Completion("certainly here is something about that") for _ in calls]


def house(path, users=("ana",)):
    store = open_store(path, HashEmbedder())
    for user in users:
        store.add(
            [say(user, f"oh {t} again, {user} says", 1e9 + i, kind="content", input=f"tell me of {t}")
             for i, t in enumerate(TOPICS)]
        )  # fmt: skip
    app = Idiolect(store, Generic(), Settings(methods=()), clock=lambda: 2e9, backend_name="toy")
    app.fit("fints", list(users))
    return app


def vectors_of(app, user="ana"):
    artifact = app.store.artifacts(user)[0]
    head, vectors = unpack(artifact.payload)
    return artifact, head, dict(zip(head["ids"], vectors, strict=True))


def test_a_vector_is_the_mean_state_of_the_answer_minus_that_of_the_generic_one(tmp_path):
    app = house(tmp_path)
    artifact, head, vectors = vectors_of(app)
    record = app.store.find("ana", artifact.record_ids[0])
    toy = Generic()
    ours, its = toy.activations([ASK] * 2, [record.output, "certainly here is something about that"], 2)
    np.testing.assert_allclose(vectors[record.id], ours.mean(axis=0) - its.mean(axis=0), atol=1e-6)
    assert (head["layer"], head["alike"]) == (2, 0)


def test_each_persons_artifact_holds_their_own_records_only(tmp_path):
    app = house(tmp_path, ("ana", "bob"))
    for user in ("ana", "bob"):
        artifact, _, vectors = vectors_of(app, user)
        assert set(vectors) == set(artifact.record_ids) == {r.id for r in app.store.all_records(user)}


def test_with_one_neighbour_it_is_that_records_vector(tmp_path):
    app = house(tmp_path)
    _, head, vectors = vectors_of(app)
    call = app.plan(ASK, "ana", methods=[{"name": "fints", "k": 1}]).call
    boats = next(r for r in app.store.all_records("ana") if "boats" in r.input)
    (one,) = call.steering
    np.testing.assert_array_equal(one.vector, vectors[boats.id])
    assert one.strength * np.linalg.norm(one.vector) == pytest.approx(0.1 * head["norm"])
    assert {used.id for used in call.used if used.what == "record"} == {boats.id}


def test_several_are_averaged_by_their_scores(tmp_path):
    app = house(tmp_path)
    _, _, vectors = vectors_of(app)
    hits = view(app.store, "ana").search(ASK.query, 3)
    weights = np.array([hit.score for hit in hits]) / sum(hit.score for hit in hits)
    (one,) = app.plan(ASK, "ana", methods=[{"name": "fints", "k": 3}]).call.steering
    expected = sum(w * vectors[hit.record.id] for w, hit in zip(weights, hits, strict=True))
    np.testing.assert_allclose(one.vector, expected, atol=1e-6)


def test_weights_sum_to_one():
    record = say("ana", "x", 1e9)
    for scores in ([3.0, 1.0], [0.0, 0.0], [0.5, -0.5], [2.0]):
        weights = weights_of([Hit(record, score) for score in scores])
        assert weights.sum() == pytest.approx(1.0)
        assert (weights >= 0).all()
    np.testing.assert_allclose(weights_of([Hit(record, 3.0), Hit(record, 1.0)]), [0.75, 0.25])


def test_a_deleted_record_takes_its_vector_with_it(tmp_path):
    app = house(tmp_path)
    method = make_method("fints")[1]
    assert not method.stale(view(app.store, "ana"))
    gone = next(r for r in app.store.all_records("ana") if "boats" in r.input)
    app.store.delete("ana", [gone.id])
    assert app.plan(ASK, "ana", methods=["fints"]).call is ASK
    assert method.stale(view(app.store, "ana"))
    app.fit("fints", ["ana"])
    assert gone.id not in vectors_of(app)[2]
    assert app.plan(ASK, "ana", methods=["fints"]).call.steering


def test_what_the_model_would_say_too_gets_no_vector(tmp_path):
    app = house(tmp_path)
    app.store.add([say("ana", "certainly here is something about that", 1e9 + 9, kind="content", input="boats boats")])
    app.fit("fints", ["ana"])
    _, head, vectors = vectors_of(app)
    assert (head["alike"], len(vectors)) == (1, 4)
    call = app.plan(ASK, "ana", methods=["fints"]).call  # it is shown all the same
    assert "certainly here" in str(call.messages)


def test_where_all_are_alike_the_records_are_shown_and_nothing_is_steered(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    store.add([say("ana", "certainly here is something about that", 1e9, kind="content", input="boats")])
    app = Idiolect(store, Generic(), Settings(methods=()), clock=lambda: 2e9, backend_name="toy")
    app.fit("fints", ["ana"])
    call = app.plan(ASK, "ana", methods=["fints"]).call
    assert call.steering == ()
    assert "certainly here" in str(call.messages)
    assert not make_method("fints")[1].stale(view(store, "ana"))


def test_the_same_question_asked_twice_keeps_two_vectors(tmp_path):
    app = house(tmp_path)
    app.store.add([say("ana", "boats? my favourite thing", 1e9 + 20, kind="content", input="tell me of boats")])
    app.fit("fints", ["ana"])
    assert len(vectors_of(app)[2]) == 5
