from __future__ import annotations

import numpy as np
import pytest

from idiolect.text.clusters import kmeans


def test_separate_groups_are_found_and_the_centroids_are_their_means():
    points = np.array([[0, 0], [0, 1], [10, 0], [10, 1], [0, 20]], np.float32)
    labels, centroids = kmeans(points, 3)
    assert labels[0] == labels[1] != labels[2] == labels[3]
    assert len(set(labels)) == 3
    np.testing.assert_allclose(centroids[labels], [[0, 0.5], [0, 0.5], [10, 0.5], [10, 0.5], [0, 20]])


def test_the_same_vectors_give_the_same_clusters():
    points = np.random.default_rng(3).normal(size=(80, 6)).astype(np.float32)
    one, two = kmeans(points, 7), kmeans(points, 7)
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_each_ends_at_its_nearest_centroid():
    points = np.random.default_rng(4).normal(size=(60, 4)).astype(np.float32)
    labels, centroids = kmeans(points, 5)
    distance = ((points[:, None] - centroids[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(labels, distance.argmin(axis=1))


@pytest.mark.parametrize(("n", "k", "clusters"), [(9, 4, 4), (3, 5, 3), (1, 1, 1), (0, 3, 0)])
def test_no_cluster_is_empty_even_of_equal_vectors(n, k, clusters):
    labels, centroids = kmeans(np.ones((n, 3), np.float32), k)
    assert len(centroids) == clusters == len(set(labels.tolist()))


def test_no_cluster_at_all_is_refused():
    with pytest.raises(ValueError, match="k is 0"):
        kmeans(np.ones((2, 2), np.float32), 0)
