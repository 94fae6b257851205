"""What a model must beat: chance, raw pixels and grey histograms, as embeddings of files.

Each goes through the same protocol as the model, on the same images.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from training.datasets.pixels import decode_images
from training.datasets.problems import raise_for
from training.datasets.sample import Sample

Embed = Callable[[Sequence[Sample]], NDArray[np.float32]]

PIXEL_SIZE = (64, 32)
HISTOGRAM_SIZE = (128, 64)
HISTOGRAM_BINS = 64
CHANCE_DIM = 64
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def chance(samples: Sequence[Sample]) -> NDArray[np.float32]:
    """Random unit directions, the same for the same list of samples: (N, 64)."""
    rng = np.random.default_rng(len(samples))
    return rng.standard_normal((len(samples), CHANCE_DIM)).astype(np.float32)


def raw_pixels(samples: Sequence[Sample]) -> NDArray[np.float32]:
    """Grey pixels at 64x32, centred on each image's mean: cosine is their correlation."""
    grey = _grey(samples, PIXEL_SIZE).reshape(len(samples), -1)
    return np.asarray(grey - grey.mean(axis=1, keepdims=True), dtype=np.float32)


def grey_histograms(samples: Sequence[Sample]) -> NDArray[np.float32]:
    """Square roots of 64-bin grey histograms: cosine is the Bhattacharyya coefficient."""
    grey = _grey(samples, HISTOGRAM_SIZE).reshape(len(samples), -1)
    bins = (grey * HISTOGRAM_BINS / 256).astype(np.int64)
    counts = np.stack([np.bincount(row, minlength=HISTOGRAM_BINS) for row in bins])
    return np.sqrt(counts / grey.shape[1]).astype(np.float32)


BASELINES: dict[str, Embed] = {
    "chance": chance,
    "raw pixels": raw_pixels,
    "grey histograms": grey_histograms,
}


def _grey(samples: Sequence[Sample], size: tuple[int, int]) -> NDArray[np.float32]:
    """Luminance in [0, 255], float32 (N, H, W)."""
    pixels, problems = decode_images(samples, size)
    if problems:
        raise_for(samples[0].path.parent, problems)
    return np.asarray(pixels.astype(np.float32) @ LUMA, dtype=np.float32)
