"""The way of one request: fold the methods over the call, refuse early, write the prompt, answer, learn, explain."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from pathlib import Path
from typing import Any

import numpy as np

from idiolect import config, registry
from idiolect.config import MethodSpec, Settings
from idiolect.errors import ConfigError, NotFound, Stopped, UnsupportedCall
from idiolect.journal import Journal
from idiolect.letting_go import LettingGo
from idiolect.memory.feedback import Feedback
from idiolect.memory.rating import rated
from idiolect.opening import helper_of, open_store
from idiolect.prompting.assembly import Named, personalize
from idiolect.store.checkpoints import StoredCheckpoints
from idiolect.store.erase import Receipt, erase
from idiolect.store.finishing import Finished, Waiting, claim, keep_finished, put_back
from idiolect.store.peers import Policy, StorePeers
from idiolect.store.sharing import held, permitted, sharing
from idiolect.store.store import Store
from idiolect.store.view import Views, view
from idiolect.tracing import rebuild, trace_of
from idiolect.turns import dump, plain_turn, read_turn, use_of
from idiolect.types import (
    Artifact,
    Backend,
    Call,
    Completion,
    Context,
    Fits,
    Learnt,
    Message,
    Method,
    Observes,
    Places,
    Proves,
    Record,
    Sampling,
    Turn,
    Used,
    User,
)
from idiolect.worker import Worker

log = logging.getLogger("idiolect")

CLOSE_SECONDS = 60.0
"""So long the turns that wait are still learnt from when the house is closed; the others keep till the next time."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A personalized call, ready for the backend, and the trace of how it came about."""

    call: Call
    trace_id: str
    trace: dict[str, Any]
    user: str
    methods: tuple[Named, ...] = ()
    number: int = 0
    """The user's number in the store when it was planned, 0 for a user who was not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer with what shaped it."""

    text: str
    trace_id: str
    used: tuple[Used, ...]
    completion: Completion


@dataclass(frozen=True, slots=True)
class Influence:
    """How much one thing mattered: the change [nats] of the answer's log likelihood when it is left out."""

    used: dict[str, Any]
    effect: float


@dataclass
class Idiolect:
    """The library's front door: a store, a backend and the default methods."""

    store: Store
    backend: Backend
    settings: Settings
    clock: Callable[[], float] = time.time
    backend_name: str = ""
    counters: Counter[str] = field(default_factory=Counter)
    worker: Worker = field(default_factory=Worker)
    helper: Backend | None = None
    """Another model that writes and judges for the one that answers."""
    prover: Worker = field(default_factory=Worker)
    """Measures, apart from the worker: nothing else waits for it."""
    stopping: threading.Event = field(default_factory=threading.Event)
    proving: bool = False
    """Whether methods measure anew by themselves, in the background, once enough records have come."""

    def __post_init__(self) -> None:
        self.store.dropped = self._let_go = LettingGo(getattr(self.backend, "forget", None), self.counters)
        policy = self.settings.peers
        self.peers = StorePeers(self.store, Policy(policy.texts, policy.least), asked=lambda: self.clock())
        self.journal = Journal[Finished](self._write_down)
        self._closed_at = float("inf")

    @staticmethod
    def open(
        path: str | Path | None = None,
        *,
        ask: Callable[[str], str] | None = None,
        **overrides: Any,
    ) -> Idiolect:
        """Open with the settings file at ``path`` (default: the user's own) and overriding ``settings``.

        ``ask`` is called for the passphrase where the master key is ``prompt``. The model is loaded on first use.
        """
        settings = config.load(Path(path) if path else None, overrides)
        return Idiolect.build(settings, ask)

    @staticmethod
    def build(settings: Settings, ask: Callable[[str], str] | None = None) -> Idiolect:
        """Open with settings already at hand."""
        entry = registry.backends.get(settings.backend)
        backend = registry.build(entry, settings.backends.get(settings.backend, {}))
        store = open_store(settings, ask)
        for spec in settings.methods:
            registry.make_method(spec)
        return Idiolect(store, backend, settings, backend_name=settings.backend, helper=helper_of(settings))

    def close(self) -> None:
        """Finish what is still to be learnt, end measurements, then close model and store."""
        self._closed_at = time.monotonic() + CLOSE_SECONDS
        self.journal.close()
        self.stopping.set()
        self.worker.close()
        self.prover.close()
        self.backend.close()
        if self.helper is not None:
            self.helper.close()
        self.store.close()

    def drain(self) -> None:
        """Wait until what was answered so far is written down and learnt from."""
        self.journal.drain()
        self.worker.drain()

    def __enter__(self) -> Idiolect:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- planning ----------------------------------------------------------------------------------------------

    def context(
        self,
        tokens: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        fitting: MethodSpec | None = None,
    ) -> Context:
        """Return what methods may use; the one that is ``fitting`` may keep unfinished work."""
        budget = self.settings.prompt.tokens if tokens is None else tokens
        rng, embedder = np.random.default_rng(0), self.store.embedder
        ctx = Context(self.backend, self.clock, rng, embedder, progress, self.peers, self.helper, budget)
        if fitting is None:
            return ctx
        name, method = registry.make_method(fitting)
        settings = sorted(registry.settings_of(method).items())
        checkpoints = StoredCheckpoints(self.store, cache(lambda: repr((name, settings, self.backend.fingerprint))))
        return replace(ctx, check=self._go_on, checkpoints=checkpoints)

    def methods(self, specs: Sequence[MethodSpec] | None = None) -> tuple[Named, ...]:
        """Make the named methods, or the default ones."""
        return tuple(registry.make_method(spec) for spec in (self.settings.methods if specs is None else specs))

    def plan(
        self,
        call: Call,
        user: str,
        *,
        methods: Sequence[MethodSpec] | None = None,
        now: float | None = None,
        tokens: int | None = None,
    ) -> Plan:
        """Personalize a call for a user.

        ``now`` hides everything from that time on; ``tokens`` overrides the prompt budget. Raises
        :class:`UnsupportedCall` where a method needs what the backend cannot do.
        """
        start = time.perf_counter()
        chosen = self.methods(methods)
        ctx = self.context(tokens)
        planned, offered = personalize(call, view(self.store, user, now, self.clock()), chosen, ctx, self.backend_name)
        trace = trace_of(self.store, call, planned, offered, chosen)
        trace |= {"user": user, "time": self.clock(), "backend": self.backend_name, "budget": ctx.tokens}
        trace["plan_ms"] = round((time.perf_counter() - start) * 1e3, 3)
        return Plan(planned, secrets.token_hex(16), trace, user, chosen, self.store.number(user))

    # -- answering ---------------------------------------------------------------------------------------------

    def ask(self, text: str, user: str, **options: Any) -> Answer:
        """Answer one question for a user; the options are those of :meth:`chat`."""
        return self.chat([{"role": "user", "content": text}], user, **options)

    def chat(
        self,
        messages: Sequence[Message],
        user: str,
        *,
        methods: Sequence[MethodSpec] | None = None,
        now: float | None = None,
        tokens: int | None = None,
        sampling: Sampling | None = None,
        session: str = "",
        remember: bool | None = None,
    ) -> Answer:
        """Answer a conversation for a user, keep the trace and, unless told otherwise, learn from the turn."""
        call = Call(tuple(messages), session=session, sampling=sampling or Sampling())
        plan = self.plan(call, user, methods=methods, now=now, tokens=tokens)
        completion = self.backend.generate([plan.call])[0]
        kept = self.finish(plan, call.messages, completion, session=session, remember=remember).exception()
        if kept is not None:
            log.error("an answer could not be written down: %s", type(kept).__name__)
        return Answer(completion.text, plan.trace_id, plan.call.used, completion)

    def finish(
        self,
        plan: Plan,
        messages: Sequence[Message],
        completion: Completion,
        *,
        session: str = "",
        remember: bool | None = None,
    ) -> Future[None]:
        """Write down what shaped a finished answer, and the turn, to be learnt from afterwards, off the critical path.

        When the future is done, no crash loses the turn. A trace that nothing is to be learnt from is written within a
        tenth of a second, together with others, and not waited for.
        """
        trace = {
            **plan.trace,
            "id": plan.trace_id,
            "answer": completion.text,
            "tokens_in": completion.tokens_in,
            "tokens_out": completion.tokens_out,
            "model": self.backend.fingerprint,
        }
        used = tuple(dict.fromkeys(u.id for u in plan.call.used if u.what == "record" and not u.owner))
        turn = Turn(tuple(messages), completion.text, self.clock(), session, plan.trace_id, used)
        wanted = self.settings.remember if remember is None else remember
        done: Future[None] = Future()
        try:
            plainly = dump(plain_turn(turn, trace["methods"])) if wanted else b""
            entry = Finished(plan.user, plan.number, plan.trace_id, dump(trace), plainly)
        except TypeError as error:  # a lone surrogate, a number of 70 bits
            self.counters["unwritable"] += 1
            done.set_exception(error)
            return done
        if plainly:
            return self.journal.put(entry)
        self.journal.put_later(entry)
        done.set_result(None)
        return done

    def remember(self, turn: Turn, user: str, methods: Sequence[Named]) -> Future[None]:
        """Write down a turn of a user for whom nothing was planned, to be learnt from."""
        specs = [{"name": name, **registry.settings_of(method)} for name, method in methods]
        return self.journal.put(Finished(user, turn=dump(plain_turn(turn, specs))))

    def _write_down(self, finished: Sequence[Finished]) -> None:
        keep_finished(self.store, finished, self.clock())
        if any(one.turn for one in finished):
            self.worker.submit(self.learn_waiting)

    # -- learning ----------------------------------------------------------------------------------------------

    def learn_waiting(self, told: Callable[[], object] = lambda: None) -> int:
        """Learn from all turns that wait and are due, whichever process wrote them down; return how many.

        One that fails is tried again later, and in the end waits for somebody to look at it. ``told`` follows each.
        """
        done = 0
        while time.monotonic() < self._closed_at and (found := claim(self.store, self.clock())):
            for one in found:
                done += self._learn(one)
                told()
        return done

    def _learn(self, one: Waiting) -> bool:
        try:
            turn, specs = read_turn(one.turn)
            methods = self.methods(specs)
            self._take_in(turn, one.user_id, methods, one.job.id)
        except Exception as error:  # noqa: BLE001 - one failed turn must not hold up the others; it is counted and kept
            name = type(error).__name__
            self.counters[f"learning.{name}"] += 1
            due = put_back(self.store, one.job, self.clock())
            log.error("learning from a turn failed with %s; %s", name, "given up" if math.isinf(due) else "tried again")
            return False
        try:
            self._bring_up_to_date(one.user_id, methods)
        except Exception as error:  # noqa: BLE001 - the turn itself is kept; what is stale is tried with the next one
            self.counters[f"refit.{type(error).__name__}"] += 1
            log.error("what was learnt could not be brought up to date: %s", type(error).__name__)
        return True

    def observe(self, turn: Turn, user: str, methods: Sequence[Named]) -> Learnt:
        """Let the methods learn from a turn now; return all that was kept."""
        kept = self._take_in(turn, user, methods)
        self._bring_up_to_date(user, methods)
        return kept

    def _take_in(self, turn: Turn, user: str, methods: Sequence[Named], job: int = 0) -> Learnt:
        """Keep what the methods make of a turn, in one commit; nothing where ``job`` was done before."""
        seen, ctx = view(self.store, user, asked=self.clock()), self.context()
        turn = replace(turn, time=self._no_earlier(user, turn.time))
        observing = [method for _, method in methods if isinstance(method, Observes)]
        learnt = reduce(Learnt.plus, (method.observe(turn, seen, ctx) for method in observing), use_of(turn))
        kept = replace(learnt, artifacts=tuple(permitted(self.store, learnt.artifacts)))
        if self.store.learn(user, kept, job) is None:
            return Learnt()
        self.counters.update({f"malformed.{name}": n for name, n in learnt.failures.items()})
        self.counters.update(learnt.counts)
        return kept

    def _bring_up_to_date(self, user: str, methods: Sequence[Named]) -> None:
        """Learn again what is stale; what trains many people at once waits for ``consolidate`` or a measurement."""
        for name, method in methods:
            if not registry.batched(name):
                self.refresh(name, method, user)
            self._prove_if_due(name, method, user)

    def feedback(self, trace_id: str, said: Feedback) -> Record:
        """Keep what a person says of an answer, and return its record; it is learnt from off the critical path.

        The same said twice of one answer is kept once. Raises :class:`NotFound` for an unknown trace,
        :class:`InputError` for a feedback that cannot be kept.
        """
        trace = self.trace(trace_id)
        user = str(trace["user"])
        record = rated(trace, said, view(self.store, user, asked=self.clock()), self.clock())
        if self.store.add([record]).added:
            self.worker.submit(lambda: [self.refresh(*one, user) for one in self.methods(trace["methods"])])
        return record

    def _no_earlier(self, user: str, moment: float) -> float:
        """Return a time that is not before the newest record: a clock that goes back must not reorder a history."""
        newest = self.store.newest(user)
        if newest > moment + 1 and newest - moment < 400 * 86400:
            log.warning("the clock is %.0f s behind the newest record; using the record's time", newest - moment)
            return newest
        return moment

    def consolidate(
        self, specs: Sequence[MethodSpec], users: Sequence[str], progress: Callable[[int, int], None] | None = None
    ) -> int:
        """Learn from the turns that wait, then bring up to date what methods keep of users; return how many were new.

        Only what is stale is made anew, many people at once where the method can, and each piece is kept once it is
        made: a killed run goes on where it stopped.
        """
        self.learn_waiting()
        made, named = 0, list(zip(specs, self.methods(specs), strict=True))
        for done, user in enumerate(users, 1):
            self._go_on()
            made += sum(self.refresh(*one, user) for _, one in named if not registry.batched(one[0]))
            if progress is not None:
                progress(done, len(users))
        for spec, one in (both for both in named if registry.batched(both[1][0])):
            due = [seen.id for seen in Views(self.store, users, self.clock()) if self._stale(*one, seen)]
            made += self.fit(spec, due, progress) if due else 0
        return made

    def refresh(self, name: str, method: Method, user: str) -> int:
        """Fit a method again for a user where it says that what it learnt is stale, and the backend can do it.

        One that learns together only looks what of that fits the user.
        """
        seen = view(self.store, user, asked=self.clock())
        if not self._stale(name, method, seen):
            return 0
        make = getattr(method, "place" if registry.methods.get(name).info["together"] else "fit")
        return self._keep(make([seen], self.context()))

    def _stale(self, name: str, method: Method, user: User) -> bool:
        info = registry.methods.get(name).info
        able = isinstance(method, Fits) and {*info["fit_needs"]} <= self.backend.supports
        able = isinstance(method, Places) if info["together"] else able
        return able and bool(getattr(method, "stale", lambda _: False)(user))

    def _prove_if_due(self, name: str, method: Method, user: str) -> None:
        """Measure a person again, after everything else that waits, where enough has come."""
        able = self.proving and "logprobs" in self.backend.supports
        if able and isinstance(method, Proves) and self._due(method, user):
            spec = {"name": name, **registry.settings_of(method)}
            self.prover.submit(lambda: self._prove_again(spec, user))

    def _prove_again(self, spec: MethodSpec, user: str) -> None:
        """Measure one person in the background, unless several turns asked for it and it is done."""
        self._go_on()
        method = registry.make_method(spec)[1]
        if self.store.key(user) is not None and isinstance(method, Proves) and self._due(method, user):
            self.prove(spec, [user])

    def _due(self, method: Proves, user: str) -> bool:
        return method.due(view(self.store, user), self.backend.fingerprint)

    def _go_on(self) -> None:
        if self.stopping.is_set():
            raise Stopped("the house is being closed")

    def fit(self, spec: MethodSpec, users: Sequence[str], progress: Callable[[int, int], None] | None = None) -> int:
        """Run a method's offline learning for some users; return how many artifacts were new.

        The method draws people as it is ready for them, and each artifact is kept once it is made: of a killed run,
        what was finished stays. A method that learns together reads those of them who share.

        Raises :class:`ConfigError` where there is nothing to learn or nobody to learn from, :class:`UnsupportedCall`
        where the backend cannot do it, :class:`Stopped` where the house is closed meanwhile.
        """
        name, method = registry.make_method(spec)
        if not isinstance(method, Fits):
            raise ConfigError(f"method {name!r} learns nothing offline; it works from the records directly")
        info = registry.methods.get(name).info
        for need in sorted({*info["fit_needs"]} - self.backend.supports):
            able = [e.name for e in registry.backends if need in e.info["supports"]]
            raise UnsupportedCall(name, self.backend_name, need, able)
        if info["together"]:
            ctx, sharers = self.context(progress=progress, fitting=spec), self._sharing(name, users)
            made, known = self._keep(method.fit(sharers, ctx)), {user.id for user in sharers}
            others = Views(self.store, [user for user in users if user not in known], self.clock())
            return made + (self._keep(method.place(others, ctx)) if isinstance(method, Places) else 0)
        people = Views(self.store, users, self.clock())
        if info["batched"]:
            return self._keep(method.fit(people, self.context(progress=progress, fitting=spec)))
        return self._keep(method.fit(people.told(progress), self.context(fitting=spec)))

    def prove(self, spec: MethodSpec, users: Sequence[str], progress: Callable[[int, int], None] | None = None) -> int:
        """Let a method measure what serves some users; return how many artifacts were new.

        Raises :class:`ConfigError` where it measures nothing, :class:`UnsupportedCall` where the backend gives no log
        probabilities, :class:`Stopped` where the house is closed meanwhile.
        """
        name, method = registry.make_method(spec)
        if not isinstance(method, Proves):
            raise ConfigError(f"method {name!r} measures nothing; the one that does is 'auto'")
        if "logprobs" not in self.backend.supports:
            able = [e.name for e in registry.backends if "logprobs" in e.info["supports"]]
            raise UnsupportedCall(f"measuring for {name}", self.backend_name, "logprobs", able)
        people, ctx = [view(self.store, user, asked=self.clock()) for user in users], self.context(progress=progress)
        return self._keep(method.prove(people, replace(ctx, check=self._go_on)))

    def _sharing(self, name: str, users: Sequence[str]) -> list[User]:
        """Return those of some users who share, for a method that learns from many."""
        wanted = set(users)
        people: list[User] = [
            view(self.store, user, asked=self.clock()) for user in sharing(self.store) if user in wanted
        ]
        if len(people) < self.settings.peers.least:
            raise ConfigError(
                f"method {name!r} learns from many people at once: {len(people)} of {len(wanted)} share their records, "
                f"peers.least is {self.settings.peers.least}. Ask them and record it with: idiolect consent USER --give"
            )
        return people

    def _keep(self, artifacts: Iterable[Artifact]) -> int:
        """Keep what was learnt, except from what was deleted or withdrawn meanwhile; return how many were new."""
        return self.store.put_artifacts(permitted(self.store, held(self.store, artifacts)))

    # -- why ---------------------------------------------------------------------------------------------------

    def trace(self, trace_id: str) -> dict[str, Any]:
        """Return a trace; one of this process may still be on its way to the store and is waited for."""
        try:
            return self.store.trace(trace_id)
        except NotFound:
            self.journal.drain()
            return self.store.trace(trace_id)

    def influence(self, trace_id: str) -> list[Influence]:
        """Drop each used thing in turn and measure the answer's log likelihood, all in one batch.

        Returns the used things in falling influence. Raises :class:`UnsupportedCall` where the backend gives no log
        probabilities.
        """
        if "logprobs" not in self.backend.supports:
            able = [e.name for e in registry.backends if "logprobs" in e.info["supports"]]
            raise UnsupportedCall("explain", self.backend_name, "logprobs", able)
        trace = self.trace(trace_id)
        used = trace["used"]
        prompts = [rebuild(trace, leave_out=None), *(rebuild(trace, i) for i in range(len(used)))]
        scores = self.backend.logprobs([Call(p) for p in prompts], [trace["answer"]] * len(prompts))
        effects = [Influence(u, scores[0] - score) for u, score in zip(used, scores[1:], strict=True)]
        return sorted(effects, key=lambda influence: -influence.effect)

    # -- people's control --------------------------------------------------------------------------------------

    def erase(self, user: str) -> Receipt:
        """Remove a person with everything derived from them, and return the receipt.

        A backend that holds weights is told; one that does not answer holds up nothing, and is told again later.
        """
        self.drain()
        return erase(self.store, user, self.clock())
