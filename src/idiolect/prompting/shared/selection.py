"""Which of several prompts will serve a question best: what can be seen of each, and a linear score of it.

The published selector reads prompt (and answer) with a Longformer (RSPG, arXiv:2404.05970, section 4). Here a few
features stand for the text: those of a candidate's prompt (and draft) share their weights, those of the question have
weights of their own for each candidate.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson

from idiolect.prompting.shared.distillation import Doubles, Parameters, descend, distill
from idiolect.prompting.shared.feedback import find
from idiolect.text.terms import terms
from idiolect.types import Call, Context, Embedder, User

PROMPT = ("items", "best", "mean", "tokens", "overlap", "cosine")
"""What is seen of a candidate's prompt."""
DRAFT = ("length", "likeness", "consensus", "copied", "answering")
"""What is seen of its draft: as long as and like what the person writes, like the other drafts, of which words."""
QUESTION = ("history", "words", "found", "agreement")
"""What is seen of the question, before its vector."""
_LATEST = 30
_FOUND = 8


def personal(call: Call) -> str:
    """Return the personal text that a written call holds."""
    return "\n".join(use.text for use in call.used if use.text)


def of_prompts(calls: Sequence[Call], query: str, ctx: Context) -> Doubles:
    """Return the features of written calls, ``[calls, len(PROMPT)]``."""
    texts = [personal(call) for call in calls]
    asked = set(terms(query))
    cosines = np.zeros(len(calls))
    if ctx.embedder is not None:
        vectors = ctx.embedder.embed([query, *texts])
        cosines = vectors[1:].astype(np.float64) @ vectors[0].astype(np.float64)
    rows = []
    for call, text, cosine in zip(calls, texts, cosines, strict=True):
        scores = [use.score for use in call.used if use.text] or [0.0]
        tokens = ctx.model.count_tokens(text) / max(1, ctx.tokens)
        shared = len(asked.intersection(terms(text))) / max(1, len(asked))
        items = sum(bool(use.text) for use in call.used)
        rows.append([np.log1p(items), max(scores), sum(scores) / len(scores), tokens, shared, cosine])
    return np.array(rows, np.float64).reshape(len(calls), len(PROMPT))


def of_question(query: str, user: User, embedder: Embedder | None) -> Doubles:
    """Return the features of a question put by a person, ``[len(QUESTION) + dim]``."""
    hits = find(user, query, _FOUND)
    outputs = Counter(hit.record.output for hit in hits)
    plain = [
        np.log1p(user.count), np.log1p(len(terms(query))), hits[0].score if hits else 0.0,
        max(outputs.values()) / len(hits) if hits else 0.0,
    ]  # fmt: skip
    vector = [] if embedder is None else embedder.embed([query])[0].tolist()
    return np.array([*plain, *vector], np.float64)


@dataclass(frozen=True)
class Manner:
    """How a person's latest texts are: their median length [characters] and mean vector ``[dim]``."""

    length: float
    vector: tuple[float, ...]

    @staticmethod
    def of(user: User, embedder: Embedder | None) -> Manner:
        """Look at the newest texts."""
        said = [record.output for record in user.history if record.kind != "profile"][-_LATEST:]
        if not said:
            return Manner(0.0, ())
        vector = () if embedder is None else tuple(embedder.embed(said).mean(axis=0).tolist())
        return Manner(float(np.median([len(text) for text in said])), vector)


def of_drafts(
    drafts: Sequence[str], texts: Sequence[str], query: str, manner: Manner, embedder: Embedder | None
) -> Doubles:
    """Return the features of drafts made from prompts with these personal ``texts``, ``[drafts, len(DRAFT)]``."""
    words = [set(terms(draft)) for draft in drafts]
    asked = set(terms(query))
    likeness = np.zeros(len(drafts))
    if embedder is not None and manner.vector:
        likeness = embedder.embed(list(drafts)).astype(np.float64) @ np.array(manner.vector)
    rows = []
    for n, (draft, own) in enumerate(zip(drafts, words, strict=True)):
        others = [len(own & word) / max(1, len(own | word)) for m, word in enumerate(words) if m != n]
        rows.append([
            -abs(np.log((len(draft) + 1) / (manner.length + 1))), likeness[n], sum(others) / max(1, len(others)),
            len(own.intersection(terms(texts[n]))) / max(1, len(own)), len(own & asked) / max(1, len(asked)),
        ])  # fmt: skip
    return np.array(rows, np.float64).reshape(len(drafts), len(DRAFT))


@dataclass(frozen=True, eq=False)
class Question:
    """One question with its candidates; ``there`` is false at those that had nothing to say."""

    candidates: Doubles
    """``[candidates, features]``"""
    question: Doubles
    """``[features]``"""
    there: Any
    utilities: Doubles

    @property
    def flat(self) -> bool:
        """Whether all candidates serve the same: there is nothing to learn."""
        found = self.utilities[self.there]
        return len(found) < 2 or float(np.ptp(found)) < 1e-6


@dataclass(frozen=True, eq=False)
class Chooser:
    """A linear score of candidates; ``mean`` and ``std`` are of the candidates' features and of the question's."""

    mean: tuple[Doubles, Doubles]
    std: tuple[Doubles, Doubles]
    parameters: Parameters
    embedder: str = ""

    def scores(self, candidates: Doubles, question: Doubles, parameters: Parameters | None = None) -> Doubles:
        """Return ``[rows, candidates]`` for features ``[rows, candidates, f]`` and ``[rows, g]``."""
        p = self.parameters if parameters is None else parameters
        shared: Doubles = (candidates - self.mean[0]) / self.std[0] @ p["shared"]
        own: Doubles = self._question(question) @ p["own"].T + p["bias"]
        return shared + own

    def _question(self, question: Doubles) -> Doubles:
        return np.asarray((question - self.mean[1]) / self.std[1], np.float64)

    @staticmethod
    def train(rows: Sequence[Question], held: Sequence[Question], temperature: float, embedder: str) -> Chooser:
        """Learn from questions, stopping early on those ``held`` out.

        The target is the softmax of utilities over ``temperature``, utilities in units of their spread among a
        question's candidates. Untrained, all candidates are alike.
        """
        x, z, mask, worth = _stacked(rows)
        spread = np.concatenate([row.utilities[row.there] - row.utilities[row.there].mean() for row in rows])
        scale = float(np.sqrt((spread**2).mean())) * temperature
        dim = z.shape[1] - len(QUESTION)
        # A unit vector's parts are alike already; putting them on one scale would only raise their noise.
        mean = x[mask].mean(axis=0), np.append(z[:, : len(QUESTION)].mean(axis=0), np.zeros(dim))
        std = _scale(x[mask]), np.append(_scale(z[:, : len(QUESTION)]), np.ones(dim))
        zeros = {
            "shared": np.zeros(x.shape[-1]), "own": np.zeros((x.shape[1], z.shape[1])), "bias": np.zeros(x.shape[1]),
        }  # fmt: skip
        new = Chooser(mean, std, zeros, embedder)
        shown, asked = (x - mean[0]) / std[0], new._question(z)

        def loss(p: Parameters) -> tuple[float, Parameters]:
            value, slope = distill(new.scores(x, z, p), worth / scale, mask=mask)
            slope = slope / len(slope)
            gradients = {"shared": np.einsum("rc,rcf->f", slope, shown), "own": slope.T @ asked, "bias": slope.sum(0)}
            return float(value.mean()), gradients

        judge = _judge(new, held, scale) if held else None
        return replace(new, parameters=descend(zeros, loss, judge))

    def pack(self) -> bytes:
        """Return the chooser as bytes, numbers in single precision."""
        out = io.BytesIO()
        head = np.frombuffer(orjson.dumps({"embedder": self.embedder}), np.uint8)
        named = {"mean0": self.mean[0], "mean1": self.mean[1], "std0": self.std[0], "std1": self.std[1]}
        arrays: dict[str, Any] = {k: v.astype(np.float32) for k, v in (named | self.parameters).items()}
        np.savez(out, head=head, **arrays)
        return out.getvalue()

    @staticmethod
    def unpack(data: bytes) -> Chooser:
        """Read :meth:`pack`."""
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            embedder = orjson.loads(found["head"].tobytes())["embedder"]
            a = {name: found[name].astype(np.float64) for name in found.files if name != "head"}
        parameters = {name: a[name] for name in ("shared", "own", "bias")}
        return Chooser((a["mean0"], a["mean1"]), (a["std0"], a["std1"]), parameters, embedder)


def pick(names: Sequence[str], scores: Sequence[float], there: Sequence[bool]) -> str:
    """Return the best candidate that is there; where ``none`` is as good as any it is none."""
    best = max((score for score, here in zip(scores, there, strict=True) if here), default=0.0)
    tied = [n for n, s, here in zip(names, scores, there, strict=True) if here and s >= best - 1e-9]
    return "none" if "none" in tied or not tied else tied[0]


def _stacked(rows: Sequence[Question]) -> tuple[Doubles, Doubles, Any, Doubles]:
    return (
        np.stack([row.candidates for row in rows]), np.stack([row.question for row in rows]),
        np.stack([row.there for row in rows]), np.stack([row.utilities for row in rows]),
    )  # fmt: skip


def _scale(values: Doubles) -> Doubles:
    std = values.std(axis=0)
    return np.where(std > 1e-9, std, 1.0)


def _judge(chooser: Chooser, held: Sequence[Question], scale: float) -> Callable[[Parameters], float]:
    x, z, mask, worth = _stacked(held)

    def loss(p: Parameters) -> float:
        return float(distill(chooser.scores(x, z, p), worth / scale, mask=mask)[0].mean())

    return loss
