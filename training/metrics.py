"""Ranking metrics of re-identification as pure functions of a similarity matrix.

Policies, the same everywhere here: a higher similarity is closer; among equal similarities a wrong
entry ranks before a right one, so that a constant embedding scores nothing; entries marked
`ignored` do not exist for that query; a query without any right entry is left out of the means.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

RANKS = (1, 5, 10, 20)


@dataclass(frozen=True)
class Figures:
    """Retrieval figures in percent, or their spread in percent points."""

    mAP: float
    rank1: float
    rank5: float
    rank10: float
    rank20: float
    mINP: float


@dataclass(frozen=True)
class QueryScores:
    """What each query of one gallery scored, all (Q,).

    `average_precision`: the mean of i / rank over its i-th right entry; NaN without any.
    `inverse_penalty`: right entries / rank of the last right one; NaN without any.
    `identity_rank`: rank of its own identity, from 1, where an identity counts once by its best
    entry; 0 where the identity is not in the gallery that the query may see.
    """

    average_precision: NDArray[np.float64]
    inverse_penalty: NDArray[np.float64]
    identity_rank: NDArray[np.int64]


def score_queries(
    similarity: NDArray[np.float32],
    query_ids: NDArray[np.int64],
    gallery_ids: NDArray[np.int64],
    ignored: NDArray[np.bool_] | None = None,
) -> QueryScores:
    """Score every query of one gallery.

    Args:
        similarity: (Q, G).
        ignored: (Q, G), entries that a query must not see.

    Source: utils/eval_sysu.py `get_mAP`, `get_cmc`, commit f57fd5c; the inverse negative penalty
    of Ye et al., TPAMI 2021 (AGW), section 4.3.
    """
    if ignored is not None:
        similarity = np.where(ignored, -np.inf, similarity)
    precision, penalty = _right_ranks(similarity, query_ids, gallery_ids)
    return QueryScores(precision, penalty, identity_rank(similarity, query_ids, gallery_ids))


def _right_ranks(
    similarity: NDArray[np.float32], query_ids: NDArray[np.int64], gallery_ids: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    right = (query_ids[:, None] == gallery_ids[None, :]) & (similarity > -np.inf)
    counts = right.sum(axis=1)
    precision, penalty = np.full((2, len(similarity)), np.nan)
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
        ranks = position + at_least - own_at_least
        precision[rows] = (position / ranks).mean(axis=1)
        penalty[rows] = count / ranks[:, -1]
    return precision, penalty


def identity_rank(
    similarity: NDArray[np.float32], query_ids: NDArray[np.int64], gallery_ids: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rank of each query's own identity, as `QueryScores` has it; -inf marks ignored entries."""
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
        ranks: as `QueryScores.identity_rank`; zeros are left out. NaN if nothing is left.
    """
    present = ranks[ranks > 0]
    if not len(present):
        return np.full(up_to, np.nan)
    counts = np.bincount(np.minimum(present, up_to + 1), minlength=up_to + 2)
    return np.asarray(counts.cumsum()[1 : up_to + 1] / len(present), dtype=np.float64)


def figures(scores: QueryScores) -> Figures:
    """mAP, rank-k and mINP of one gallery, in percent. NaN if no query has a right entry."""
    present = ~np.isnan(scores.average_precision)
    if not present.any():
        return Figures(*[float("nan")] * 6)
    cmc = cumulative_matches(scores.identity_rank, max(RANKS))
    shares = [
        scores.average_precision[present].mean(),
        *(cmc[rank - 1] for rank in RANKS),
        scores.inverse_penalty[present].mean(),
    ]
    return Figures(*(100 * float(share) for share in shares))


def retrieval_figures(
    similarity: NDArray[np.float32],
    query_ids: NDArray[np.int64],
    gallery_ids: NDArray[np.int64],
    ignored: NDArray[np.bool_] | None = None,
) -> Figures:
    """`figures` of `score_queries`: the figures of one gallery."""
    return figures(score_queries(similarity, query_ids, gallery_ids, ignored))


def mean_figures(trials: Sequence[Figures]) -> Figures:
    """The mean of each figure over trials."""
    return Figures(*np.mean([astuple(trial) for trial in trials], axis=0).tolist())


def spread_of_figures(trials: Sequence[Figures]) -> Figures:
    """The sample standard deviation of each figure over trials; 0 for a single trial."""
    if len(trials) == 1:
        return Figures(*[0.0] * 6)
    return Figures(*np.std([astuple(trial) for trial in trials], axis=0, ddof=1).tolist())
