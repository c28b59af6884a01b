from __future__ import annotations

import numpy as np
import pytest

from helpers import HashEmbedder, open_store
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.decoding.choosing import generate_chosen
from idiolect.errors import ConfigError
from idiolect.pipeline import Idiolect
from idiolect.prompting.facets import Facets
from idiolect.prompting.hydra import Hydra, one_hot
from idiolect.prompting.shared.feedback import Row
from idiolect.prompting.shared.heads import Examples, route, score, unpack
from idiolect.prompting.shared.pairs import Person, seen, spread_hits
from idiolect.prompting.shared.replay import Replay
from idiolect.store.sharing import share
from idiolect.store.view import StoredUser
from idiolect.types import EVERYONE, Call, Choose, Completion, Context, Hit, Record

BOTH = pytest.mark.parametrize("name", ["facets", "hydra"])
STYLES = {
    "ana": "ok nice {word} thx bye :)",
    "bob": "Dear Sir, I should like to remark that the {word} was, on the whole, of an excellent quality.",
    "cleo": "{word}!!! WOW!!! LOVE THIS {word}!!!",
}
WORDS = "lamp kettle chair bicycle radio carpet mirror drill tent camera blanket".split()


def history(user, n=36):
    """Reviews; each second one is marked as the kind that will help."""
    return [
        Record.new(
            user,
            STYLES[user].format(word=WORDS[i % 11]),
            time=1e9 + i * 1000,
            input=f"review of the {WORDS[i % 11]} {'helpful' if i % 2 == 0 else 'useless'} item {i}",
        )
        for i in range(n)
    ]


def helps(call, text):
    """A record with the right mark among the personal data makes everything likelier."""
    shown = call.messages[0]["content"] + call.messages[-1]["content"].split("</personal-data>")[0]
    return -1.0 if "personal-data" in shown and "helpful" in shown else -9.0


@pytest.fixture
def app(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    for user in STYLES:
        store.add(history(user))
        share(store, user, True)
    settings = Settings(methods=(), peers=PeersPolicy(texts=True, least=2))
    return Idiolect(store, ScriptedBackend(scores=helps), settings, clock=lambda: 2e9)


def asked(word="lamp"):
    return Call(({"role": "user", "content": f"review of the {word}"},), f"review of the {word}")


def fitted(app, name, **settings):
    app.fit({"name": name, **settings}, list(STYLES))
    return {"name": name, **settings}


@BOTH
def test_what_helped_others_is_ranked_first(app, name):
    spec = fitted(app, name, k=3)
    before = [hit.record.input for hit in StoredUser(app.store, "ana").search("review of the lamp", 3)]
    used = [u for u in app.plan(asked(), "ana", methods=[spec]).call.used if u.what == "record"]
    assert len(used) == 3
    assert all("helpful" in u.text for u in used)
    assert not all("helpful" in text for text in before)


@BOTH
def test_of_drafts_the_one_like_the_person_is_kept(app, name):
    spec = fitted(app, name, drafts=3)
    for user in STYLES:
        planned = app.plan(asked(), user, methods=[spec]).call
        assert planned.choose.n == 3
        drafts = [style.format(word="lamp") for style in STYLES.values()]
        made = generate_chosen([planned], lambda calls, drafts=drafts: [Completion(draft) for draft in drafts])
        assert made[0].text == STYLES[user].format(word="lamp")
        assert planned.choose.score(["", drafts[0]])[0] == -1e9


@BOTH
def test_only_one_method_chooses(app, name):
    spec = fitted(app, name, drafts=2)
    with pytest.raises(ConfigError, match="choose among drafts"):
        app.plan(Call(asked().messages, choose=Choose(2, len)), "ana", methods=[spec])


@BOTH
def test_another_model_or_embedder_has_learnt_nothing(app, name):
    spec = fitted(app, name)
    app.backend.fingerprint = "another"
    assert app.plan(asked(), "ana", methods=[spec]).call == asked()
    app.backend.fingerprint = "scripted"
    app.store.embedder = HashEmbedder("hash-2")
    assert app.plan(asked(), "ana", methods=[spec]).call == asked()
    app.store.embedder = None
    with pytest.raises(ConfigError, match="embedder"):
        app.fit(spec, list(STYLES))


@BOTH
def test_too_few_with_a_past_to_ask_about_is_an_error(app, name):
    for user in ("bob", "cleo"):
        app.store.delete(user, [record.id for record in history(user)])
    with pytest.raises(ConfigError, match="1 of 3 have any, at least 2"):
        app.fit(name, list(STYLES))


def test_facets_keep_nothing_for_each_person_and_serve_who_never_shared(app):
    spec = fitted(app, "facets")
    (artifact,) = app.store.artifacts(EVERYONE)
    assert artifact.people == ("ana", "bob", "cleo")
    assert not any(app.store.artifacts(user) for user in STYLES)
    size = len(artifact.payload)
    share(app.store, "cleo", False)
    app.fit(spec, list(STYLES))
    assert len(app.store.artifacts(EVERYONE)[0].payload) == size
    planned = app.plan(asked(), "cleo", methods=[spec]).call
    (routed,) = (u.parts for u in planned.used if u.what == "artifact")
    assert len(routed) == 3
    assert sum(routed.values()) == pytest.approx(1.0)
    assert all("helpful" in u.text for u in planned.used if u.what == "record")


def test_people_of_unlike_vectors_get_unlike_rankings_and_a_newcomer_that_of_the_like():
    rng = np.random.default_rng(3)
    kinds = np.array([1.0, -1.0] * 8)
    vectors = rng.normal(size=(16, 6)) * 0.1 + np.outer(kinds, np.ones(6))
    parts = []
    for kind in kinds:
        features = rng.normal(size=(40, 3))
        parts.append((features, (kind * features[:, 0] > 0).astype(np.float64)))
    method = Facets(decay=0.0)
    weights = method._train(Examples.join(parts), vectors)
    trial = np.array([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]])
    for kind in (1.0, -1.0):
        newcomer = route(weights, kind * np.ones((1, 6)), 3)[0]
        found = score(weights, trial, newcomer)
        assert np.sign(found[0] - found[1]) == kind


def test_heads_tell_people_apart_where_the_base_cannot():
    rng = np.random.default_rng(3)
    parts = []
    for kind in (1.0, -1.0):
        features = rng.normal(size=(80, 3))
        parts.append((features, (kind * features[:, 0] > 0).astype(np.float64)))
    method, joined = Hydra(), Examples.join(parts)
    base = method._base(joined)
    trial = np.array([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]])
    for place, kind in enumerate((1.0, -1.0)):
        head = method._head(base, joined.of(place))
        found = score({**base, "heads": np.concatenate([base["heads"], head])}, trial, np.ones(2))
        assert np.sign(found[0] - found[1]) == kind


def test_a_head_that_learnt_nothing_ranks_like_the_base_alone():
    rng = np.random.default_rng(4)
    examples = Examples.join([(rng.normal(size=(30, 5)), rng.random(30))])
    base = Hydra(steps=20)._base(examples)
    untrained = {**base, "heads": np.concatenate([base["heads"], np.zeros_like(base["heads"])])}
    one, two = score(untrained, examples.features, np.ones(2)), score(base, examples.features, np.ones(1))
    np.testing.assert_allclose(one, two, atol=1e-12)
    np.testing.assert_array_equal(np.argsort(one), np.argsort(two))


def test_hydra_has_a_head_for_each_who_shares_and_the_base_for_all_others(app):
    spec = fitted(app, "hydra", people=2)
    (base,) = app.store.artifacts(EVERYONE)
    assert unpack(base.payload)[1]["ranking"]["heads"].shape == (1, 17)
    for user in STYLES:  # cleo did not teach the base, but has a head
        (own,) = app.store.artifacts(user)
        assert {*own.people} == {*STYLES} - {user}
        assert own.record_ids
        used = app.plan(asked(), user, methods=[spec]).call.used
        assert {u.id for u in used if u.what == "artifact"} == {base.id, own.id}
    app.store.add([Record.new("dora", r.output, time=r.time, input=r.input) for r in history("ana")])
    used = app.plan(asked(), "dora", methods=[spec]).call.used
    assert {u.id for u in used if u.what == "artifact"} == {base.id}
    nets = unpack(base.payload)[1]
    assert all(len(net["heads"]) == 1 for net in nets.values())


def test_a_head_is_not_put_on_another_base(app):
    spec = fitted(app, "hydra")
    share(app.store, "bob", False)
    assert not app.store.artifacts("ana")  # bob's records had shaped the base it stood on
    app.fit(spec, ["ana", "cleo"])
    (own,) = app.store.artifacts("ana")
    app.store.delete_artifacts(EVERYONE, [a.id for a in app.store.artifacts(EVERYONE)])
    app.store.add(history("cleo", 40)[36:])
    app.fit(spec, ["ana", "cleo"])
    newest, old = app.store.artifacts("ana")
    assert old.id == own.id
    app.store.delete_artifacts("ana", [newest.id])
    used = app.plan(asked(), "ana", methods=[spec]).call.used
    assert own.id not in {u.id for u in used}
    assert used


def test_one_hot_mixes_the_base_and_ones_own_head():
    assert one_hot(np.array([1, 0]), 2).tolist() == [[1, 0, 1], [1, 1, 0]]


def test_candidates_come_from_different_groups_of_what_was_found(app):
    groups = ("blue tea cup", "old wooden boat", "very loud drum")
    app.store.add([Record.new("eve", f"{group} {i}", time=1e9 + i) for i in range(8) for group in groups])
    user = StoredUser(app.store, "eve")
    hits, vectors = spread_hits(user, "blue tea cup", HashEmbedder(), pool=30, clusters=3)
    assert len(hits) == len(vectors) == 3
    assert {hit.record.output[:-2] for hit in hits} == {*groups}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    few, _ = spread_hits(user, "blue tea cup", HashEmbedder(), pool=2, clusters=3)
    assert len(few) == 2


def test_targets_are_soft_and_false_answers_are_other_peoples_or_to_other_questions(app):
    embedder = HashEmbedder()
    table = []
    for user in ("ana", "bob"):
        records = history(user)
        rows = [
            Row(
                Replay(record, asked(), record.output),
                (Hit(records[0], 2.0), Hit(records[1], 1.0)),
                np.array([3.0, -1.0], np.float32),
                -5.0,
            )
            for record in records[-3:]
        ]
        table.append((StoredUser(app.store, user), rows))
    found = seen(table, Context(app.backend, lambda: 0.0, np.random.default_rng(0), embedder), "facets", 8)
    (features, targets), drafts = found[0].ranking, found[0].drafting
    assert len(features) == len(targets) == 6
    np.testing.assert_allclose(targets[:2], 1 / (1 + np.exp([-1.5, 0.5])))  # gains over their mean size, 2
    assert drafts[1].tolist() == [1, 0, 0, 0, 0, 0] * 3  # two other answers of ana's, three of bob's
    assert np.abs(drafts[0][0] - drafts[0][1:6]).sum(axis=1).min() > 0
    person = Person.of(StoredUser(app.store, "ana"), embedder, 8)
    np.testing.assert_allclose(np.linalg.norm(person.vector), 1.0)
    assert len(person.written) == 8
