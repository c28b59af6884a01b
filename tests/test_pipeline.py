from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice

import pytest

from helpers import HashEmbedder, open_store, say
from idiolect import registry
from idiolect.backends.toy import ToyBackend
from idiolect.config import Settings
from idiolect.errors import ConfigError, NotFound, Stopped, UnknownName, UnsupportedCall, UpstreamError
from idiolect.pipeline import Idiolect
from idiolect.store.finishing import Finished, keep_finished
from idiolect.store.sharing import share
from idiolect.turns import dump
from idiolect.types import Artifact, Block, Body, Call, Choose, Item, Turn, Used


@pytest.fixture
def app(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    store.add(
        [
            say("ana", t, 1e9 + i * 1e5)
            for i, t in enumerate(("saffron rice is my favourite", "the lake was cold", "trains are late"))
        ]
    )
    return Idiolect(
        store, ToyBackend(), Settings(methods=("memory", "retrieval")), clock=lambda: 1.5e9, backend_name="toy"
    )


def test_a_question_is_answered_traced_and_explained(app):
    answer = app.ask("what is my favourite rice", "ana")
    trace = app.trace(answer.trace_id)
    assert trace["answer"] == answer.text
    assert trace["messages"][-1]["content"].endswith("what is my favourite rice")
    assert trace["base"] == [{"role": "user", "content": "what is my favourite rice"}]
    assert [u["id"] for u in trace["used"]] == [u.id for u in answer.used]
    assert {"bm25", "dense"} <= set(trace["used"][-1]["parts"]) | set(trace["used"][0]["parts"])


def test_influence_is_the_change_of_the_log_likelihood_when_a_thing_is_left_out(app):
    trace_id = app.ask("what is my favourite rice", "ana").trace_id
    trace = app.trace(trace_id)
    trace["answer"] = "saffron"
    keep_finished(app.store, [Finished("ana", 0, "ab" * 16, dump(trace))], 0.0)
    effects = app.influence("ab" * 16)
    assert len(effects) == 3
    assert "saffron" in effects[0].used["text"]
    assert effects[0].effect > max(0.1, effects[1].effect)
    assert effects == sorted(effects, key=lambda e: -e.effect)


def test_the_trace_rebuilds_the_very_prompt_that_was_sent(app):
    from idiolect.tracing import rebuild

    app.store.add([say("ana", "I like tea.", 1e9, kind="profile")])
    app.fit("profile", ["ana"])
    app.store.add([say("ana", "I like rice too.", 1e9, kind="profile")])
    answer = app.ask("tea or rice?", "ana", methods=["profile", "memory", "retrieval"])
    trace = app.trace(answer.trace_id)
    assert list(rebuild(trace, leave_out=None)) == trace["messages"]
    assert len({u["slot"] for u in trace["used"]}) == 3


def test_influence_needs_log_probabilities(app):
    trace_id = app.ask("rice?", "ana").trace_id
    app.backend.supports = frozenset()
    with pytest.raises(UnsupportedCall, match="logprobs"):
        app.influence(trace_id)


def test_a_request_may_name_its_own_methods(app):
    assert app.ask("rice?", "ana", methods=[]).used == ()
    assert app.ask("rice?", "ana", methods=[{"name": "retrieval", "k": 1}]).used[0].method == "retrieval"
    with pytest.raises(UnknownName, match="Did you mean 'retrieval'"):
        app.ask("rice?", "ana", methods=["retreival"])
    with pytest.raises(ConfigError, match="setting of 'retrieval' named 'kk'"):
        app.ask("rice?", "ana", methods=[{"name": "retrieval", "kk": 1}])
    with pytest.raises(ConfigError, match=r"retrieval\.k"):
        app.ask("rice?", "ana", methods=[{"name": "retrieval", "k": "many"}])


def test_fit_of_a_method_that_learns_nothing_says_so(app):
    with pytest.raises(ConfigError, match="learns nothing offline"):
        app.fit("retrieval", ["ana"])


def test_traces_of_an_erased_person_are_gone(app):
    trace_id = app.ask("rice?", "ana").trace_id
    receipt = app.erase("ana")
    assert receipt.removed["records"] == 4  # the exchange too
    assert receipt.removed["traces"] == 1
    with pytest.raises(NotFound):
        app.trace(trace_id)


def test_a_failed_background_job_is_counted_and_the_next_one_runs(app, caplog):
    done = []
    app.worker.submit(lambda: 1 / 0)
    app.worker.submit(lambda: done.append(1))
    app.drain()
    assert done == [1]
    assert app.worker.failures == {"ZeroDivisionError": 1}
    assert "ZeroDivisionError" in caplog.text


def test_logs_hold_no_user_text(app, caplog):
    caplog.set_level("DEBUG")
    app.ask("my secret is saffron", "ana")
    app.worker.submit(lambda: (_ for _ in ()).throw(ValueError("my secret is saffron")))
    app.drain()
    assert "saffron" not in caplog.text


def test_the_query_is_embedded_once_however_many_methods_ask(app):
    before = app.store.embedder.calls
    app.plan(Call(({"role": "user", "content": "rice"},)), "ana", methods=["memory", "retrieval"])
    assert app.store.embedder.calls == before + 1


def test_an_erasure_by_another_process_outlives_an_answer_under_way(app, tmp_path):
    plan = app.plan(Call(({"role": "user", "content": "I like rice"},)), "ana")
    other = open_store(tmp_path, HashEmbedder())
    Idiolect(other, ToyBackend(), Settings()).erase("ana")
    app.finish(plan, plan.call.messages, app.backend.generate([plan.call])[0])
    app.drain()
    assert other.users() == []
    assert open_store(tmp_path).users() == []


@dataclass(frozen=True)
class Drafts:
    """Answer with and without the newest record, and keep the longer answer."""

    def apply(self, call, user, ctx):
        item = Item(user.history[-1].output, Used("record", user.history[-1].id, "drafts", "newest"))
        with_it = call.add(Block("newest", "Newest:", (item,)))
        return replace(call, choose=Choose(1, lambda drafts: [len(draft) for draft in drafts], (call, with_it)))


def test_what_shaped_the_drafts_that_are_chosen_among_is_traced(app, monkeypatch):
    registry.methods.names()
    info = {"level": "input", "paper": "none", "needs": ("choose",), "fit_needs": (), "peers": False, "together": False}
    monkeypatch.setitem(registry.methods._entries, "drafts", registry.Entry("drafts", Drafts, info))
    answer = app.ask("what was cold?", "ana", methods=["drafts"])
    newest = max(app.store.all_records("ana"), key=lambda record: record.time)
    assert [(used["id"], used["text"]) for used in app.trace(answer.trace_id)["used"]] == [(newest.id, newest.output)]


def test_a_method_that_the_backend_cannot_fit_is_not_fitted_after_a_turn(app):
    app.ask("what was cold?", "ana", methods=["retrieval"])
    turn = Turn(({"role": "user", "content": "hello"},), "hi", app.clock())
    app.observe(turn, "ana", app.methods(["style_vector"]))  # needs hidden states, which the toy has not
    assert app.store.artifacts("ana") == []
    with pytest.raises(UnsupportedCall, match="inside"):
        app.fit("style_vector", ["ana"])


def test_yesterday_is_the_day_before_the_clock_of_the_house(app):
    yesterday, earlier = 1.5e9 - 86400, 1.5e9 - 3 * 86400
    app.store.add([say("ana", "saw a long film", yesterday, "a"), say("ana", "saw a film", earlier, "b")])
    call = Call(({"role": "user", "content": "which film did I see yesterday"},))
    found = {
        u.text.split(": ")[-1]: u.parts.get("date", 0) for u in app.plan(call, "ana", methods=["retrieval"]).call.used
    }
    assert (found["saw a long film"] > 0, found["saw a film"]) == (True, 0)


@dataclass(frozen=True)
class Trainer:
    """Train two people at a time; write down what it saw."""

    seen: list = field(default_factory=list)

    def apply(self, call, user, ctx):
        return call

    def fit(self, users, ctx):
        drawn = iter(users)
        while some := list(islice(drawn, 2)):
            self.seen.append([user.id for user in some])
            for user in some:
                if ctx.progress is not None:
                    ctx.progress(len(self.seen), 0)
                yield self.artifact(user, ctx)

    def artifact(self, user, ctx):
        ids = [record.id for record in user.history]
        body = Body.of(user.id.encode())
        return Artifact.new(user.id, "adapter", method="trainer", payload=b"{}", record_ids=ids, time=1.0, body=body)


@pytest.fixture
def trainer(app, monkeypatch):
    """Return a function that registers a method; there are four people besides ana."""
    app.store.add([say(f"p{n}", f"{n} likes tea", 1e9) for n in range(4)])

    def register(method=None, batched=False):
        method = method or Trainer()
        registry.methods.names()
        info = {"fit_needs": (), "peers": False, "together": False, "batched": batched}
        entry = registry.Entry("trainer", type(method), info)
        monkeypatch.setitem(registry.methods._entries, "trainer", entry)
        monkeypatch.setattr(registry, "make_method", lambda spec: ("trainer", method))
        return method

    return register


PEOPLE = ["ana", "p0", "p1", "p2", "p3"]


def test_a_fit_sees_all_people_lazily_and_progress_is_told_as_they_are_drawn(app, trainer):
    method, told = trainer(), []

    def tell(done, total):
        told.append((done, total, sum(bool(app.store.artifacts(user)) for user in PEOPLE)))

    assert app.fit("trainer", PEOPLE, tell) == 5
    assert method.seen == [["ana", "p0"], ["p1", "p2"], ["p3"]]
    assert told == [(1, 5, 0), (2, 5, 2), (3, 5, 2), (4, 5, 4), (5, 5, 4)]
    assert app.store.artifacts("p3")[0].body.read() == b"p3"


def test_a_batched_method_tells_progress_itself(app, trainer):
    trainer(batched=True)
    told = []
    app.fit("trainer", PEOPLE, lambda done, total: told.append((done, total)))
    assert told == [(1, 0), (1, 0), (2, 0), (2, 0), (3, 0)]


def test_what_was_yielded_before_a_fit_ended_stays(app, trainer):
    @dataclass(frozen=True)
    class Killed(Trainer):
        def artifact(self, user, ctx):
            if user.id == "p2":
                app.stopping.set()
            ctx.check()
            return super().artifact(user, ctx)

    trainer(Killed())
    with pytest.raises(Stopped):
        app.fit("trainer", PEOPLE)
    assert [bool(app.store.artifacts(user)) for user in PEOPLE] == [True, True, True, False, False]


def test_what_was_deleted_while_it_was_learnt_from_is_not_kept(app, trainer):
    @dataclass(frozen=True)
    class Late(Trainer):
        def artifact(self, user, ctx):
            made = super().artifact(user, ctx)
            if user.id == "p0":
                app.erase("p0")
            if user.id == "p1":
                app.store.delete("p1", [made.record_ids[0]])
            return made

    trainer(Late())
    assert app.fit("trainer", PEOPLE) == 3
    assert app.store.artifacts("p1") == []
    assert "p0" not in {info.id for info in app.store.users()}


def test_a_fit_keeps_unfinished_work_of_this_method_and_model_alone(app, trainer, monkeypatch):
    found = []

    @dataclass(frozen=True)
    class Saving(Trainer):
        rank: int = 1

        def artifact(self, user, ctx):
            found.append(ctx.checkpoints.load(user.id))
            ctx.checkpoints.save(user.id, b"half done")
            return super().artifact(user, ctx)

    for method in (Saving(), Saving(), Saving(rank=2)):
        trainer(method)
        app.fit("trainer", ["ana"])
    monkeypatch.setattr(type(app.backend), "fingerprint", "another model")
    app.fit("trainer", ["ana"])
    assert found == [None, b"half done", None, None]
    assert app.context().checkpoints is None


class Holding(ToyBackend):
    def __post_init__(self):
        self.forgotten, self.reachable = [], True

    def forget(self, artifact_ids):
        if not self.reachable:
            raise UpstreamError("it does not answer")
        self.forgotten.append(sorted(artifact_ids))


@pytest.fixture
def holding(tmp_path):
    app = Idiolect(open_store(tmp_path), Holding(), Settings())
    app.store.add([say("ana", "one", 1.0), say("ben", "two", 1.0)])
    for user in ("ana", "ben"):
        share(app.store, user, True)
    return app


def weights(user, people=()):
    body = Body.of(b"weights")
    return Artifact.new(user, "adapter", method="m", payload=b"{}", record_ids=(), time=1.0, body=body, people=people)


def test_the_backend_lets_go_of_the_weights_of_what_was_deleted(holding):
    app, forgotten = holding, holding.backend.forgotten
    own, shaped, his = weights("ana"), weights("ana", ("ben",)), weights("ben")
    app.store.put_artifacts([own, shaped, his])
    assert forgotten == []
    share(app.store, "ben", False)
    app.erase("ben")
    app.store.delete_artifacts("ana", [own.id])
    assert forgotten == [[shaped.id], [his.id], [own.id]]


def test_a_backend_that_cannot_let_go_holds_up_no_erasure_and_is_told_again(holding, caplog):
    app, one, two = holding, weights("ana"), weights("ben")
    app.store.put_artifacts([one, two])
    app.backend.reachable = False
    assert app.erase("ana").key_destroyed
    assert app.store.artifacts("ana") == []
    assert "weights of 1 deleted artifacts" in caplog.text
    assert app.counters["forget.UpstreamError"] == 1
    app.backend.reachable = True
    app.store.delete_artifacts("ben", [two.id])
    assert app.backend.forgotten == [sorted([one.id, two.id])]
