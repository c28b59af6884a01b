"""How often things are preferred: one number for each, from everybody's choices among them (Bradley and Terry 1952).

With more than two options it is Luce's choice axiom (Luce 1959). The ridge makes it the mode under a normal prior, so
that what was hardly ever shown stays near 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from idiolect.alignment.shared.posterior import Doubles, Places

RIDGE = 1.0
_STEPS, _INNER = 6, 30


def strengths(
    things: Places, there: npt.NDArray[np.bool_], chosen: Places, count: int, ridge: float = RIDGE
) -> Doubles:
    """Return the strength of each thing ``[count]`` from choices among ``things [n, options]`` (Newton, inner CG).

    The Hessian is never formed: its product with a vector costs one pass over the choices.
    """
    worth = np.zeros(count)
    for _ in range(_STEPS):
        utility = np.where(there, worth[things], -np.inf)
        likely = np.exp(utility - utility.max(axis=1, keepdims=True, initial=-1e300))
        likely /= likely.sum(axis=1, keepdims=True)
        error = -likely
        error[np.arange(len(things)), chosen] += 1.0
        slope = np.bincount(things[there], error[there], count) - ridge * worth
        step = _solve(things, there, likely, slope, ridge)
        worth = worth + step
        if np.abs(step).max(initial=0.0) < 1e-4:
            break
    return worth


def _solve(things: Places, there: npt.NDArray[np.bool_], likely: Doubles, slope: Doubles, ridge: float) -> Doubles:
    """Solve ``(information + ridge) step = slope`` by conjugate gradients."""

    def curve(vector: Doubles) -> Doubles:
        seen = np.where(there, vector[things], 0.0)
        bent = likely * (seen - (likely * seen).sum(axis=1, keepdims=True))
        return np.bincount(things[there], bent[there], len(vector)) + ridge * vector

    step, rest = np.zeros_like(slope), slope.copy()
    way, size = rest.copy(), float(rest @ rest)
    for _ in range(_INNER):
        if size < 1e-10:
            break
        bent = curve(way)
        length = size / float(way @ bent)
        step += length * way
        rest -= length * bent
        before, size = size, float(rest @ rest)
        way = rest + (size / before) * way
    return step
