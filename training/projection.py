"""Principal directions of embeddings: the matrix that shortens them and keeps their ranking.

NumPy only. Putting the matrix into an artifact's graph is `model.network.export`; what shortening
costs in rank-1 and mAP is `training.dimensions`. Nothing is centred: similarity is the inner
product, and the directions of the uncentred embeddings are those that keep inner products best
(docs/decisions.md has the measurement).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import ProjectionError

LARGEST_EXACT = 4096  # sides of a symmetric matrix that is decomposed whole
BLOCK_ROWS = 1024  # rows held in float64 at a time
OVERSAMPLING = 1.25  # directions iterated for each one that is kept
SETTLED = 1e-5  # relative change of what is kept, from one iteration to the next
MOST_ITERATIONS = 50
SMALLEST_DEVIATION = 1e-6  # of the largest: below it are float32's roundings, not directions
TINY = 1e-12


@dataclass(frozen=True)
class Projection:
    """A linear map of embeddings to shorter ones of length 1.

    matrix: (D, dim) float32, orthonormal columns; the largest component of each is positive.
    explained_variance_ratio: (dim,) float64, falling: each column's share of the sum of squares
    of the embeddings that it was fitted on, each scaled to length 1.
    """

    matrix: NDArray[np.float32]
    explained_variance_ratio: NDArray[np.float64]

    @property
    def dim(self) -> int:
        """Length of what comes out."""
        return int(self.matrix.shape[1])

    def apply(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shorten (N, D) to (N, dim) float32 of length 1; what has no part in them stays zero."""
        shortened = embeddings @ self.matrix
        return np.asarray(shortened / _lengths(shortened)[:, None], dtype=np.float32)

    def first(self, dim: int) -> "Projection":
        """The projection to the first `dim` directions alone."""
        return Projection(self.matrix[:, :dim], self.explained_variance_ratio[:dim])


def fit_pca(embeddings: NDArray[np.float32], dim: int) -> Projection:
    """Fit the `dim` directions that keep most of embeddings (N, D), as `fit_pca_up_to` does.

    Raises:
        ProjectionError: the embeddings span fewer dimensions than `dim`, are no (N, D), or hold
            values that are not finite.
    """
    fitted = fit_pca_up_to(embeddings, dim)
    if fitted.dim < dim:
        count, width = embeddings.shape
        raise ProjectionError(
            f"expected at most {fitted.dim:,} dimensions, which {count:,} training embeddings of"
            f" {width:,} span, got {dim:,}"
        )
    return fitted


def fit_pca_up_to(embeddings: NDArray[np.float32], dim: int) -> Projection:
    """Fit the `dim` leading right singular vectors of embeddings (N, D), or all that there are.

    Rows are scaled to length 1 first. Computed in float64, and the same at each call. With up to
    4,096 rows or columns the smaller of the two matrices of inner products is decomposed whole;
    with more of both, the leading directions are iterated from a fixed start until what they keep
    settles. Memory beside `embeddings`, in float64: up to 4,096 x D and four matrices of
    4,096 x 4,096, or four of D x 1.25 dim.

    Raises:
        ProjectionError: `dim` below 1, no (N, D), or values that are not finite.

    Source: Halko, Martinsson, Tropp, SIAM Review 2011, algorithm 4.4 (subspace iteration).
    """
    if embeddings.ndim != 2 or not embeddings.size or dim < 1:
        raise ProjectionError(
            f"expected embeddings (N, D) and at least 1 dimension, got {embeddings.shape} and {dim}"
        )
    lengths = _lengths(embeddings)
    if not np.isfinite(lengths).all():
        row = int(np.flatnonzero(~np.isfinite(lengths))[0])
        raise ProjectionError(f"expected finite embeddings, got NaN or infinity in row {row}")
    squares, directions = _decompose(embeddings, dim)
    kept = min(dim, int((squares > squares[0] * SMALLEST_DEVIATION**2).sum()))
    total = max(1, int(np.count_nonzero(lengths > TINY)))
    return Projection(_oriented(directions[:, :kept]), squares[:kept] / total)


def _decompose(
    embeddings: NDArray[np.float32], dim: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared singular values, falling, and right singular vectors (D, at least dim)."""
    count, width = embeddings.shape
    if width <= min(LARGEST_EXACT, count):
        moment = np.zeros((width, width))
        for block in _unit_blocks(embeddings):
            moment += block.T @ block
        return _leading(moment)
    if count <= LARGEST_EXACT:
        rows = np.concatenate(list(_unit_blocks(embeddings)))  # (N, D)
        squares, left = _leading(rows @ rows.T)
        return squares, rows.T @ left[:, :dim]
    return _iterate(embeddings, dim)


def _iterate(
    embeddings: NDArray[np.float32], dim: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leading directions by subspace iteration; each round reads the embeddings once."""
    width = min(min(embeddings.shape), int(OVERSAMPLING * dim) + 32)
    start = np.random.default_rng(0).standard_normal((embeddings.shape[1], width))
    basis, kept = np.linalg.qr(start)[0], 0.0
    for _ in range(MOST_ITERATIONS):
        image = np.zeros_like(basis)  # (D, width)
        for block in _unit_blocks(embeddings):
            image += block.T @ (block @ basis)
        squares, rotation = _leading(basis.T @ image)
        before, kept = kept, float(squares[:dim].sum())
        if kept - before <= SETTLED * kept:
            break
        basis = np.linalg.qr(image)[0]
    return squares, basis @ rotation


def _leading(symmetric: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues, falling, and the eigenvectors as columns."""
    values, vectors = np.linalg.eigh(symmetric)
    return values[::-1], vectors[:, ::-1]


def _oriented(directions: NDArray[np.float64]) -> NDArray[np.float32]:
    """The directions as orthonormal columns, each with its largest component positive."""
    orthonormal = np.linalg.qr(directions)[0]
    largest = np.abs(orthonormal).argmax(axis=0)
    signs = np.sign(orthonormal[largest, np.arange(orthonormal.shape[1])])
    return np.ascontiguousarray(orthonormal * signs, dtype=np.float32)


def _unit_blocks(embeddings: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
    """Rows of length 1 in float64, some at a time."""
    for start in range(0, len(embeddings), BLOCK_ROWS):
        block = embeddings[start : start + BLOCK_ROWS].astype(np.float64)
        yield block / _lengths(block)[:, None]


def _lengths(rows: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return np.maximum(lengths, TINY)
