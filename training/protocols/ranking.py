"""Outcome: the figures of a contest's trials. The one way from embeddings to figures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.metrics import Figures, cumulative_matches, figures, score_queries
from training.protocols.contest import Contest
from training.protocols.embedded import normalised


@dataclass(frozen=True)
class ReRanking:
    """k-reciprocal re-ranking (Zhong et al., CVPR 2017); the protocol decides the neighbours."""

    k1: int = 20
    k2: int = 6
    original_weight: float = 0.3


@dataclass(frozen=True)
class Affinity:
    """Affinity inference (Fang et al., SAAI, ICCV 2023) against each trial's gallery."""

    k1: int = 30
    k2: int = 6


Variant = ReRanking | Affinity | None


@dataclass(frozen=True)
class Outcome:
    """What one variant scored: a name, the figures of each trial, the mean CMC in percent."""

    variant: str
    trials: tuple[Figures, ...]
    cmc: NDArray[np.float64]


def variant_name(contest: Contest, variant: Variant) -> str:
    """The name that a result carries: `plain`, or what was done with every constant of it."""
    if variant is None:
        return "plain"
    if isinstance(variant, Affinity):
        return f"affinity (k1 {variant.k1}, k2 {variant.k2})"
    source = "queries only" if contest.neighbours == "queries_only" else "queries and gallery"
    return (
        f"re-ranked (k1 {variant.k1}, k2 {variant.k2}, lambda {variant.original_weight:g},"
        f" neighbours from {source})"
    )


def rank(
    contest: Contest,
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    variant: Variant = None,
) -> Outcome:
    """Rank every trial of a contest.

    Args:
        query: (Q, D), in the order of `contest.query`.
        gallery: (G, D), in the order of `contest.gallery`.

    Raises:
        ProtocolError: the embeddings do not fit the labels or are not finite.
    """
    similarity = normalised(query) @ normalised(gallery).T
    if contest.measure == "euclidean":
        squares = np.square(query).sum(axis=1)[:, None] + np.square(gallery).sum(axis=1)
        similarity = np.asarray(2 * query @ gallery.T - squares, dtype=np.float32)
    scores = [
        score_queries(
            similarity[:, rows],
            contest.query.person_ids,
            contest.gallery.person_ids[rows],
            contest.ignored(trial),
        )
        for trial, rows in enumerate(contest.trials)
    ]
    persons = len(np.unique(contest.gallery.person_ids))
    curves = [cumulative_matches(score.identity_rank, persons) for score in scores]
    return Outcome(
        variant_name(contest, variant),
        tuple(figures(score) for score in scores),
        100 * np.mean(curves, axis=0),
    )
