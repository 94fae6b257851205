"""Inner products of fp16 vectors, fast."""

import numpy as np
from numpy.typing import NDArray


def similarities(
    query: NDArray[np.float32], vectors: NDArray[np.float16]
) -> NDArray[np.float32]:
    """Return the inner product of a query (D,) with each vector (n, D), right to `summing_error`."""
    return np.asarray(vectors.astype(np.float32) @ query, np.float32)


def summing_error(dim: int) -> float:
    """Bound on the rounding error of a sum over `dim` products in at least eight float32 lanes."""
    return float((dim / 8 + 8) * 2.0**-24)
