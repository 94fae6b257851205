"""Which queries a model answers best and worst, and what it ranks first for them.

Works on one gallery. Ties rank as in `training.metrics`: a wrong entry before a right one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 512

Similarity = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""From the rows of some queries (n,) to their similarities (n, G); -inf for ignored entries."""


@dataclass(frozen=True)
class Ranking:
    """The first entries of one query's gallery, best first, and where the first right one is.

    `entries`, `similarities` and `right` are of one length, (shown,); `first_right` counts from 1.
    """

    query: int
    first_right: int
    entries: NDArray[np.int64]
    similarities: NDArray[np.float32]
    right: NDArray[np.bool_]


def best_and_worst(
    similarity: Similarity,
    query_ids: NDArray[np.int64],
    gallery_ids: NDArray[np.int64],
    *,
    count: int = 10,
    shown: int = 10,
) -> tuple[list[Ranking], list[Ranking]]:
    """The `count` queries answered best (best first) and worst (worst first), never one in both.

    A query is answered better if its first right entry ranks higher; among equals if the best
    right entry lies further above the best wrong one. Queries without a right entry are left out.
    """
    first_right, margin = _judged(similarity, query_ids, gallery_ids)
    judged = np.flatnonzero(first_right > 0)
    order = judged[np.lexsort((judged, -margin[judged], first_right[judged]))]
    most = min(count, -(-len(order) // 2))
    worst = order[most:][::-1][:count]

    def rank(query: int) -> Ranking:
        row = similarity(np.array([query]))[0]
        right = gallery_ids == query_ids[query]
        return _ranking(query, int(first_right[query]), row, right, shown)

    return [rank(int(query)) for query in order[:most]], [rank(int(query)) for query in worst]


def _judged(
    similarity: Similarity, query_ids: NDArray[np.int64], gallery_ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rank of each query's first right entry (0 for none) and its lead over the wrong ones."""
    ranks = np.zeros(len(query_ids), dtype=np.int64)
    margins = np.full(len(query_ids), -np.inf)
    for start in range(0, len(query_ids), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(query_ids)))
        scores = similarity(rows)
        right = query_ids[rows][:, None] == gallery_ids[None, :]
        best = np.where(right, scores, -np.inf).max(axis=1, initial=-np.inf)
        wrong = np.where(right, -np.inf, scores)
        ahead = ((wrong >= best[:, None]) & (wrong > -np.inf)).sum(axis=1)
        found = best > -np.inf
        ranks[rows] = np.where(found, 1 + ahead, 0)
        margins[rows[found]] = best[found] - wrong.max(axis=1, initial=-np.inf)[found]
    return ranks, margins


def _ranking(
    query: int, first_right: int, row: NDArray[np.float32], right: NDArray[np.bool_], shown: int
) -> Ranking:
    order = np.lexsort((np.arange(len(row)), right, -row))
    order = order[row[order] > -np.inf][:shown]
    return Ranking(query, first_right, order, row[order], right[order])
