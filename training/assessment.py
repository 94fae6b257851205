"""From datasets and something that embeds to the rows that compare: what `mpanet evaluate` prints.

Owns which contests are held and that every file is embedded once; how one is ranked belongs to
`training.evaluation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from training.artifact_embedding import embed_parts
from training.baselines import Embed
from training.datasets.readers import DatasetName, read_dataset
from training.datasets.sample import Dataset
from training.errors import ProtocolError
from training.evaluation import (
    DatasetContest,
    EvaluationRow,
    Sampling,
    contests,
    evaluate,
    over_splits,
)
from training.protocols.drawing import TRIALS
from training.protocols.sysu_mm01 import Search

SHOTS = (1, 10)
EVERY_SETTING: tuple[tuple[Search, int], ...] = tuple(product(get_args(Search), SHOTS))


@dataclass(frozen=True)
class Assessment:
    """One test split with the contests to be held in it; `split` is RegDB's number of it."""

    dataset: Dataset
    entries: tuple[DatasetContest, ...]
    split: int


def assessments(
    name: DatasetName,
    root: Path,
    *,
    settings: Sequence[tuple[Search, int]] = (("all", 1),),
    trials: int = TRIALS,
    sampling: Sampling = "auto",
    splits: Sequence[int] = (1,),
) -> list[Assessment]:
    """Read a dataset and set up its contests: one assessment, or one for each of RegDB's splits.

    Args:
        settings: of SYSU-MM01, pairs of search and shots; elsewhere one setting is all there is.

    Raises:
        DatasetError: the files are not as the layout says, or the test split lacks a modality.
        ProtocolError: the permutations do not cover the test split.
    """
    found = []
    for split in splits:
        dataset = read_dataset(name, root, split=split)
        entries = [
            entry
            for search, shots in settings
            for entry in contests(
                dataset, search=search, shots=shots, trials=trials, sampling=sampling
            )
        ]
        found.append(Assessment(dataset, tuple(entries), split))
    return found


def assess(
    parts: Sequence[Assessment],
    method: str,
    embed: Embed,
    *,
    rerank: bool = False,
    affinity: bool = False,
) -> tuple[list[EvaluationRow], NDArray[np.float32]]:
    """Hold every contest. Returns the rows, and the embeddings (N, D) of the first test split.

    Rows of RegDB name their split, or are the mean over splits.

    Raises:
        DatasetError: an image cannot be read.
        ProtocolError: no query has an entry that it could find.
    """
    held: list[list[EvaluationRow]] = []
    first = None
    tests = [part.dataset.test for part in parts]
    for part, embeddings in zip(parts, embed_parts(embed, tests), strict=True):
        first = embeddings if first is None else first
        held.append([
            row
            for entry in part.entries
            for row in evaluate(entry, embeddings, method, rerank=rerank, affinity=affinity)
        ])  # fmt: skip
    assert first is not None, "there is at least one assessment"
    rows = held[0]
    if parts[0].dataset.name == "regdb":
        splits = [part.split for part in parts]
        rows = [over_splits(row_of_each, _named(splits)) for row_of_each in zip(*held, strict=True)]
    for row in rows:
        if np.isnan(row.mean.mAP):
            raise ProtocolError(f"{row.protocol}: no query has an entry that it could find")
    return rows, first


def _named(splits: Sequence[int]) -> str:
    return f"split {splits[0]}" if len(splits) == 1 else f"mean of {len(splits)} splits"
