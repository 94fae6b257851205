"""A program that runs a model once, apart from the service: its last line says what is wrong.

Nobody knows what a graph does until it runs: it may hang in native code, where no thread can be
stopped, take all memory, or end its process (an integer division by zero does). So it runs here.
`verification` starts and reads it.
"""

import json
import math
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.encoder import Encoded, Encoder
from model.errors import ModelError

NICENESS = 10
LENGTH_TOLERANCE = 0.01
"""A length computed in bf16 is off by up to 0.4 %."""
LEAST_COSINE = 0.999
RANGE_TOLERANCE = 1e-3


class RefusedError(Exception):
    """The model ran and what came out cannot be used."""


def main(directory: str, provider: str, timeout_s: str, max_crop_s: str) -> None:
    """Print a JSON object: `refused` is the reason, or null."""
    stand_back(float(timeout_s))
    refused = None
    try:
        try_model(Path(directory), provider, float(max_crop_s))
    except (ModelError, RefusedError, ValueError, MemoryError) as error:
        refused = str(error) or type(error).__name__
    print(json.dumps({"refused": refused}), flush=True)


def stand_back(timeout_s: float) -> None:
    """Let the service go first, and end in time even if it is not there any more to see to it."""
    signal.alarm(math.ceil(timeout_s) + 1)
    os.nice(NICENESS)
    with suppress(OSError):  # Linux only: where memory runs out, this process is to go
        Path("/proc/self/oom_score_adj").write_text("1000")


def try_model(directory: Path, provider: str, max_crop_s: float) -> None:
    """Embed two images at once and one alone. Raises: RefusedError, ModelError, ValueError."""
    with Encoder.open(directory, provider=provider, threads=1, warm_batch_sizes=()) as encoder:
        images = np.stack([encoder.prepare(image) for image in _images(encoder)])
        together = encoder.encode(images)
        began = time.monotonic()
        alone = encoder.encode(images[:1])
        crop_s = time.monotonic() - began
        check_outputs(encoder, together, alone)
    if crop_s > max_crop_s:
        raise RefusedError(f"expected a crop in {max_crop_s:g} s at most, one took {crop_s:.1f} s")


def check_outputs(encoder: Encoder, together: Encoded, alone: Encoded) -> None:
    """Check what came of two images against the contract. Raises: RefusedError."""
    config = encoder.config
    maps = (config.num_patterns, *config.map_size)
    for encoded, images in ((together, 2), (alone, 1)):
        _check_array("embedding", encoded.embedding, (images, config.embedding_dim))
        _check_array("pattern_maps", encoded.pattern_maps, (images, *maps))
    lengths = np.linalg.norm(together.embedding.astype(np.float64), axis=1)
    if np.abs(lengths - 1).max() > LENGTH_TOLERANCE:
        raise RefusedError(f"expected embeddings of length 1, came {lengths[0]:.4g}")
    low, high = together.pattern_maps.min(), together.pattern_maps.max()
    if low < -RANGE_TOLERANCE or high > 1 + RANGE_TOLERANCE:
        raise RefusedError(f"expected pattern_maps from 0 to 1, came {low:.4g} to {high:.4g}")
    cosine = float(together.embedding[0] @ alone.embedding[0])
    if cosine < LEAST_COSINE:
        raise RefusedError(
            "expected an image to embed alike alone and beside another,"
            f" came a cosine of {cosine:.4f} between the two"
        )


def _check_array(name: str, values: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    if values.shape != shape or values.dtype != np.float32:
        raise RefusedError(
            f"{name}: expected float32 {shape}, came {values.dtype} {tuple(values.shape)}"
        )
    if not np.isfinite(values).all():
        raise RefusedError(f"{name}: expected finite numbers, came NaN or infinity")


def _images(encoder: Encoder) -> list[Image.Image]:
    """Two images of noise, always the same."""
    height, width = encoder.config.image_size
    noise = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return [Image.fromarray(pixels) for pixels in noise]


if __name__ == "__main__":
    main(*sys.argv[1:])
