"""k-reciprocal re-ranking entry by entry, as it was published: slow, dense and plain.

Differs from the published code in what that leaves to chance: sorting is stable, lists of
neighbours under `queries_only` end with the queries, and a set of equal points has distance 0.
"""

import numpy as np
from numpy.typing import NDArray


def squared_distances(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, M) squared Euclidean distances in float32."""
    squares = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1)
    return np.asarray(squares - 2 * left @ right.T, dtype=np.float32)


def rerank_slowly(
    distances: NDArray[np.float32],
    queries: int,
    *,
    queries_only: bool,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
) -> NDArray[np.float32]:
    """(Q, G) from the square table of all distances, whose first `queries` rows are the queries."""
    count = len(distances)
    largest = distances.max(axis=0)
    scaled = (distances / np.where(largest > 0, largest, 1)).T.astype(np.float32)
    visible = distances[:, :queries] if queries_only else distances
    ranking = np.argsort(visible, axis=1, kind="stable")
    vectors = np.zeros((count, count), dtype=np.float16)
    for entry in range(count):
        members = mutual(ranking, entry, k1)
        expanded = list(members)
        for candidate in members:
            theirs = mutual(ranking, candidate, int(np.around(k1 / 2)))
            if len(np.intersect1d(theirs, members)) > 2 / 3 * len(theirs):
                expanded.extend(theirs)
        chosen = np.unique(np.array(expanded, dtype=np.intp))
        weights = np.exp(-scaled[entry, chosen])
        vectors[entry, chosen] = weights / np.sum(weights)
    if k2 > 1:
        vectors = np.stack(
            [np.mean(vectors[ranking[entry, :k2]], axis=0) for entry in range(count)]
        )
    holders = [np.flatnonzero(vectors[:, column]) for column in range(count)]
    jaccard = np.zeros((queries, count), dtype=np.float16)
    for query in range(queries):
        overlap = np.zeros(count, dtype=np.float16)
        for column in np.flatnonzero(vectors[query]):
            rows = holders[column]
            overlap[rows] += np.minimum(vectors[query, column], vectors[rows, column])
        jaccard[query] = 1 - overlap / (2 - overlap)
    mixed = jaccard * (1 - weight) + scaled[:queries] * weight
    return np.asarray(mixed[:, queries:], dtype=np.float32)


def mutual(ranking: NDArray[np.intp], entry: int, length: int) -> NDArray[np.intp]:
    """The entries among the first of an entry's ranking that have the entry among theirs."""
    first = ranking[entry, : length + 1]
    return np.array([other for other in first if entry in ranking[other, : length + 1]], np.intp)
