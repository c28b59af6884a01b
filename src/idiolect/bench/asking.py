"""From a query and an arm to an answer: the personal prompt is written, the model asked, its answer parsed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from idiolect import registry
from idiolect.bench.arms import Arm
from idiolect.bench.cache import CachedBackend, Kept, length
from idiolect.bench.people import Seen
from idiolect.bench.task import Answer, Query, Task
from idiolect.hashing import prompt_hash
from idiolect.prompting.assembly import Named, personalize
from idiolect.store.peers import Policy, StorePeers
from idiolect.store.store import Store
from idiolect.store.view import view
from idiolect.types import EVERYONE, Artifact, Block, Call, Context, Fits, Method, Proves, Sampling, Template

PUBLIC = Policy(texts=True, least=1)
"""In public data everybody shares, and the researcher is the operator."""


@dataclass
class Planner:
    """Writes the prompts of one arm. What a method learns offline is learnt once for each person and view."""

    store: Store
    model: CachedBackend
    arm: Arm
    partners: Mapping[str, str]
    """For each person another one, whose history the arm ``other`` reads."""
    tokens: int
    seed: int = 0
    latest: int | None = None
    people: Mapping[str, float] = field(default_factory=dict)
    """Everybody in the store, and the time up to which methods may learn from them."""
    asked: frozenset[str] = frozenset()
    """Whom the questions are asked for."""
    template: Template | None = None
    policy: Policy = PUBLIC
    helper: CachedBackend | None = None
    methods: tuple[Named, ...] = ()
    every: list[Named] = field(default_factory=list)
    """The methods and those that work inside them."""
    learnt: dict[tuple[str, float], tuple[Artifact, ...]] = field(default_factory=dict)
    together: dict[str, list[Artifact]] | None = None
    """What was learnt from all people at once, by owner."""
    known: dict[object, list[Artifact]] = field(default_factory=dict)
    """The same by method and view: arms of one run that learn the same learn it once."""

    def __post_init__(self) -> None:
        self.methods = self.arm.methods()
        self.every = registry.with_parts(self.methods)
        self.peers = StorePeers(self.store, self.policy, lambda: self.people)

    @property
    def context(self) -> Context:
        """What methods may use; its random numbers are the same for every question, whatever was asked before."""
        rng = np.random.default_rng(self.seed)
        return Context(
            self.model, lambda: 0.0, rng, self.store.embedder, peers=self.peers, helper=self.helper,
            tokens=self.tokens,
            template=self.template,
        )  # fmt: skip

    def plan(self, query: Query, call: Call) -> tuple[Call, tuple[Block, ...]]:
        """Return the personal call and what was offered to its prompt."""
        if not self.methods:
            return call, ()
        seen = self._seen(query)
        return personalize(call, seen, self.methods, self.context)

    def _seen(self, query: Query) -> Seen:
        who = self._who(query)
        seen = self._view(who, query.time, self._hidden(query), f"{self.seed}/{query.id}")
        shared = self._shared(who)
        if (who, query.time) not in self.learnt:
            self.learn([query])
        seen.learnt = (*self.learnt[who, query.time], *shared)
        return seen

    def learn(self, queries: Sequence[Query]) -> None:
        """Let the methods learn about everybody asked for, people side by side; each person and time once."""
        fitting = [(name, method) for name, method in self.every if isinstance(method, Fits) and not _together(name)]
        waiting = dict[str, list[Seen]]()
        for key, query in {(self._who(query), query.time): query for query in queries}.items():
            if key not in self.learnt:
                self.learnt[key] = ()
                seen = self._view(key[0], key[1], self._hidden(query), f"{self.seed}/{query.id}")
                seen.learnt = self._shared(key[0])
                waiting.setdefault(key[0], []).append(seen)
        while fitting and waiting:
            # each person once: an artifact tells whose it is, not of which time
            round_ = [views.pop() for views in waiting.values()]
            waiting = {who: views for who, views in waiting.items() if views}
            of = {seen.id: seen for seen in round_}
            for _, method in fitting:
                for artifact in method.fit(round_, self.context):
                    seen = of[artifact.user_id]
                    seen.learnt = (artifact, *seen.learnt)
                    self.learnt[seen.id, seen.now] = (artifact, *self.learnt[seen.id, seen.now])

    def _who(self, query: Query) -> str:
        return self.partners[query.user] if self.arm.other else query.user

    def _hidden(self, query: Query) -> frozenset[str]:
        return frozenset((query.item, *query.option_items)) - {""} if self.arm.other else frozenset[str]()

    def _view(self, who: str, time: float, hidden: frozenset[str] = frozenset(), seed: str = "") -> Seen:
        return Seen(view(self.store, who, time), self.arm.order, self.latest, hidden, seed)

    def _shared(self, who: str) -> tuple[Artifact, ...]:
        """Return what is known of a person from learning together, then what was learnt for everyone."""
        if self.together is None:
            self.together = {}
            self._let_peers_learn()
            for name, method in self.every:
                for artifact in self._learn_together(name, method):
                    self.together.setdefault(artifact.user_id, []).insert(0, artifact)  # the newest first
        return (*self.together.get(who, ()), *self.together.get(EVERYONE, ()))

    def _learn_together(self, name: str, method: Method) -> Iterator[Artifact]:
        if isinstance(method, Fits) and _together(name):
            key = (name, repr(method), self.arm.order, self.latest)
            if key not in self.known:
                views = [self._view(who, time) for who, time in self.people.items()]
                self.known[key] = list(method.fit(views, self.context))
            yield from self.known[key]
        if isinstance(method, Proves):
            read = {self.partners.get(who, "") for who in self.asked} if self.arm.other else self.asked
            yield from method.prove([self._view(w, t) for w, t in self.people.items() if w in read], self.context)

    def _let_peers_learn(self) -> None:
        """Learn about everybody what methods read of others; only in a store that the bench made itself."""
        if self.policy is not PUBLIC:
            return
        for name, method in self.every:
            if isinstance(method, Fits) and registry.methods.get(name).info["peers"] and not _together(name):
                for who, time in self.people.items():
                    self.store.put_artifacts(method.fit([self._view(who, time)], self.context))


def _together(name: str) -> bool:
    return bool(registry.methods.get(name).info["together"])


@dataclass(frozen=True)
class Asker:
    """Asks the model the queries of one task; ``likelihood`` where options and golds are scored by the model."""

    task: Task
    model: CachedBackend
    likelihood: bool

    def ask(self, planner: Planner, queries: Sequence[Query]) -> list[Answer]:
        """Answer queries, as many answers as queries, in order."""
        sampling = Sampling(temperature=0.0, max_tokens=self.task.max_tokens, stop=self.task.stop)
        planned = [
            planner.plan(query, Call(query.messages, query.focus, query.item, options=query.choices, sampling=sampling))
            for query in queries
        ]
        calls = [call for call, _ in planned]
        answers = self._text(queries, calls) if self.task.form == "text" else self._choose(queries, calls)
        return [
            replace(answer, prompt=prompt_hash(call), used=_used(call), ranked=_ranked(offered, self.task.search_depth))
            for answer, (call, offered) in zip(answers, planned, strict=True)
        ]

    def _choose(self, queries: Sequence[Query], calls: Sequence[Call]) -> list[Answer]:
        """Let a method that chooses among the options do so, and ask the model the others."""
        chosen = [call.choose is not None and bool(call.choose.given) for call in calls]
        asked = [(query, call) for query, call, done in zip(queries, calls, chosen, strict=True) if not done]
        answers = iter(self._ask_options(*zip(*asked, strict=True)) if asked else [])
        return [
            self._chosen(query, call) if done else next(answers)
            for query, call, done in zip(queries, calls, chosen, strict=True)
        ]

    def _chosen(self, query: Query, call: Call) -> Answer:
        assert call.choose is not None
        start = time.perf_counter()
        scores = tuple(float(score) for score in call.choose.score(call.choose.given))
        label = query.options[best(scores, self.task.ordered)]
        return Answer(label, label, scores, seconds=time.perf_counter() - start)

    def _ask_options(self, queries: Sequence[Query], calls: Sequence[Call]) -> list[Answer]:
        if not self.likelihood:
            return [self._parsed(q, k) for q, k in zip(queries, self.model.answers(calls), strict=True)]
        bare = [replace(call, sampling=Sampling()) for call in calls]
        kept = self.model.scores([(call, query.options) for call, query in zip(bare, queries, strict=True)])
        return [self._scored(q, c, k) for q, c, k in zip(queries, bare, kept, strict=True)]

    def _scored(self, query: Query, call: Call, kept: Kept) -> Answer:
        if kept.failure:
            return Answer("", None, failure=kept.failure, seconds=kept.seconds)
        scores = kept.scores
        if self.task.normalize == "byte":
            scores = tuple(s / max(1, len(o.encode())) for s, o in zip(scores, query.options, strict=True))
        label = query.options[best(scores, self.task.ordered)]
        return Answer(label, label, scores, tokens_in=length(self.model, call), seconds=kept.seconds)

    def _parsed(self, query: Query, kept: Kept) -> Answer:
        made = kept.completion
        if made is None:
            return Answer("", None, failure=kept.failure, seconds=kept.seconds)
        label = made.text.strip() if self.task.form == "text" else self.task.parse(made.text, query)
        return Answer(made.text, label, tokens_in=made.tokens_in, tokens_out=made.tokens_out, seconds=kept.seconds)

    def _text(self, queries: Sequence[Query], calls: Sequence[Call]) -> list[Answer]:
        scoring = self.likelihood and self.task.likelihood_chars > 0
        if self.task.writes or not scoring:
            answers = [self._parsed(q, k) for q, k in zip(queries, self.model.answers(calls), strict=True)]
        else:
            answers = [Answer("", "", tokens_in=length(self.model, call)) for call in calls]
        if not scoring:
            return answers
        chars = self.task.likelihood_chars
        asked = [
            (replace(call, sampling=Sampling()), tuple(text[:chars] for text in (query.gold, *query.foils)))
            for query, call in zip(queries, calls, strict=True)
        ]
        return [_with_likelihood(a, k) for a, k in zip(answers, self.model.scores(asked), strict=True)]


def best(scores: Sequence[float], ordered: bool = False) -> int:
    """Return the place of the likeliest option; of ordered ones that of the median, which is off by the least."""
    if not ordered:
        return int(np.argmax(scores))
    shares = np.exp(np.asarray(scores, np.float64) - np.max(scores))
    return int(np.searchsorted(np.cumsum(shares), shares.sum() / 2))


def _with_likelihood(answer: Answer, kept: Kept) -> Answer:
    seconds = answer.seconds + kept.seconds
    if kept.failure:
        return replace(answer, failure=kept.failure, seconds=seconds)
    return replace(answer, gold_nats=kept.scores[0], foil_nats=kept.scores[1:], seconds=seconds)


def _used(call: Call) -> tuple[str, ...]:
    """Return the records that stand in the prompt whole; a shortened one may lack what matters."""
    return tuple(u.id for u in call.used if u.what == "record" and not u.text.endswith(" ..."))


def _ranked(offered: Sequence[Block], depth: int) -> tuple[str, ...]:
    if not depth:
        return ()
    items = [item for block in offered for item in block.items if item.used.what == "record"]
    items.sort(key=lambda item: -item.score)
    return tuple(dict.fromkeys(item.used.id for item in items))[:depth]
