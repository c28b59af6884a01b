"""What of a text decides choices: everybody's direction, and those in which people differ most.

The first is a ridge regression of what was chosen on the text's vector; the penalty is the one that foretells other
people's choices best. The others come from the gradients that a pooled model leaves over: summed over one person's
choices they vary more than chance lets them where people's weights differ. With ``g_u`` that sum, ``J`` the information
and ``Cov(g_u) = J_u + J_u S J_u`` for weights of covariance ``S``, the leading eigenvectors of the whitened surplus
``J^-1/2 (sum_u g_u g_u' - sum_n g_n g_n') J^-1/2`` are LoRe's shared directions (arXiv:2504.14439, its rank-K form) in
one step, without alternating.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from idiolect.alignment.shared.posterior import Doubles, Places

PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
WHITENING = 30.0


def regressions(x: Doubles, y: Doubles, fold: Places, folds: int) -> Doubles:
    """Return the ridge solutions ``[folds, dim, targets]``, each from the rows of the other folds.

    One eigendecomposition for each fold serves all penalties.
    """
    parts = [(x[fold == f], y[fold == f]) for f in range(folds)]
    grams = [a.T @ a for a, _ in parts]
    cross = [a.T @ b for a, b in parts]
    found, lost = list[Sequence[Doubles]](), np.zeros(len(PENALTIES))
    for f, (held, target) in enumerate(parts):
        values, vectors = np.linalg.eigh(sum(grams) - grams[f])
        turned = vectors.T @ (sum(cross) - cross[f])
        made = [vectors @ (turned / (np.maximum(values, 0.0) + penalty)[:, None]) for penalty in PENALTIES]
        lost += [float(((held @ weights - target) ** 2).sum()) for weights in made]
        found.append(made)
    best = int(lost.argmin())
    return np.stack([made[best] for made in found])


def tastes(gradients: Doubles, information: Doubles, person: Places, people: int, count: int) -> Doubles:
    """Return the directions ``[dim, count]`` in which people differ most, each of unit information.

    ``gradients [n, dim]`` are what a pooled model leaves of each choice, ``information [dim, dim]`` is theirs in all.
    """
    summed = np.zeros((people, gradients.shape[1]))
    np.add.at(summed, person, gradients)
    surplus = summed.T @ summed - gradients.T @ gradients
    values, vectors = np.linalg.eigh(information + WHITENING * np.eye(len(information)))
    white = vectors / np.sqrt(values)
    beyond, turned = np.linalg.eigh(white.T @ surplus @ white)
    found = white @ (turned * (beyond > 1e-6))[:, ::-1][:, :count]  # chance alone explains the others
    signs = np.sign(found[np.abs(found).argmax(axis=0), np.arange(count)])
    return np.asarray(found * signs, np.float64)
