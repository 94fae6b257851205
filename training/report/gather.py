"""From a dataset, its embeddings and the rows of its evaluation to what a report says of them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.comparison import FigureBlock
from training.datasets.sample import Dataset
from training.dimensions import DimensionStudy
from training.evaluation import DatasetContest, EvaluationRow
from training.protocols.embedded import normalised
from training.report.content import (
    Curve,
    CurvePlot,
    DimensionLine,
    Dimensions,
    DimensionTable,
    Header,
    RankedEntry,
    RankedLists,
    RankedQuery,
    ReportContent,
)
from training.report.crops import crop_of
from training.report.histograms import PairHistogram, pair_histograms
from training.report.patterns import PatternMaps, compare_patterns
from training.report.ranked import Ranking, best_and_worst

MODEL = "model"
"""The method that a report is about; curves of baselines are left out."""
EXPLAINED = 2
"""Of the best and of the worst queries, so many are compared pattern by pattern."""


@dataclass(frozen=True)
class Subject:
    """What was embedded: (N, D) in the order of `dataset.test`, and the contest to look into.

    `projected` says that no part of an embedding belongs to a pattern alone.
    """

    dataset: Dataset
    entry: DatasetContest
    embeddings: NDArray[np.float32]
    pattern_maps: PatternMaps
    projected: bool


def gather(
    header: Header,
    rows: Sequence[EvaluationRow],
    blocks: Sequence[FigureBlock],
    subject: Subject,
    study: DimensionStudy | None = None,
) -> ReportContent:
    """Everything that a report says, ranked lists of the subject's contest.

    Raises:
        ImageError, OSError: an image that could be embedded can no longer be read.
        ModelError: the pattern maps could not be computed.
    """
    best, worst = rank_first_gallery(subject.entry, subject.embeddings)
    return ReportContent(
        header=header,
        blocks=blocks,
        plots=match_plots(rows),
        histograms=similarity_histograms(subject.dataset, subject.embeddings),
        ranked=ranked_lists(subject.dataset, subject.entry, best, worst),
        patterns=compare_patterns(
            subject.dataset,
            pairs_to_explain(best, worst),
            subject.embeddings,
            subject.pattern_maps,
            projected=subject.projected,
        ),
        dimensions=None if study is None else dimension_tables(study),
    )


def match_plots(rows: Sequence[EvaluationRow]) -> list[CurvePlot]:
    """The model's curves, a plot for each protocol and a curve for each variant."""
    plots: dict[str, list[Curve]] = {}
    for row in rows:
        if row.method == MODEL and row.cmc:
            plots.setdefault(row.protocol, []).append(Curve(row.variant, row.cmc))
    return [CurvePlot(protocol, tuple(curves)) for protocol, curves in plots.items()]


def similarity_histograms(dataset: Dataset, embeddings: NDArray[np.float32]) -> list[PairHistogram]:
    """Similarities of genuine and impostor pairs of the test split; embeddings (N, D)."""
    persons = np.array([sample.person_id for sample in dataset.test], dtype=np.int64)
    modalities = [sample.modality for sample in dataset.test]
    return pair_histograms(embeddings, persons, modalities)


def rank_first_gallery(
    entry: DatasetContest, embeddings: NDArray[np.float32]
) -> tuple[list[Ranking], list[Ranking]]:
    """Queries answered best and worst in the gallery of a contest's first trial.

    Plain, by cosine. Rows in the rankings are those of `dataset.test`, embeddings (N, D) likewise.
    """
    contest, drawn = entry.contest, entry.contest.trials[0]
    query_rows, gallery_rows = entry.query_rows, entry.gallery_rows[drawn]
    best, worst = best_and_worst(
        _similarity(entry, embeddings),
        contest.query.person_ids,
        contest.gallery.person_ids[drawn],
    )

    def in_dataset(ranking: Ranking) -> Ranking:
        return replace(
            ranking,
            query=int(query_rows[ranking.query]),
            entries=gallery_rows[ranking.entries],
        )

    return [in_dataset(each) for each in best], [in_dataset(each) for each in worst]


def ranked_lists(
    dataset: Dataset, entry: DatasetContest, best: Sequence[Ranking], worst: Sequence[Ranking]
) -> RankedLists:
    """The rankings with their crops."""
    contest = entry.contest
    gallery = (
        f"{contest.protocol}: {len(contest.query):,} queries against the gallery of the first"
        f" trial, {len(contest.trials[0]):,} images ({contest.sampling}), plain, by cosine."
        " Entries that the protocol makes a query skip are left out; ranks count entries."
    )
    return RankedLists(
        gallery,
        tuple(_ranked_query(dataset, ranking) for ranking in best),
        tuple(_ranked_query(dataset, ranking) for ranking in worst),
    )


def pairs_to_explain(best: Sequence[Ranking], worst: Sequence[Ranking]) -> list[tuple[int, int]]:
    """Some queries of either kind, each with the entry that it ranked first."""
    chosen = (*best[:EXPLAINED], *worst[:EXPLAINED])
    return [(ranking.query, int(ranking.entries[0])) for ranking in chosen]


def dimension_tables(study: DimensionStudy) -> Dimensions:
    """A table for each protocol of a study, in its order."""
    tables: dict[str, list[DimensionLine]] = {}
    for each in study.rows:
        line = DimensionLine(each.dimension, each.vector_bytes, each.kept, asdict(each.row.mean))
        tables.setdefault(each.row.protocol, []).append(line)
    found = (DimensionTable(protocol, tuple(lines)) for protocol, lines in tables.items())
    return Dimensions(tuple(found), study.left_out)


def _similarity(
    entry: DatasetContest, embeddings: NDArray[np.float32]
) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    gallery = normalised(embeddings[entry.gallery_rows[entry.contest.trials[0]]])
    ignored = entry.contest.ignored(0)

    def similarity(queries: NDArray[np.int64]) -> NDArray[np.float32]:
        found = normalised(embeddings[entry.query_rows[queries]]) @ gallery.T
        if ignored is not None:
            found[ignored[queries]] = -np.inf
        return found

    return similarity


def _ranked_query(dataset: Dataset, ranking: Ranking) -> RankedQuery:
    entries = zip(ranking.entries, ranking.similarities, ranking.right, strict=True)
    return RankedQuery(
        crop_of(dataset, ranking.query),
        ranking.first_right,
        tuple(
            RankedEntry(crop_of(dataset, int(row)), float(similarity), bool(right))
            for row, similarity, right in entries
        ),
    )
