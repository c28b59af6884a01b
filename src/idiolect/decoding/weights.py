"""Strengths as weights: what context steering, CoSteer and Amulet compute is one multiple of one difference.

With ``l_c`` and ``l_nc`` the log probabilities with and without personal context, two conventions are in use:

- single: ``l_c + s (l_c - l_nc)``, 0 the context as it is, -1 none of it (CoS, arXiv:2405.01768; linear alignment and
  Amulet, arXiv:2502.19148);
- multi: ``l_nc + m (l_c - l_nc)``, 1 the context as it is, 0 none of it (CoS for several contexts; CoSteer,
  arXiv:2507.04756).

They are one dial: ``m = 1 + s``. CoSteer and Amulet iterate at every token, but each of their iterates is the base plus
a multiple of the same difference, and the multiple depends on their settings alone: it is computed once, here.

Not built: AdaCoSteer's rule to stop steering after three tokens in a row of which the model is sure.
"""

from __future__ import annotations


def weights(single: float) -> tuple[float, float]:
    """Return the mixture's weights of the prompts with and without context; their sum is 1."""
    return 1.0 + single, -single


def multi(single: float) -> float:
    """Return the strength over the base without context that equals one over the contextual base."""
    return 1.0 + single


def costeer_strength(
    steps: int = 20, alpha: float = 2.0, beta: float = 1.0, lam: float = 2.0, eta: float = 10.0
) -> float:
    """Return the multiple ``c_T`` of the difference that CoSteer's ``steps`` iterations add to its base (multi form).

    ``c_t = (sum_{i<t} (alpha c_i + beta) + c_{t-1} / eta) / (t lam + 1 / eta)`` with ``c_0 = 0`` follows by induction
    from the update of arXiv:2507.04756 (``lam`` is its lambda). With ``alpha = lam`` it grows without bound, like
    ``ln(T) / 2`` for the defaults: the number of steps is the strength. With ``alpha < lam`` it nears
    ``beta / (lam - alpha)``.
    """
    gathered = last = 0.0
    for step in range(1, steps + 1):
        gathered += alpha * last + beta
        last = (gathered + last / eta) / (step * lam + 1.0 / eta)
    return last


def amulet_strength(steps: int = 60, alpha: float = 2.0, lam: float = 2.0, eta: float = 10.0) -> float:
    """Return the multiple that Amulet's iterations add to its contextual base (single form, arXiv:2502.19148).

    Its recurrence ``k_t = (1/t sum_{i<t} alpha (1 + k_i) + k_{t-1} / (eta t)) / (lam + 1 / (eta t))`` is CoSteer's with
    ``beta = alpha``.
    """
    return costeer_strength(steps, alpha, alpha, lam, eta)
