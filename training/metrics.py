"""Ranking metrics of re-identification as pure functions of a similarity matrix.

Policies, the same everywhere here: a higher similarity is closer; among equal similarities a wrong
entry ranks before a right one, so that a constant embedding scores nothing; entries marked
`ignored` do not exist for that query; a query without any right entry is left out of the means.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RANKS = (1, 5, 10, 20)


@dataclass(frozen=True)
class Figures:
    """Retrieval figures in percent."""

    mAP: float
    rank1: float
    rank5: float
    rank10: float
    rank20: float


def average_precision(
    similarity: NDArray[np.float32],
    query_ids: NDArray[np.int64],
    gallery_ids: NDArray[np.int64],
    ignored: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Average precision of each query: the mean of i / rank over its i-th right entry.

    Args:
        similarity: (Q, G).
        ignored: (Q, G), entries that a query must not see.

    Returns:
        (Q,) in [0, 1]; NaN where a query has no right entry.

    Source: utils/eval_sysu.py `get_mAP`, commit f57fd5c.
    """
    right = query_ids[:, None] == gallery_ids[None, :]
    if ignored is not None:
        right &= ~ignored
        similarity = np.where(ignored, -np.inf, similarity)
    counts = right.sum(axis=1)
    found = np.full(len(similarity), np.nan)
    everything = np.sort(similarity, axis=1)
    # Queries with equally many right entries share one array of their similarities.
    for count in np.unique(counts[counts > 0]):
        rows = np.flatnonzero(counts == count)
        own = np.sort(similarity[rows][right[rows]].reshape(len(rows), count), axis=1)[:, ::-1]
        at_least = np.stack(
            [
                everything.shape[1] - np.searchsorted(everything[row], own[place], side="left")
                for place, row in enumerate(rows)
            ]
        )
        own_at_least = count - np.stack(
            [np.searchsorted(values[::-1], values, side="left") for values in own]
        )
        position = np.arange(1, count + 1)
        found[rows] = (position / (position + at_least - own_at_least)).mean(axis=1)
    return found


def identity_rank(
    similarity: NDArray[np.float32],
    query_ids: NDArray[np.int64],
    gallery_ids: NDArray[np.int64],
    ignored: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Rank of each query's own identity, from 1, where an identity counts once by its best entry.

    Returns:
        (Q,); 0 where the identity is not in the gallery that the query may see.

    Source: utils/eval_sysu.py `get_cmc`, commit f57fd5c.
    """
    if ignored is not None:
        similarity = np.where(ignored, -np.inf, similarity)
    order = np.argsort(gallery_ids, kind="stable")
    identities, starts = np.unique(gallery_ids[order], return_index=True)
    best = np.maximum.reduceat(similarity[:, order], starts, axis=1)
    column = np.searchsorted(identities, query_ids).clip(max=len(identities) - 1)
    own = best[np.arange(len(best)), column]
    present = (identities[column] == query_ids) & (own > -np.inf)
    ranks = (best >= own[:, None]).sum(axis=1)
    return np.where(present, ranks, 0)


def cumulative_matches(ranks: NDArray[np.int64], up_to: int) -> NDArray[np.float64]:
    """Cumulative match characteristic: the share of queries ranked k or better, for k = 1..up_to.

    Args:
        ranks: as `identity_rank` gives them; zeros are left out.
    """
    present = ranks[ranks > 0]
    matched = present[:, None] <= np.arange(1, up_to + 1)
    return np.asarray(matched.mean(axis=0), dtype=np.float64)


def retrieval_figures(
    similarity: NDArray[np.float32],
    query_ids: NDArray[np.int64],
    gallery_ids: NDArray[np.int64],
    ignored: NDArray[np.bool_] | None = None,
) -> Figures:
    """mAP and rank-k of one gallery, in percent. NaN throughout if no query has a right entry."""
    precision = average_precision(similarity, query_ids, gallery_ids, ignored)
    present = ~np.isnan(precision)
    if not present.any():
        return Figures(*[float("nan")] * 5)
    ranks = identity_rank(similarity, query_ids, gallery_ids, ignored)
    cmc = cumulative_matches(ranks, max(RANKS))
    return Figures(
        100 * float(precision[present].mean()), *(100 * float(cmc[rank - 1]) for rank in RANKS)
    )


def mean_figures(trials: list[Figures]) -> Figures:
    """The mean of each figure over trials."""
    names = ("mAP", "rank1", "rank5", "rank10", "rank20")
    return Figures(*(float(np.mean([getattr(trial, name) for trial in trials])) for name in names))
