"""Which faces are of one person: clusters of their identity vectors, and the faces that are like those shown."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

MOST_TOGETHER = 2000  # vectors in one clustering: its memory grows with their square

Vectors = NDArray[np.float32]  # (N, D) unit vectors


def persons_of(vectors: Vectors, alike: float) -> list[int]:
    """The number of each face's person, from 1: the person with the most faces, of equals the one seen first.

    Agglomerative clustering by average linkage: two groups become one while the mean product of their faces is at least
    `alike`. More than `MOST_TOGETHER` faces are clustered in parts, each together with the means of the clusters made
    so far.
    """
    labels = np.zeros(0, np.int64)
    for start in range(0, len(vectors), MOST_TOGETHER):
        means = _means_of(vectors[:start], labels)
        found = _clusters_of(np.concatenate([means, vectors[start : start + MOST_TOGETHER]]), alike)
        labels = np.unique(np.concatenate([found[: len(means)][labels], found[len(means) :]]), return_inverse=True)[1]
    return _numbered(labels.tolist())


def _means_of(vectors: Vectors, labels: NDArray[np.int64]) -> Vectors:
    """The unit mean vector of each cluster."""
    sums = np.zeros((int(labels.max(initial=-1)) + 1, vectors.shape[1]), np.float32)
    np.add.at(sums, labels, vectors)
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6), np.float32)


def _clusters_of(vectors: Vectors, alike: float) -> NDArray[np.int64]:
    """The cluster of each vector, from 0."""
    if len(vectors) < 2:
        return np.zeros(len(vectors), np.int64)
    tree = linkage(vectors, "average", metric="cosine")
    return np.asarray(fcluster(tree, 1 - alike, "distance") - 1, np.int64)


def _numbered(labels: list[int]) -> list[int]:
    """Numbers from 1 in place of labels: by how often each is there, then by where it is first."""
    order = {label: i + 1 for i, (label, _) in enumerate(Counter(labels).most_common())}  # equals as first seen
    return [order[label] for label in labels]
