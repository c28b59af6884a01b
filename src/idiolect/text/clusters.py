"""K-means in numpy: which vectors lie together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from idiolect.types import Floats

Labels = npt.NDArray[np.intp]
Doubles = npt.NDArray[np.float64]


def kmeans(vectors: Floats, k: int, *, seed: int = 0, rounds: int = 50) -> tuple[Labels, Floats]:
    """Return each vector's cluster ``[n]`` and the centroids ``[k, d]`` (Lloyd 1982, seeds of k-means++).

    The same input gives the same clusters. There are ``min(k, n)`` of them and none is empty: one that loses all its
    vectors takes the vector that lies farthest from its own centroid. Raises ``ValueError`` for ``k`` below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}; at least one cluster is needed")
    k = min(k, len(vectors))
    points = np.asarray(vectors, np.float64)
    if k == 0:
        return np.zeros(0, np.intp), np.zeros((0, points.shape[-1]), np.float32)
    centroids = _seeds(points, k, np.random.default_rng(seed))
    labels = np.full(len(points), -1, np.intp)
    for _ in range(rounds):
        found = _filled(*_nearest(points, centroids), k)
        if np.array_equal(found, labels):
            break
        labels = found
        sums = np.zeros_like(centroids)
        np.add.at(sums, labels, points)
        centroids = sums / np.bincount(labels, minlength=k)[:, None]
    return labels, centroids.astype(np.float32)


def _nearest(points: Doubles, centroids: Doubles) -> tuple[Labels, Doubles]:
    """Return each point's nearest centroid, the first of equals, and the squared distance to it."""
    squared = (centroids**2).sum(axis=1) - 2 * points @ centroids.T + (points**2).sum(axis=1)[:, None]  # [n, k]
    labels = squared.argmin(axis=1)
    return labels, np.maximum(squared[np.arange(len(points)), labels], 0.0)


def _seeds(points: Doubles, k: int, rng: np.random.Generator) -> Doubles:
    """Draw points in proportion to their squared distance from those drawn before (Arthur and Vassilvitskii 2007)."""
    chosen = [int(rng.integers(len(points)))]
    far = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < k:
        total = far.sum()
        free = np.setdiff1d(np.arange(len(points)), chosen)
        chosen.append(int(rng.choice(len(points), p=far / total) if total > 0 else free[0]))
        far = np.minimum(far, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]


def _filled(labels: Labels, distance: Doubles, k: int) -> Labels:
    """Give each empty cluster the point that lies farthest off, out of a cluster that keeps one."""
    labels, distance = labels.copy(), distance.copy()
    for empty in np.flatnonzero(np.bincount(labels, minlength=k) == 0):
        sizes = np.bincount(labels, minlength=k)
        far = int(np.where(sizes[labels] > 1, distance, -1.0).argmax())
        labels[far], distance[far] = empty, -1.0
    return labels
