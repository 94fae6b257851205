"""Affinity inference of one query after the other, description by description."""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def described(similarities: Vector, k1: int) -> Vector:
    """Similarities below the k1-th largest become 0."""
    last = sorted(similarities, reverse=True)[min(k1, len(similarities)) - 1]
    return np.array([value if value >= last else 0.0 for value in similarities])


def length_one(vector: Vector) -> Vector:
    """A vector divided by its length."""
    return vector / max(float(np.sqrt((vector**2).sum())), 1e-12)


def affinity_slowly(
    query_gallery: NDArray[np.float32], gallery_gallery: NDArray[np.float32], k1: int, k2: int
) -> Vector:
    """(Q, G) in float64."""
    to_gallery, within = query_gallery.astype(float), gallery_gallery.astype(float)
    entries = len(within)
    descriptions = []
    for entry in range(entries):
        ranking = sorted(range(entries), key=lambda other: (-within[entry, other], other))
        closest = ranking[: min(k2, k1, entries)]
        mean = np.mean([described(within[other], k1) for other in closest], axis=0)
        descriptions.append(length_one(mean))
    found = np.empty(to_gallery.shape)
    for query, row in enumerate(to_gallery):
        own = length_one(described(row, k1))
        found[query] = [own @ other for other in descriptions] + row
    return found
