"""EmbeddedSet: the embeddings and labels that a protocol works on. Knows no file and no model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import ProtocolError


@dataclass(frozen=True)
class EmbeddedSet:
    """Embeddings (N, D) float32 with the person, camera and image number of each row.

    `image_numbers` tells images of one person and camera apart: in SYSU-MM01 the file's number.

    Raises:
        ProtocolError: the arrays differ in length, or an embedding is not finite.
    """

    embeddings: NDArray[np.float32]
    person_ids: NDArray[np.int64]
    camera_ids: NDArray[np.int64]
    image_numbers: NDArray[np.int64]

    def __post_init__(self) -> None:
        lengths = {
            len(self.embeddings),
            len(self.person_ids),
            len(self.camera_ids),
            len(self.image_numbers),
        }
        if len(lengths) != 1:
            raise ProtocolError(f"embeddings and labels differ in length: {sorted(lengths)}")
        if not np.isfinite(self.embeddings).all():
            row = int(np.flatnonzero(~np.isfinite(self.embeddings).all(axis=1))[0])
            raise ProtocolError(f"the embedding of row {row} is not finite")

    def __len__(self) -> int:
        return len(self.embeddings)

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "EmbeddedSet":
        """The chosen rows."""
        return EmbeddedSet(
            self.embeddings[chosen],
            self.person_ids[chosen],
            self.camera_ids[chosen],
            self.image_numbers[chosen],
        )


def normalised(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows divided by their Euclidean norm; rows of norm below 1e-12 stay near zero."""
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(norms, 1e-12), dtype=np.float32)
