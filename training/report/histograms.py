"""Similarities of genuine and impostor pairs, counted for each pair of modalities.

Every pair of two different images counts once, those of one camera included.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.config import Modality
from training.protocols.embedded import normalised

PAIRS = (
    (Modality.INFRARED, Modality.VISIBLE),
    (Modality.VISIBLE, Modality.VISIBLE),
    (Modality.INFRARED, Modality.INFRARED),
)
EDGES = np.round(np.linspace(-1.0, 1.0, 101), 2)
BLOCK = 1024
MOST_IMAGES = 4000
"""Of a modality that has more, this many are taken, evenly spaced: 16 million pairs say enough."""


@dataclass(frozen=True)
class PairHistogram:
    """Counts of similarities between two modalities, in the bins between `EDGES`."""

    modalities: tuple[Modality, Modality]
    genuine: NDArray[np.int64]
    impostor: NDArray[np.int64]
    images: tuple[int, int]
    """How many images of each modality the pairs are of."""


def pair_histograms(
    embeddings: NDArray[np.float32],
    person_ids: NDArray[np.int64],
    modalities: Sequence[Modality],
) -> list[PairHistogram]:
    """Count the pairs of each two modalities by similarity; empty pairs of modalities are left out.

    Args:
        embeddings: (N, D); a similarity is the cosine of two rows.
    """
    chosen = {modality: _rows(modalities, modality) for modality in Modality}
    histograms = []
    for one, other in PAIRS:
        histogram = _count(embeddings, person_ids, (one, other), (chosen[one], chosen[other]))
        if histogram.genuine.sum() + histogram.impostor.sum():
            histograms.append(histogram)
    return histograms


def _rows(modalities: Sequence[Modality], modality: Modality) -> NDArray[np.int64]:
    rows = np.flatnonzero([each is modality for each in modalities])
    if len(rows) <= MOST_IMAGES:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MOST_IMAGES).astype(np.int64)]


def _count(
    embeddings: NDArray[np.float32],
    person_ids: NDArray[np.int64],
    modalities: tuple[Modality, Modality],
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> PairHistogram:
    counts = np.zeros((2, len(EDGES) - 1), dtype=np.int64)
    others = normalised(embeddings[rows[1]])
    for start, block in _blocks(rows[0]):
        similarity = normalised(embeddings[block]) @ others.T
        genuine = person_ids[block][:, None] == person_ids[rows[1]][None, :]
        counted = np.ones_like(genuine)
        if modalities[0] is modalities[1]:
            counted = np.triu(counted, k=start + 1)
        for kind, wanted in enumerate((genuine & counted, ~genuine & counted)):
            counts[kind] += np.histogram(np.clip(similarity[wanted], -1, 1), bins=EDGES)[0]
    return PairHistogram(modalities, counts[0], counts[1], (len(rows[0]), len(rows[1])))


def _blocks(rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    for start in range(0, len(rows), BLOCK):
        yield start, rows[start : start + BLOCK]
