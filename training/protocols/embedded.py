"""Similarities of embeddings by a protocol's measure, by blocks and without normalised copies."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import ProtocolError
from training.protocols.contest import Measure

ROWS = 2048
COLUMNS = 1024
TINY = np.float32(1e-12)

Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Embedded:
    """Embeddings (N, D), of which row i is `source[positions[i]]`, with their squared lengths (N,).

    Choosing rows copies no embedding; `vectors` does, and only where rows are not consecutive.
    """

    source: NDArray[np.float32]
    positions: Positions
    squares: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(N, D)."""
        return self.gathered(np.empty((len(self), self.source.shape[1]), dtype=np.float32))

    def gathered(self, memory: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D): a view where rows are consecutive, else copied to the start of `memory`."""
        if len(self) and (np.diff(self.positions) == 1).all():
            return self.source[self.positions[0] : self.positions[-1] + 1]
        part = memory[: len(self)]
        return np.take(self.source, self.positions, axis=0, out=part, mode="clip")

    @property
    def lengths(self) -> NDArray[np.float32]:
        """(N,): what a row is divided by to be of length 1."""
        return np.maximum(np.sqrt(self.squares), TINY)

    def rows(self, chosen: Positions) -> "Embedded":
        """The chosen rows."""
        return Embedded(self.source, self.positions[chosen], self.squares[chosen])


def embedded(vectors: NDArray[np.float32], name: str) -> Embedded:
    """Measure each row once, which also finds what is not finite.

    Raises:
        ProtocolError: not a float32 matrix, or a row is not finite or too long to be squared.
    """
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise ProtocolError(
            f"{name} embeddings: expected float32 (N, D), got {vectors.dtype} {vectors.shape}"
        )
    with np.errstate(over="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
    if not np.isfinite(squares).all():
        row = int(np.flatnonzero(~np.isfinite(squares))[0])
        raise ProtocolError(f"{name} embeddings: row {row} is not finite")
    return Embedded(vectors, np.arange(len(vectors)), squares)


def fill(
    table: NDArray[np.float32],
    query: Embedded,
    rows: Positions,
    gallery: Embedded,
    columns: Positions,
    measure: Measure,
) -> None:
    """Write `table[rows, columns]`: similarities of some queries to some of the gallery.

    Cosine, or the negative squared Euclidean distance: higher is closer. Holds one block of each
    side, 2,048 and 1,024 embeddings, and their products.
    """
    # Blocks are gathered into the same memory again and again: fresh pages cost more than copying.
    dims = query.source.shape[1]
    left = np.empty((min(ROWS, len(rows)), dims), dtype=np.float32)
    right = np.empty((min(COLUMNS, len(columns)), dims), dtype=np.float32)
    products = np.empty(len(left) * len(right), dtype=np.float32)
    for some in _blocks(rows, ROWS):
        ours = query.rows(some)
        ours_in_place = ours.gathered(left)
        for across in _blocks(columns, COLUMNS):
            theirs = gallery.rows(across)
            block = products[: len(some) * len(across)].reshape(len(some), len(across))
            np.matmul(ours_in_place, theirs.gathered(right).T, out=block)
            table[some[:, None], across] = _measured(block, ours, theirs, measure)


def within(chosen: Embedded, measure: Measure) -> NDArray[np.float32]:
    """(N, N): every row to every row, symmetric to the last bit."""
    # One product of a matrix with its own transpose takes half the work of any other.
    vectors = chosen.vectors
    return _measured(vectors @ vectors.T, chosen, chosen, measure)


def squared_distances(similarity: NDArray[np.float32], measure: Measure) -> NDArray[np.float32]:
    """Squared Euclidean distances, of unit vectors if the measure is cosine."""
    return 2 - 2 * similarity if measure == "cosine" else -similarity


def normalised(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows divided by their Euclidean norm; rows of norm below 1e-12 stay near zero."""
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(norms, TINY), dtype=np.float32)


def _measured(
    products: NDArray[np.float32], left: Embedded, right: Embedded, measure: Measure
) -> NDArray[np.float32]:
    """Products turned, in place, into similarities."""
    if measure == "cosine":
        products /= left.lengths[:, None]
        products /= right.lengths
    else:
        products *= 2
        products -= left.squares[:, None]
        products -= right.squares
    return products


def _blocks(positions: Positions, step: int) -> Iterator[Positions]:
    for start in range(0, len(positions), step):
        yield positions[start : start + step]
