"""The dimension study: what a shorter embedding costs in rank-1, mAP and mINP.

Owns which lengths are tried and how the rows are shown. What a protocol ranks is
`training.evaluation`; how embeddings are shortened is `training.projection`, in the same way as
`mpanet export --project` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ProjectionError
from training.evaluation import DatasetContest, EvaluationRow, evaluate
from training.projection import fit_pca_up_to

DIMENSIONS = (64, 128, 256, 512, 1024, 2048)
BYTES_PER_VALUE = 2  # a gallery keeps fp16


@dataclass(frozen=True)
class DimensionRow:
    """Figures of embeddings of one length; `kept` is the share of the squares that it holds."""

    dimension: int
    kept: float
    row: EvaluationRow

    @property
    def vector_bytes(self) -> int:
        """Bytes of one such embedding in a gallery's vector file, and again in its index."""
        return BYTES_PER_VALUE * self.dimension

    def as_json(self) -> dict[str, Any]:
        """Plain values; figures in percent."""
        return {
            "dimension": self.dimension,
            "vector_bytes": self.vector_bytes,
            "kept": self.kept,
            **self.row.as_json(),
        }


@dataclass(frozen=True)
class DimensionStudy:
    """Rows by protocol and rising dimension, the full length last; `left_out` says what and why."""

    rows: tuple[DimensionRow, ...]
    left_out: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"rows": [row.as_json() for row in self.rows], "left_out": list(self.left_out)}

    def table(self) -> str:
        """The rows as text, one block a protocol, and the dimensions left out."""
        heading = f"{'dimension':>9}{'bytes':>8}{'kept':>8}{'rank1':>8}{'mAP':>8}{'mINP':>8}"
        blocks: dict[str, list[str]] = {}
        for row in self.rows:
            title = f"{row.row.protocol}; {row.row.queries} queries; gallery by {row.row.sampling}"
            blocks.setdefault(title, [title, heading]).append(_line(row))
        texts = ["\n".join(lines) for lines in blocks.values()]
        if self.left_out:
            texts.append("\n".join(f"left out: {reason}" for reason in self.left_out))
        return "\n\n".join(texts)


def dimension_study(
    entries: Sequence[DatasetContest],
    training: NDArray[np.float32],
    test: NDArray[np.float32],
    *,
    dimensions: Sequence[int] = DIMENSIONS,
) -> DimensionStudy:
    """Score test embeddings at each dimension, projected by what training embeddings span.

    Args:
        entries: what `training.evaluation.contests` gives for the dataset.
        training: (N, D) embeddings of the training split, never of the test split.
        test: (M, D) in the order of the dataset's test split.
        dimensions: lengths to try, each at least 1; the full length is always there.

    Raises:
        ProjectionError: a dimension below 1, no training embeddings, or values not finite.
        ProtocolError: the test embeddings do not fit the entries, or are not finite.
    """
    full = test.shape[1]
    wanted = sorted(set(dimensions))
    if wanted and wanted[0] < 1:
        raise ProjectionError(f"expected dimensions of at least 1, got {wanted[0]}")
    fitted = fit_pca_up_to(training, min(max(wanted, default=1), full))
    lengths = [dimension for dimension in wanted if dimension < full and dimension <= fitted.dim]
    rows = []
    for dimension in lengths:
        projection = fitted.first(dimension)
        kept = float(projection.explained_variance_ratio.sum())
        rows += _rows(entries, projection.apply(test), kept)
    rows += _rows(entries, test, 1.0)
    names = list(dict.fromkeys(row.row.protocol for row in rows))
    return DimensionStudy(
        tuple(sorted(rows, key=lambda row: (names.index(row.row.protocol), row.dimension))),
        tuple(
            _reason(dimension, full, fitted.dim, len(training))
            for dimension in wanted
            if dimension not in lengths
        ),
    )


def _rows(
    entries: Sequence[DatasetContest], embeddings: NDArray[np.float32], kept: float
) -> list[DimensionRow]:
    dimension = embeddings.shape[1]
    method = f"model, {dimension:,} dimensions"
    return [
        DimensionRow(dimension, kept, row)
        for entry in entries
        for row in evaluate(entry, embeddings, method)
    ]


def _line(row: DimensionRow) -> str:
    mean = row.row.mean
    return (
        f"{row.dimension:>9,}{row.vector_bytes:>8,}{row.kept:>8.1%}"
        f"{mean.rank1:>8.2f}{mean.mAP:>8.2f}{mean.mINP:>8.2f}"
    )


def _reason(dimension: int, full: int, rank: int, images: int) -> str:
    if dimension >= full:
        return f"{dimension:,} dimensions: the embedding has {full:,}"
    return f"{dimension:,} dimensions: {images:,} training embeddings span {rank:,}"
