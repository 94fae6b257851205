"""What may be done to similarities before they are ranked, with every constant in its name.

Plain, re-ranked and affinity figures do not compare, whatever a published table leaves unsaid.
"""

from dataclasses import dataclass

import numpy as np

from gallery_index.reranking import rerank
from training.affinity import affinity
from training.protocols.contest import Contest, Measure
from training.protocols.embedded import Positions, squared_distances
from training.protocols.tables import Table, Tables


@dataclass(frozen=True)
class ReRanking:
    """k-reciprocal re-ranking (Zhong et al., CVPR 2017); the protocol decides the neighbours."""

    k1: int = 20
    k2: int = 6
    original_weight: float = 0.3


@dataclass(frozen=True)
class Affinity:
    """Affinity inference (Fang et al., SAAI, ICCV 2023) against each trial's gallery, by cosine."""

    k1: int = 30
    k2: int = 6


Variant = ReRanking | Affinity | None

PLAIN = "plain"


def variant_name(contest: Contest, variant: Variant) -> str:
    """The name that a result carries: `plain`, or what was done with every constant of it."""
    if variant is None:
        return PLAIN
    if isinstance(variant, Affinity):
        return f"affinity (k1 {variant.k1}, k2 {variant.k2})"
    source = "queries only" if contest.neighbours == "queries_only" else "queries and gallery"
    return (
        f"re-ranked (k1 {variant.k1}, k2 {variant.k2}, lambda {variant.original_weight:g},"
        f" neighbours from {source})"
    )


def measure_of(contest: Contest, variant: Variant) -> Measure:
    """The measure that a variant starts from."""
    return "cosine" if isinstance(variant, Affinity) else contest.measure


def improved(tables: Tables, variant: ReRanking | Affinity, gallery: Positions) -> Table:
    """(Q, G): similarities of every query to one trial's gallery after re-ranking or affinity."""
    if isinstance(variant, Affinity):
        ours = tables.between("cosine").take(gallery, axis=1)
        around = tables.among_candidates("cosine")[np.ix_(gallery, gallery)]
        return affinity(ours, around, k1=variant.k1, k2=variant.k2)
    measure, neighbours = tables.contest.measure, tables.contest.neighbours
    within = None
    if neighbours == "gallery":
        candidates = tables.among_candidates(measure)[np.ix_(gallery, gallery)]
        within = squared_distances(candidates, measure)
    distances = rerank(
        squared_distances(tables.between(measure).take(gallery, axis=1), measure),
        squared_distances(tables.among_queries(measure), measure),
        within,
        neighbours=neighbours,
        k1=variant.k1,
        k2=variant.k2,
        original_weight=variant.original_weight,
    )
    return np.negative(distances, out=distances)
