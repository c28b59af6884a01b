"""PGraphRAG: own records, others' records about the same thing, counts where texts are not allowed."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.backends.toy import ToyBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.pipeline import Idiolect
from idiolect.prompting.graph import Graph
from idiolect.prompting.shared.likeness import cosines
from idiolect.store.sharing import share
from idiolect.store.view import view
from idiolect.types import Call

PEOPLE = ("ana", "bob", "cleo", "dora")
ASKED = Call(({"role": "user", "content": "review of the film alien"},), item="alien")


def review(user, item, text, time):
    return say(user, text, time, kind="content", input=f"review of the film {item}", meta={"item": item})


@pytest.fixture(params=[HashEmbedder, lambda: None], ids=["vectors", "words"])
def house(request, tmp_path):
    def build(**policy):
        store = open_store(tmp_path, request.param())
        store.add([review("ana", item, f"my film {item} so slow", 1e9 + n) for n, item in enumerate(("heat", "alien"))])
        store.add([review(u, "alien", "scary", 1e9 + 10 + n) for n, u in enumerate(("bob", "cleo", "dora"))])
        store.add([review("dora", "alien", "the film alien", 1e9 + 20)])
        store.add([review("bob", "heat", "long talks", 1e9 + 30)])
        for user in PEOPLE:
            share(store, user, True)
        allowed = PeersPolicy(**{"texts": True, "least": 2, **policy})
        return Idiolect(store, ToyBackend(), Settings(peers=allowed), clock=lambda: 2e9)

    return build


def planned(app, user="ana", call=ASKED, tokens=4000, **settings):
    return app.plan(call, user, methods=[{"name": "graph", **settings}], tokens=tokens).call


def owners(call):
    return sorted(used.owner for used in call.used)


def test_own_records_and_others_about_the_thing_but_not_the_edge_asked_for(house):
    call = planned(house())
    own = [used.text for used in call.used if not used.owner]
    assert own == ["review of the film heat → my film heat so slow"]
    others = [used for used in call.used if used.owner]
    assert {used.owner for used in others} <= {"bob", "cleo", "dora"}
    assert not any("long talks" in used.text for used in others)
    prompt = str(call.messages)
    assert prompt.index("own records") < prompt.index("not this person's own words")


def test_the_modes(house):
    app = house()
    assert set(owners(planned(app, mode="own"))) == {""}
    assert "" not in owners(planned(app, mode="others"))
    assert owners(planned(app, k=1)) == ["", "dora"]  # the one most like the question


def test_somebody_without_history_gets_others_only(house):
    assert "" not in owners(planned(house(), "nobody"))
    assert planned(house(), "nobody", Call(ASKED.messages)) == Call(ASKED.messages)
    assert planned(house(), "nobody", mode="own") == ASKED


def test_without_a_thing_or_without_peers_only_the_own(house):
    assert owners(planned(house(), call=Call(ASKED.messages))) == ["", ""]


def test_where_texts_are_not_allowed_counts_over_enough_people_stand_for_them(house):
    call = planned(house(texts=False), mode="others")
    (used,) = call.used
    assert used.text == "Others gave: 3 x scary"
    assert (used.what, used.id, used.owner, used.parts) == ("artifact", "counts:alien", "", {"scary": 3.0})
    assert planned(house(texts=False), mode="others", counts=False) == ASKED
    assert planned(house(texts=False, least=4), mode="others") == ASKED


def test_two_people_who_wrote_the_same_are_two_candidates(house):
    app = house()
    own, others = Graph().apply(ASKED, view(app.store, "ana"), app.context()).context
    assert [own.slot, others.slot] == ["graph", "graph_others"]
    assert sorted(i.used.owner for i in others.items if i.text.endswith("→ scary")) == ["bob", "cleo", "dora"]


@pytest.mark.parametrize("embedder", [HashEmbedder(), None])
def test_query_and_documents_take_one_path(embedder):
    texts = ["tea and cake", "cake", "engines roar", "tea and cake"]
    found = cosines("tea and cake", texts, embedder)
    assert found[0] == found[3] == pytest.approx(1.0)
    assert found[0] > found[1] > found[2]
    assert np.array_equal(found, cosines("tea and cake", texts, embedder))
    assert cosines("tea", [], embedder).shape == (0,)
    assert cosines("", ["tea", ""], embedder).tolist() == [0.0, 0.0]


def test_term_weights_by_hand():
    # "cake" stands in all three texts, "tea" in two: idf ln(1 + 3/3) and ln(1 + 3/2)
    cake, tea = np.log(2.0), np.log(2.5)
    expected = [1.0, cake / np.hypot(cake, tea)]
    assert cosines("tea cake", ["cake tea", "cake"]) == pytest.approx(expected, abs=1e-6)
