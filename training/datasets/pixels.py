"""Every image of a split, decoded and resized once, held in memory as bytes.

An epoch reads each image many times; decoding it every time would starve two cores. Uses the
resize of `model.preprocessing`, so training sees what serving sees.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.errors import ImageError
from model.preprocessing import PreprocessingConfig, read_image, to_input
from training.datasets.checks import Problem
from training.datasets.sample import Sample

AS_BYTES = PreprocessingConfig(mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))


def decode_images(
    samples: Sequence[Sample], image_size: tuple[int, int], *, progress: str | None = None
) -> tuple[NDArray[np.uint8], list[Problem]]:
    """Decode and resize all images: uint8 (N, H, W, 3), RGB, and what could not be read.

    Rows of images that could not be read are black; a caller with problems trains on nothing.
    `progress` names the progress bar; None shows none.
    """
    height, width = image_size
    pixels = np.zeros((len(samples), height, width, 3), dtype=np.uint8)
    broken: list[str] = []

    def decode(row: int) -> str | None:
        try:
            pixels[row] = resized_bytes(samples[row].path, image_size)
        except (ImageError, OSError) as error:
            return f"{samples[row].path} ({error})"
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(decode, range(len(samples)))
        for fault in tqdm(results, desc=progress, total=len(samples), disable=progress is None):
            if fault is not None:
                broken.append(fault)
    return pixels, [Problem("unreadable images", tuple(broken))] if broken else []


def resized_bytes(path: Path, image_size: tuple[int, int]) -> NDArray[np.uint8]:
    """One image as uint8 (H, W, 3).

    Raises:
        ImageError: it is not an image, or broken.
        OSError: it cannot be read from disk.
    """
    values = to_input(read_image(path.read_bytes()), image_size, AS_BYTES)
    return np.rint(values.transpose(1, 2, 0)).astype(np.uint8)
