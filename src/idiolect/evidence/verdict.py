"""What the gate found out about one person, or about people in general, as it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from idiolect.evidence.shrinkage import Measured, Prior
from idiolect.types import EVERYONE, Artifact


@dataclass(frozen=True)
class Verdict:
    """Which of the candidates serves a person, and what that rests on.

    ``gains`` ``[measured candidates, questions]`` are differences to no personalization (:mod:`.measuring` says in
    which terms), ``base`` ``[questions]`` the scores without. ``mean`` and ``sd`` are the posterior of the true gains.
    """

    measured: tuple[str, ...]
    chosen: str
    gains: tuple[tuple[float, ...], ...]
    base: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    tokens: tuple[float, ...]
    """Mean number of tokens that a candidate adds to a prompt."""
    records: int
    """How many records the person had."""
    others: int
    """Over how many other people's measurements it was weighed, 0 for none."""
    measure: str = "likelihood"
    skipped: dict[str, str] = field(default_factory=dict)
    """Candidates that could not be measured, and why."""

    def payload(self) -> bytes:
        """Serialise."""
        return orjson.dumps(self)

    @staticmethod
    def read(artifact: Artifact) -> Verdict:
        """Inverse of :meth:`payload`."""
        table: dict[str, Any] = orjson.loads(artifact.payload)
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
        return Verdict(**(plain | {"gains": tuple(tuple(row) for row in table["gains"])}))

    def own(self, names: Sequence[str]) -> Measured:
        """Return the person's measurements of some candidates."""
        rows = [self.gains[self.measured.index(name)] for name in names]
        return Measured.of(np.array(rows, np.float64).reshape(len(rows), len(self.base)))


@dataclass(frozen=True)
class Population:
    """What the people who share gain from each candidate, together; numbers alone."""

    measured: tuple[str, ...]
    prior: Prior

    def payload(self) -> bytes:
        """Serialise."""
        prior = self.prior
        arrays = {name: getattr(prior, name).tolist() for name in ("mean", "between", "within", "error")}
        return orjson.dumps({"measured": self.measured, "people": prior.people, **arrays})

    @staticmethod
    def read(artifact: Artifact) -> Population:
        """Inverse of :meth:`payload`."""
        table = orjson.loads(artifact.payload)
        mean, between, within, error = (
            np.array(table[name], np.float64) for name in ("mean", "between", "within", "error")
        )
        return Population(tuple(table["measured"]), Prior(mean, between, within, error, table["people"]))

    def over(self, names: Sequence[str]) -> Prior | None:
        """Return the prior of these candidates, ``None`` where one of them was not measured."""
        if not set(names) <= set(self.measured):
            return None
        rows = [self.measured.index(name) for name in names]
        prior = self.prior
        return Prior(prior.mean[rows], prior.between[rows], prior.within[rows], prior.error[rows], prior.people)


def verdict_of(artifacts: Sequence[Artifact], user_id: str, model: str) -> tuple[Artifact, Verdict] | None:
    """Return a person's newest verdict that was measured with a model; what helps one model may harm another."""
    return next(((a, Verdict.read(a)) for a in artifacts if _measured_with(a, user_id, model)), None)


def population_of(artifacts: Sequence[Artifact], model: str) -> tuple[Artifact, Population] | None:
    """Return the newest evidence about people in general that was measured with a model."""
    return next(((a, Population.read(a)) for a in artifacts if _measured_with(a, EVERYONE, model)), None)


def _measured_with(artifact: Artifact, user_id: str, model: str) -> bool:
    return artifact.kind == "verdict" and artifact.user_id == user_id and artifact.base_model == model
