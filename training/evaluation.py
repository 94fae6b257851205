"""Evaluation of embeddings on a dataset's published protocol.

Owns the way from samples to contests and from contests to rows that compare. Knows no model: the
embeddings of the test split come from anywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.config import Modality
from training.datasets.sample import Dataset, Sample, require
from training.errors import DatasetError
from training.metrics import Figures, mean_figures, spread_of_figures
from training.protocols.contest import Contest, Labels, Measure
from training.protocols.cross_modality import cross_modality
from training.protocols.drawing import TRIALS
from training.protocols.embedded import embedded
from training.protocols.llcm import llcm
from training.protocols.permutations import PERMUTATIONS, Permutations, load_permutations
from training.protocols.ranking import Outcome, rank
from training.protocols.regdb import regdb
from training.protocols.sysu_mm01 import Search, sysu_mm01
from training.protocols.variants import Affinity, ReRanking, Variant

Build = Callable[[Labels, Labels], Contest]
Sampling = Literal["auto", "published", "seeded"]


@dataclass(frozen=True)
class DatasetContest:
    """A contest whose query row i is `dataset.test[query_rows[i]]`, and likewise its gallery."""

    contest: Contest
    query_rows: NDArray[np.int64]
    gallery_rows: NDArray[np.int64]


@dataclass(frozen=True)
class EvaluationRow:
    """Figures of one method, with everything that decides whether two rows compare.

    `variant` is `plain` or starts with `re-ranked` or `affinity`. `cmc` is the mean over trials of
    the share of queries, in percent, whose identity ranks k or better, for k = 1, 2, ...
    """

    method: str
    protocol: str
    sampling: str
    measure: str
    variant: str
    queries: int
    trials: tuple[Figures, ...]
    cmc: tuple[float, ...] = ()

    @property
    def mean(self) -> Figures:
        """The mean over trials, in percent."""
        return mean_figures(self.trials)

    @property
    def std(self) -> Figures:
        """The sample standard deviation over trials; 0 for a single trial."""
        return spread_of_figures(self.trials)

    def as_json(self) -> dict[str, Any]:
        """Plain values; the mean figures stand at the top level, in percent."""
        return {
            "method": self.method,
            "protocol": self.protocol,
            "sampling": self.sampling,
            "measure": self.measure,
            "variant": self.variant,
            "queries": self.queries,
            **asdict(self.mean),
            "std": asdict(self.std),
            "trials": [asdict(trial) for trial in self.trials],
            "cmc": list(self.cmc),
        }


def contests(
    dataset: Dataset,
    *,
    search: Search = "all",
    shots: int = 1,
    trials: int = TRIALS,
    sampling: Sampling = "auto",
    measure: Measure = "cosine",
) -> list[DatasetContest]:
    """What a dataset's protocol ranks in its test split: one contest, or one a direction.

    Args:
        search: of SYSU-MM01.
        shots: of SYSU-MM01, images a person and camera.
        trials: of SYSU-MM01 and LLCM.
        sampling: of SYSU-MM01; `auto` uses the dataset's permutations where it has them.
        measure: of RegDB; `euclidean` is un-normalised, as the reference has it.

    Raises:
        DatasetError: the test split is empty, lacks a modality, or `published` has no permutations.
        ProtocolError: the permutations do not cover the test split.
    """
    require(dataset.test, "test", dataset.root)
    infrared = np.array([sample.modality is Modality.INFRARED for sample in dataset.test])
    if infrared.all() or not infrared.any():
        present = "infrared" if infrared.all() else "visible"
        raise DatasetError(f"{dataset.root}: the test split has only {present} images")
    labels = _labels(dataset)
    if dataset.name == "sysu-mm01":
        permutations = _permutations(dataset.root, sampling)
        sysu = partial(
            sysu_mm01, search=search, shots=shots, permutations=permutations, trials=trials
        )
        return [_between(labels, infrared, sysu)]
    from_infrared, from_visible = _directions(dataset.name, trials, measure)
    return [_between(labels, infrared, from_infrared), _between(labels, ~infrared, from_visible)]


def _directions(name: str, trials: int, measure: Measure) -> tuple[Build, Build]:
    """How a dataset's contest is built from queries and gallery: infrared queries, visible ones."""
    if name == "regdb":
        from_thermal = partial(regdb, direction="thermal-to-visible", measure=measure)
        from_visible = partial(regdb, direction="visible-to-thermal", measure=measure)
        return lambda query, gallery: from_thermal(gallery, query), from_visible
    build = partial(llcm, trials=trials) if name == "llcm" else cross_modality
    return (
        partial(build, direction="infrared-to-visible"),
        partial(build, direction="visible-to-infrared"),
    )


def evaluate(
    entry: DatasetContest,
    embeddings: NDArray[np.float32],
    method: str,
    *,
    rerank: bool = False,
    affinity: bool = False,
) -> list[EvaluationRow]:
    """The plain row, and behind it a re-ranked and an affinity row where asked for.

    Args:
        embeddings: (N, D), in the order of `dataset.test`; need not be normalised.

    Raises:
        ProtocolError: the embeddings do not fit, or are not finite.
    """
    variants: list[Variant] = [None]
    variants += [ReRanking()] if rerank else []
    variants += [Affinity()] if affinity else []
    whole = embedded(embeddings, "test")
    query, gallery = whole.rows(entry.query_rows), whole.rows(entry.gallery_rows)
    outcomes = rank(entry.contest, query, gallery, variants)
    return [row_of(entry.contest, method, outcome) for outcome in outcomes]


def row_of(contest: Contest, method: str, outcome: Outcome) -> EvaluationRow:
    """An outcome with what it needs to be compared."""
    return EvaluationRow(
        method=method,
        protocol=contest.protocol,
        sampling=contest.sampling,
        measure=outcome.measure,
        variant=outcome.variant,
        queries=len(contest.query),
        trials=outcome.trials,
        cmc=tuple(outcome.cmc.tolist()),
    )


def over_splits(rows: Sequence[EvaluationRow], splits: str) -> EvaluationRow:
    """One row from those of several splits, each of them a trial; `splits` goes into its name."""
    first = rows[0]
    shortest = min(len(row.cmc) for row in rows)
    return EvaluationRow(
        method=first.method,
        protocol=f"{first.protocol}, {splits}",
        sampling=first.sampling,
        measure=first.measure,
        variant=first.variant,
        queries=sum(row.queries for row in rows),
        trials=tuple(trial for row in rows for trial in row.trials),
        cmc=tuple(np.mean([row.cmc[:shortest] for row in rows], axis=0).tolist()),
    )


def _between(labels: Labels, is_query: NDArray[np.bool_], build: Build) -> DatasetContest:
    query_rows, gallery_rows = np.flatnonzero(is_query), np.flatnonzero(~is_query)
    contest = build(labels.rows(query_rows), labels.rows(gallery_rows))
    return DatasetContest(contest, query_rows, gallery_rows)


def _labels(dataset: Dataset) -> Labels:
    """Labels of the test split. SYSU-MM01's file numbers count, for its permutations speak of them;
    elsewhere samples are numbered as they come, sorted by path."""
    samples = dataset.test
    numbers: Sequence[int] = range(len(samples))
    if dataset.name == "sysu-mm01":
        numbers = [_image_number(sample) for sample in samples]
    return Labels(
        np.array([sample.person_id for sample in samples], dtype=np.int64),
        np.array([sample.camera_id for sample in samples], dtype=np.int64),
        np.array(numbers, dtype=np.int64),
    )


def _image_number(sample: Sample) -> int:
    name = sample.path.stem
    return int(name) if name.isdecimal() and len(name) < 10 else 0


def _permutations(root: Path, sampling: Sampling) -> Permutations | None:
    path = root / "exp" / PERMUTATIONS
    if sampling == "seeded" or (sampling == "auto" and not path.is_file()):
        return None
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; the published sampling needs it")
    return load_permutations(path)
