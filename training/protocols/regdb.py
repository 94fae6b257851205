"""The RegDB protocol: every test image of one modality against every one of the other.

Figures are averaged over the ten splits by whoever has a model for each of them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import ProtocolError
from training.metrics import Figures, retrieval_figures
from training.protocols.embedded import EmbeddedSet, normalised

Direction = Literal["thermal-to-visible", "visible-to-thermal"]
Measure = Literal["cosine", "euclidean"]


@dataclass(frozen=True)
class RegdbResult:
    """Figures of one split and direction, with the measure that ranked."""

    direction: Direction
    measure: Measure
    queries: int
    mean: Figures


def evaluate_regdb(
    visible: EmbeddedSet,
    thermal: EmbeddedSet,
    *,
    direction: Direction,
    measure: Measure = "cosine",
) -> RegdbResult:
    """Score embeddings in one direction.

    Args:
        measure: `euclidean` is un-normalised, as the reference evaluates RegDB.

    Raises:
        ProtocolError: a set is empty.
    """
    if not len(visible) or not len(thermal):
        raise ProtocolError(
            f"{len(visible)} visible and {len(thermal)} thermal images: none to rank"
        )
    query, gallery = (thermal, visible) if direction == "thermal-to-visible" else (visible, thermal)
    if measure == "cosine":
        similarity = normalised(query.embeddings) @ normalised(gallery.embeddings).T
    else:
        similarity = _negative_squared_distance(query.embeddings, gallery.embeddings)
    figures = retrieval_figures(similarity, query.person_ids, gallery.person_ids)
    return RegdbResult(direction, measure, len(query), figures)


def _negative_squared_distance(
    query: NDArray[np.float32], gallery: NDArray[np.float32]
) -> NDArray[np.float32]:
    squares = np.square(query).sum(axis=1)[:, None] + np.square(gallery).sum(axis=1)[None, :]
    return np.asarray(2 * query @ gallery.T - squares, dtype=np.float32)
