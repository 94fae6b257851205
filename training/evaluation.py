"""Evaluation of anything that embeds images on a dataset's published protocol.

Owns the way from samples to the protocols' arrays. Knows no model: an `Embed` is a function.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.config import Modality
from training.baselines import Embed
from training.datasets.sample import Dataset, Sample, require
from training.metrics import Figures
from training.protocols.embedded import EmbeddedSet
from training.protocols.regdb import Direction, evaluate_regdb
from training.protocols.sysu_mm01 import (
    QUERY_CAMERAS,
    Search,
    evaluate_sysu_mm01,
    load_permutations,
)

COLUMNS = ("rank1", "rank5", "rank10", "rank20", "mAP")
PERMUTATIONS = Path("exp") / "rand_perm_cam.mat"
DIRECTIONS: tuple[Direction, ...] = ("thermal-to-visible", "visible-to-thermal")


@dataclass(frozen=True)
class EvaluationRow:
    """Figures of one method, with everything that decides whether two rows compare."""

    method: str
    protocol: str
    sampling: str
    queries: int
    figures: Figures
    trials: tuple[Figures, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, figures in percent."""
        return {
            "method": self.method,
            "protocol": self.protocol,
            "sampling": self.sampling,
            "queries": self.queries,
            **asdict(self.figures),
            "trials": [asdict(trial) for trial in self.trials],
        }


def evaluate_on_sysu_mm01(
    dataset: Dataset, method: str, embed: Embed, *, search: Search, shots: int, trials: int
) -> EvaluationRow:
    """Embed the test split and score it; uses the dataset's permutations where it has them.

    Raises:
        DatasetError: the test split is empty or has a broken image.
        ProtocolError: the permutations do not cover the test split.
    """
    require(dataset.test, "test", dataset.root)
    embedded = _embed(dataset.test, embed)
    is_query = np.isin(embedded.camera_ids, QUERY_CAMERAS)
    published = dataset.root / PERMUTATIONS
    result = evaluate_sysu_mm01(
        embedded.rows(is_query),
        embedded.rows(~is_query),
        search=search,
        shots=shots,
        permutations=load_permutations(published) if published.is_file() else None,
        trials=trials,
    )
    protocol = f"SYSU-MM01 {search} search, {shots}-shot, mean of {trials} trials"
    return EvaluationRow(
        method, protocol, result.sampling, result.queries, result.mean, result.trials
    )


def evaluate_on_regdb(
    dataset: Dataset, method: str, embed: Embed, *, split: int
) -> list[EvaluationRow]:
    """Embed the test split once and score both directions by cosine.

    Raises:
        DatasetError: the test split is empty or has a broken image.
    """
    require(dataset.test, "test", dataset.root)
    embedded = _embed(dataset.test, embed)
    is_thermal = np.array([sample.modality is Modality.INFRARED for sample in dataset.test])
    visible, infrared = embedded.rows(~is_thermal), embedded.rows(is_thermal)
    rows = []
    for direction in DIRECTIONS:
        result = evaluate_regdb(visible, infrared, direction=direction)
        protocol = f"RegDB {direction}, split {split}"
        rows.append(
            EvaluationRow(
                method, protocol, "every image", result.queries, result.mean, (result.mean,)
            )
        )
    return rows


def table(rows: Sequence[EvaluationRow]) -> str:
    """The rows as text, one block a protocol."""
    blocks: dict[str, list[str]] = {}
    for row in rows:
        title = f"{row.protocol}; {row.queries} queries; gallery by {row.sampling}"
        values = asdict(row.figures)
        cells = "".join(f"{values[name]:>8.1f}" for name in COLUMNS)
        blocks.setdefault(title, []).append(f"{row.method:<18}{cells}")
    heading = " " * 18 + "".join(f"{name:>8}" for name in COLUMNS)
    return "\n\n".join("\n".join([title, heading, *lines]) for title, lines in blocks.items())


def _embed(samples: Sequence[Sample], embed: Embed) -> EmbeddedSet:
    return EmbeddedSet(
        embed(samples),
        np.array([sample.person_id for sample in samples], dtype=np.int64),
        np.array([sample.camera_id for sample in samples], dtype=np.int64),
        np.array([_image_number(sample) for sample in samples], dtype=np.int64),
    )


def _image_number(sample: Sample) -> int:
    """The number in the file's name, which SYSU-MM01's permutations speak of; 0 for none."""
    return int(sample.path.stem) if sample.path.stem.isdigit() else 0
