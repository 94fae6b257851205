"""The models of a crash test: what each makes of a crop, without ONNX Runtime.

Both see the same numbers, one of them with a constant added: vectors of the two, compared with one
another, are far from every similarity that either gives, so an answer that mixes them stands out.
"""

from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.preprocessing import PreprocessingConfig, read_image, to_input
from tests.end_to_end.crash_ledger import crop_of
from tests.service.fakes import CONFIG
from tests.service.refresh.bad_artifacts import write_model

FIRST: Final = 0.01
SECOND: Final = 0.5
CONSTANTS: Final[dict[str, float]] = {}
"""What is added, by model; of one that is not among them `FIRST`."""


def write_second_model(directory: Path) -> str:
    """Write the other model; returns its id."""
    model_id = write_model(directory, little=SECOND).model_id
    CONSTANTS[model_id] = SECOND
    return model_id


@lru_cache(maxsize=40_000)
def _embedding(seed: int, constant: float) -> NDArray[np.float64]:
    image = to_input(read_image(crop_of(seed)), CONFIG.image_size, PreprocessingConfig())
    flat = image.astype(np.float64).ravel() + constant
    return flat / np.linalg.norm(flat)


def embedding(seed: int, model_id: str) -> NDArray[np.float64]:
    """Return what a model makes of a crop, (3072,)."""
    return _embedding(seed, CONSTANTS.get(model_id, FIRST))


def similarity(query: int, entry: int, model_id: str) -> float:
    """Return how alike two crops are to a model; the second one's vector is stored in fp16."""
    stored = embedding(entry, model_id).astype(np.float16).astype(np.float64)
    return float(stored @ embedding(query, model_id))
