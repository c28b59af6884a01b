"""The metrics of :mod:`idiolect.measure`, applied to queries and answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from idiolect.bench.task import Answer, Doubles, Metric, Query
from idiolect.measure.classification import macro_f1
from idiolect.measure.overlap import token_f1
from idiolect.measure.ranking import auc, expected_gain, expected_hit
from idiolect.measure.regression import farther_extreme
from idiolect.measure.rouge import rouge_l, rouge_n
from idiolect.measure.style import style_distance


def _right(query: Query, answer: Answer) -> float:
    return float(answer.label == query.gold)


def _pooled_f1(queries: Sequence[Query], answers: Sequence[Answer], weights: Doubles) -> Doubles:
    labels = sorted({option for query in queries for option in query.options})
    return macro_f1([q.gold for q in queries], [a.label for a in answers], labels, weights)


def _error(low: float, high: float) -> Callable[[Query, Answer], float]:
    def error(query: Query, answer: Answer) -> float:
        gold = float(query.gold)
        return abs((farther_extreme(gold, low, high) if answer.label is None else float(answer.label)) - gold)

    return error


def mae(low: float, high: float) -> Metric:
    """Mean absolute error; an answer that cannot be parsed counts as the farther end of the scale."""
    return Metric("mae", "lower", _error(low, high))


def rmse(low: float, high: float) -> Metric:
    """Root of the mean squared error over all queries; the same rule for what cannot be parsed."""
    error = _error(low, high)

    def pooled(queries: Sequence[Query], answers: Sequence[Answer], weights: Doubles) -> Doubles:
        squares = np.array([error(q, a) ** 2 for q, a in zip(queries, answers, strict=True)])
        return np.asarray(np.sqrt(weights @ squares / weights.sum(axis=1)), np.float64)

    return Metric("rmse", "lower", pooled=pooled)


def _margin(query: Query, answer: Answer) -> float:
    """How far the first option leads; without likelihoods 1, 0 or, where nothing could be parsed, 0.5."""
    if answer.scores:
        return answer.scores[0] - answer.scores[1]
    return 0.5 if answer.label is None else float(answer.label == query.options[0])


def _pooled_auc(queries: Sequence[Query], answers: Sequence[Answer], weights: Doubles) -> Doubles:
    margins = [_margin(q, a) for q, a in zip(queries, answers, strict=True)]
    return auc(margins, [q.gold == q.options[0] for q in queries], weights)


def _standing(query: Query, answer: Answer) -> tuple[tuple[float, ...], int]:
    """Return the options' scores and the place of the right one; without scores all but the label tie."""
    scores = answer.scores or tuple(float(option == answer.label) for option in query.options)
    return scores, query.options.index(query.gold)


def hit(k: int) -> Metric:
    """HR@k: whether the right option is among the first k; where it ties, the probability of that."""
    return Metric(f"hr@{k}", "higher", lambda q, a: expected_hit(*_standing(q, a), k))


def ndcg(k: int) -> Metric:
    """NDCG@k with one right option: 1 / log2(1 + rank), 0 beyond k; the mean over the ranks that it ties for."""
    return Metric(f"ndcg@{k}", "higher", lambda q, a: expected_gain(*_standing(q, a), k))


def evidence_hit(k: int) -> Metric:
    """hit@k: whether a record that holds the answer is among the first k found."""

    def score(query: Query, answer: Answer) -> float | None:
        return float(bool(set(answer.ranked[:k]) & set(query.evidence))) if query.evidence and answer.ranked else None

    return Metric(f"hit@{k}", "higher", score)


def evidence_recall(k: int) -> Metric:
    """recall@k: the share of the records that hold the answer which is among the first k found."""

    def score(query: Query, answer: Answer) -> float | None:
        if not query.evidence or not answer.ranked:
            return None
        return len(set(answer.ranked[:k]) & set(query.evidence)) / len(set(query.evidence))

    return Metric(f"recall@{k}", "higher", score)


def _bits(query: Query, answer: Answer) -> float | None:
    return None if answer.gold_nats is None else -answer.gold_nats / math.log(2)


def bits_per_byte(chars: int) -> Metric:
    """Bits of the gold's first ``chars`` characters per UTF-8 byte: how well the person's own words are foreseen."""

    def score(query: Query, answer: Answer) -> float | None:
        bits = _bits(query, answer)
        return None if bits is None else bits / max(1, len(query.gold[:chars].encode("utf-8", "replace")))

    return Metric(BITS, "lower", score)


def own_first(chars: int) -> Metric:
    """Whether the person's own text is likelier, per byte, than other people's for the same input; ties count half."""

    def per_byte(nats: float, text: str) -> float:
        return nats / max(1, len(text[:chars].encode("utf-8", "replace")))

    def score(query: Query, answer: Answer) -> float | None:
        if answer.gold_nats is None or not answer.foil_nats:
            return None
        own = per_byte(answer.gold_nats, query.gold)
        rest = [per_byte(nats, text) for nats, text in zip(answer.foil_nats, query.foils, strict=True)]
        return float(np.mean([1.0 if own > other else 0.5 if own == other else 0.0 for other in rest]))

    return Metric("own_first", "higher", score)


def _style(query: Query, answer: Answer) -> float | None:
    return style_distance([answer.text], query.reference) if query.reference else None


def gold_probability(normalize: str) -> Metric:
    """What the model gives the right option among the options: it moves where the best option stays the same.

    Options that are compared per byte are weighed as though all had the mean length.
    """

    def score(query: Query, answer: Answer) -> float | None:
        if not answer.scores:
            return None
        scores = np.asarray(answer.scores, np.float64)
        if normalize == "byte":
            scores = scores * np.mean([len(option.encode("utf-8", "replace")) for option in query.options])
        if scores.max() == -np.inf:  # a mixture may forbid every option
            return 0.0
        weights = np.exp(scores - scores.max())
        return float(weights[query.options.index(query.gold)] / weights.sum())

    return Metric(GOLD_PROBABILITY, "higher", score)


def _calibrated_right(query: Query, answer: Answer) -> float | None:
    return None if answer.calibrated is None else float(answer.calibrated == query.gold)


GOLD_PROBABILITY = "gold_probability"
BITS = "bits_per_byte"
CALIBRATED = Metric("calibrated_accuracy", "higher", _calibrated_right)
ACCURACY = Metric("accuracy", "higher", _right)
MACRO_F1 = Metric("macro_f1", "higher", pooled=_pooled_f1)
AUC = Metric("auc", "higher", pooled=_pooled_auc)
ROUGE_1 = Metric("rouge_1", "higher", lambda q, a: rouge_n(q.gold, a.text, 1))
ROUGE_L = Metric("rouge_l", "higher", lambda q, a: rouge_l(q.gold, a.text))
TOKEN_F1 = Metric("token_f1", "higher", lambda q, a: token_f1(q.gold, a.text))
STYLE = Metric("style_distance", "lower", _style)


def _covered(query: Query, answer: Answer, whole: bool) -> float | None:
    """Whether the prompt holds the evidence; None where there is no prompt, or nothing to hold."""
    if not query.evidence or not answer.prompt:
        return None
    wanted = set(query.evidence)
    return float(wanted <= set(answer.used) if whole else bool(wanted & set(answer.used)))


COVERAGE_ANY = Metric("coverage_any", "higher", lambda q, a: _covered(q, a, whole=False))
COVERAGE_ALL = Metric("coverage_all", "higher", lambda q, a: _covered(q, a, whole=True))
