"""Outcome: the figures of a contest's trials. The one way from embeddings to figures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.errors import ProtocolError
from training.metrics import Figures, QueryScores, cumulative_matches, figures
from training.protocols.contest import Contest, Measure
from training.protocols.embedded import Embedded
from training.protocols.tables import Tables
from training.protocols.trials import score_trials
from training.protocols.variants import Variant, improved, measure_of, variant_name


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
    contest: Contest,
    query: Embedded,
    gallery: Embedded,
    variants: Sequence[Variant] = (None,),
    *,
    progress: bool = False,
) -> list[Outcome]:
    """Rank every trial of a contest, once for each variant.

    Args:
        query: in the order of `contest.query`.
        gallery: in the order of `contest.gallery`.

    Raises:
        ProtocolError: the embeddings do not fit the labels or each other, or no query has a right
            entry in some trial.
    """
    only_seen = all(variant is None for variant in variants)
    tables = Tables(contest, query, gallery, only_seen=only_seen)
    return [_outcome(contest, variant, _scores(tables, variant, progress)) for variant in variants]


def _scores(tables: Tables, variant: Variant, progress: bool) -> list[QueryScores]:
    contest = tables.contest
    if variant is None:
        table = tables.between(contest.measure)
        return score_trials(table, contest.query, tables.labels, tables.drawn, contest.ignore)
    scores = []
    name = variant_name(contest, variant).partition(" (")[0]
    for gallery in tqdm(tables.trials, desc=name, unit="trial", disable=not progress):
        everything = np.ones((1, len(gallery)), dtype=bool)
        scores += score_trials(
            improved(tables, variant, gallery),
            contest.query,
            tables.labels.rows(gallery),
            everything,
            contest.ignore,
        )
    return scores


def _outcome(contest: Contest, variant: Variant, scores: Sequence[QueryScores]) -> Outcome:
    for number, trial in enumerate(scores, start=1):
        if not trial.identity_rank.any():
            raise ProtocolError(
                f"{contest.protocol}: no query has its person in the gallery of trial {number}"
            )
    persons = len(np.unique(contest.gallery.person_ids))
    curves = [cumulative_matches(trial.identity_rank, persons) for trial in scores]
    return Outcome(
        variant_name(contest, variant),
        measure_of(contest, variant),
        tuple(figures(trial) for trial in scores),
        100 * np.mean(curves, axis=0),
    )
