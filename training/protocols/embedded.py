"""Lengths of embeddings, and the similarity of every query to every candidate."""

import numpy as np
from numpy.typing import NDArray


def normalised(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows divided by their Euclidean norm; rows of norm below 1e-12 stay near zero."""
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(norms, 1e-12), dtype=np.float32)
