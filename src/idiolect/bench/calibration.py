"""Batch calibration: what a model thinks of the labels themselves is taken off (arXiv:2309.17249, equation 4).

A small model often gives one label to everything, whatever it reads; then no method can change its choice. Taking each
label's mean log probability over the unlabelled queries off its score shows what the prompts do change. No gold is
looked at and the model is not asked again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from idiolect.bench.task import Answer, Query

LEAST = 10
"""With fewer queries over the same labels their mean says too little."""


def calibrated(queries: Sequence[Query], answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers with ``calibrated`` set where enough queries of the same group share their options."""
    places: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for place, (query, answer) in enumerate(zip(queries, answers, strict=True)):
        if answer.scores:
            places[query.group, query.options].append(place)
    out = list(answers)
    for (_, options), found in places.items():
        if len(found) < LEAST:
            continue
        scores = np.array([answers[place].scores for place in found])  # [queries, options]
        likely = scores.max(axis=1) > -np.inf  # a mixture's mask may forbid options, all of them even
        scores[likely] -= np.logaddexp.reduce(scores[likely], axis=1, keepdims=True)
        given = np.isfinite(scores)
        means = np.where(given, scores, 0.0).sum(axis=0) / np.maximum(1, given.sum(axis=0))
        best = (scores - means).argmax(axis=1)
        for place, index in zip(found, best, strict=True):
            out[place] = replace(answers[place], calibrated=options[int(index)])
    return out
