"""Which quantizer a gallery gets: by its size and by the spectrum measured on a sample of it.

Margins are measured on rows that the quantizer was not fitted on, over all their pairs and,
apart from these, over each row's nearest ones: neighbours share what the code leaves out, so the
pairs that make the answer are the ones that it underrates.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gallery_index.index.blas_threads import one_blas_thread
from gallery_index.index.quantizers import (
    ExactFp16,
    HadamardRaBitQ,
    PcaInt8,
    Quantizer,
    Vectors,
    rotated_mean,
)

EXACT_BELOW: Final = 4096
SAMPLE_ROWS: Final = 2048
LADDER: Final = (128, 256, 512, 1024)
_SHARE = 0.8  # a margin is small that is at most this part of the similarities' spread
_TAIL = 1e-4  # pairs that may exceed the margin
_NEIGHBOURS = 10
_CAUTION = 1.25  # for people who are not in the sample
_FEW_ROWS = 64  # held-out rows below which no tail can be measured
_HEADROOM = 1.25  # of a coordinate's range over what the sample shows


@one_blas_thread()
def choose(sample: NDArray[np.float16], entries: int, exact_below: int = EXACT_BELOW) -> Quantizer:
    """Return the cheapest quantizer that describes a gallery of `entries` like the sample (n, D).

    Exact below `exact_below` entries; else the fewest dimensions of `LADDER` whose margin is small
    against the spread of similarities; a bit a dimension where none is. At most `SAMPLE_ROWS` rows
    of the sample are used; they should be drawn at random.
    """
    dim = sample.shape[1]
    if entries < exact_below or dim <= LADDER[0]:
        return ExactFp16(dim)
    trial = _Trial(sample)
    for width in LADDER:
        if trial.allows(width):
            quantizer = trial.reduced(width)
            if trial.is_sharp(quantizer):
                return quantizer
    return trial.rotated()


@one_blas_thread()
def finer(quantizer: Quantizer, sample: NDArray[np.float16]) -> Quantizer | None:
    """Return the next rung: more dimensions, then a bit each at full dimension, then exact."""
    if isinstance(quantizer, ExactFp16):
        return None
    if isinstance(quantizer, PcaInt8):
        trial = _Trial(sample)
        for width in LADDER:
            if width > quantizer.code_size and trial.allows(width):
                return trial.reduced(width)
        return trial.rotated()
    return ExactFp16(quantizer.dim)


class _Trial:
    """A sample in two parts: three quarters to fit on, the rest to measure on."""

    def __init__(self, sample: NDArray[np.float16]) -> None:
        order = np.random.default_rng(0).permutation(len(sample))[:SAMPLE_ROWS]
        cut = len(order) * 3 // 4
        self._fitted = sample[order[:cut]].astype(np.float32)
        self._held_out = sample[order[cut:]]
        self._rows = self._held_out.astype(np.float32)
        self._exact = self._rows @ self._rows.T
        self._others = ~np.eye(len(self._rows), dtype=bool)
        self._basis: Vectors | None = None

    def allows(self, width: int) -> bool:
        return width < self._fitted.shape[1] and width <= len(self._fitted) * 2 // 3

    def reduced(self, width: int) -> PcaInt8:
        if self._basis is None:
            self._basis = _directions(self._fitted)
        basis = self._basis[:width].copy()
        peak = np.abs(self._fitted @ basis.T).max(axis=0)
        step = (np.maximum(peak, 1e-6) * _HEADROOM / 127).astype(np.float32)
        quantizer = PcaInt8(basis, step, 0.0)
        residual, rounding = quantizer.error_scales(self._rows)
        error = self._exact - quantizer.prepare(self._rows) @ _units(quantizer, self._held_out).T
        reach = (_CAUTION * error - rounding[:, None]) / np.maximum(residual, 1e-6)[:, None]
        # By Cauchy and Schwarz no pair can be further off than both residuals' product.
        return PcaInt8(basis, step, self._tail(reach, float(residual.max(initial=0))))

    def rotated(self) -> HadamardRaBitQ:
        centre = rotated_mean(self._fitted)
        quantizer = HadamardRaBitQ(self._fitted.shape[1], centre, 0.0)
        index = quantizer.new_index()
        index.add_sa_codes(quantizer.encode(self._held_out))
        found, labels = index.search(quantizer.prepare(self._rows), len(self._rows))
        estimates = np.empty_like(self._exact)
        np.put_along_axis(estimates, labels, found, axis=1)
        distance = quantizer.distances(self._rows)
        reach = _CAUTION * (self._exact - estimates) / np.maximum(distance, 1e-6)[:, None]
        return HadamardRaBitQ(quantizer.dim, centre, self._tail(reach, float(distance.max())))

    def is_sharp(self, quantizer: PcaInt8) -> bool:
        residual, rounding = quantizer.error_scales(self._rows)
        margin = np.median(quantizer.reach * residual + rounding)
        return bool(margin <= _SHARE * self._exact[self._others].std())

    def _tail(self, reach: NDArray[Any], limit: float) -> float:
        """Return a reach that hardly any pair exceeds; with few rows, the one that none can."""
        if len(self._rows) < _FEW_ROWS:
            return limit
        nearest = np.argsort(np.where(self._others, -self._exact, np.inf), axis=1)[:, :_NEIGHBOURS]
        pairs = np.quantile(reach[self._others], 1 - _TAIL)
        neighbours = np.quantile(np.take_along_axis(reach, nearest, axis=1), 0.99)
        return float(np.clip(max(pairs, neighbours), 0, limit))


def _directions(rows: Vectors) -> Vectors:
    """Return the first directions (d, D) of uncentred rows, strongest first, by their Gram matrix.

    At most as many as the ladder's last rung and two thirds of the rows: later ones fit noise.
    """
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    count = min(LADDER[-1], len(rows) * 2 // 3)
    strongest = np.argsort(-values)[:count]
    weights = vectors[:, strongest] / np.sqrt(np.maximum(values[strongest], 1e-12))
    basis: Vectors = weights.T.astype(np.float32) @ rows
    # Directions of rows that span fewer dimensions are rounding noise: they say nothing.
    basis[values[strongest] <= 1e-6 * values.max()] = 0
    return basis


def _units(quantizer: PcaInt8, vectors: NDArray[np.float16]) -> Vectors:
    return quantizer.encode(vectors).astype(np.float32) - 128
