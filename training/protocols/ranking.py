"""Outcome: the figures of a contest's trials. The one way from embeddings to figures.

Plain, re-ranked and affinity outcomes come apart and are never mixed: they do not compare.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery_index.reranking import rerank
from training.affinity import affinity
from training.errors import ProtocolError
from training.metrics import Figures, QueryScores, cumulative_matches, figures
from training.protocols.contest import Contest, Labels, Measure, ignored
from training.protocols.embedded import Embedded, Positions, fill, squared_distances, within
from training.protocols.trials import score_trials

Table = NDArray[np.float32]


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


@dataclass(frozen=True)
class Outcome:
    """What one variant scored: its name and measure, each trial's figures, the mean CMC in percent.

    `cmc[k - 1]` is the share of queries whose person ranks k or better, up to all persons.
    """

    variant: str
    measure: Measure
    trials: tuple[Figures, ...]
    cmc: NDArray[np.float64]


def rank(
    contest: Contest, query: Embedded, gallery: Embedded, variants: Sequence[Variant] = (None,)
) -> list[Outcome]:
    """Rank every trial of a contest, once for each variant.

    Args:
        query: in the order of `contest.query`.
        gallery: in the order of `contest.gallery`.

    Raises:
        ProtocolError: the embeddings do not fit the labels or each other.
    """
    _check(contest, query, gallery)
    drawn_rows = np.unique(np.concatenate(contest.trials))
    chosen = gallery.rows(drawn_rows)
    labels = contest.gallery.rows(drawn_rows)
    places = [np.searchsorted(drawn_rows, rows) for rows in contest.trials]
    outcomes = []
    tables: dict[Measure, Table] = {}
    for variant in variants:
        measure = "cosine" if isinstance(variant, Affinity) else contest.measure
        if measure not in tables:
            only_seen = tuple(variants) == (None,)
            tables[measure] = _similarities(contest, query, chosen, labels, measure, only_seen)
        table = tables[measure]
        if variant is None:
            scores = score_trials(
                table, contest.query, labels, _drawn(places, len(chosen)), contest.ignore
            )
        else:
            scores = _improved(contest, query, chosen, labels, places, table, variant)
        outcomes.append(_outcome(contest, variant, measure, scores))
    return outcomes


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


def _check(contest: Contest, query: Embedded, gallery: Embedded) -> None:
    for name, vectors, labels in (
        ("query", query, contest.query),
        ("gallery", gallery, contest.gallery),
    ):
        if len(vectors) != len(labels):
            raise ProtocolError(f"{len(vectors)} {name} embeddings, but {len(labels)} labels")
    ours, theirs = query.source.shape[1], gallery.source.shape[1]
    if ours != theirs:
        raise ProtocolError(f"query embeddings have {ours} dimensions, gallery embeddings {theirs}")


def _similarities(
    contest: Contest,
    query: Embedded,
    chosen: Embedded,
    labels: Labels,
    measure: Measure,
    only_seen: bool,
) -> Table:
    """(Q, C); with `only_seen`, what no query of a camera may see is left out and undefined."""
    table = np.empty((len(query), len(chosen)), dtype=np.float32)
    everything = np.arange(len(chosen))
    if not only_seen or contest.ignore != "camera 2 for probes of camera 3":
        fill(table, query, np.arange(len(query)), chosen, everything, measure)
        return table
    for camera_id in np.unique(contest.query.camera_ids).tolist():
        rows = np.flatnonzero(contest.query.camera_ids == camera_id)
        hidden = ignored(contest.ignore, contest.query.rows(rows[:1]), labels)
        assert hidden is not None
        fill(table, query, rows, chosen, everything[~hidden[0]], measure)
    return table


def _drawn(places: Sequence[Positions], count: int) -> NDArray[np.bool_]:
    drawn = np.zeros((len(places), count), dtype=bool)
    for trial, chosen in enumerate(places):
        drawn[trial, chosen] = True
    return drawn


def _improved(
    contest: Contest,
    query: Embedded,
    chosen: Embedded,
    labels: Labels,
    places: Sequence[Positions],
    table: Table,
    variant: ReRanking | Affinity,
) -> list[QueryScores]:
    measure: Measure = "cosine" if isinstance(variant, Affinity) else contest.measure
    needs_gallery = isinstance(variant, Affinity) or contest.neighbours == "gallery"
    in_gallery = within(chosen, measure) if needs_gallery else None
    in_query = within(query, measure) if isinstance(variant, ReRanking) else None
    scores = []
    for rows in places:
        ours = table.take(rows, axis=1)
        theirs = None if in_gallery is None else in_gallery[np.ix_(rows, rows)]
        if isinstance(variant, Affinity):
            assert theirs is not None
            better = affinity(ours, theirs, k1=variant.k1, k2=variant.k2)
        else:
            assert in_query is not None
            better = -rerank(
                squared_distances(ours, measure),
                squared_distances(in_query, measure),
                None if theirs is None else squared_distances(theirs, measure),
                neighbours=contest.neighbours,
                k1=variant.k1,
                k2=variant.k2,
                original_weight=variant.original_weight,
            )
        drawn = np.ones((1, len(rows)), dtype=bool)
        scores += score_trials(better, contest.query, labels.rows(rows), drawn, contest.ignore)
    return scores


def _outcome(
    contest: Contest, variant: Variant, measure: Measure, scores: list[QueryScores]
) -> Outcome:
    persons = len(np.unique(contest.gallery.person_ids))
    curves = [cumulative_matches(trial.identity_rank, persons) for trial in scores]
    return Outcome(
        variant_name(contest, variant),
        measure,
        tuple(figures(trial) for trial in scores),
        100 * np.mean(curves, axis=0),
    )
