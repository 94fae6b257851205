"""Every image of a split, decoded and resized once, held as bytes in memory or in a shared file.

An epoch reads each image many times; decoding it every time would starve two cores. Uses the
resize of `model.preprocessing`, so training sees what serving sees.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from tqdm import tqdm

from model.errors import ImageError
from model.preprocessing import PreprocessingConfig, read_image, to_input
from training.datasets.problems import Problem, unreadable
from training.datasets.sample import Sample
from training.errors import DatasetError

AS_BYTES = PreprocessingConfig(mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))

Pixels = NDArray[np.uint8]


def decode_images(
    samples: Sequence[Sample],
    image_size: tuple[int, int],
    *,
    progress: str | None = None,
    shared: Path | None = None,
) -> tuple[Pixels, list[Problem]]:
    """Decode and resize all images: uint8 (N, H, W, 3), RGB, and what could not be read.

    Rows of images that could not be read are black; a caller with problems trains on nothing.
    `progress` names a progress bar on a terminal; None shows none. With `shared`, a folder, the
    pixels lie in a file there that every process maps: one copy for all of them. Who comes later
    finds it and decodes nothing; images that changed since are decoded anew.

    Raises:
        DatasetError: the shared file cannot be written.
    """
    shape = (len(samples), *image_size, 3)
    if shared is None or not samples:
        pixels = np.zeros(shape, dtype=np.uint8)
        return pixels, _decode_into(pixels, samples, progress)
    try:
        path = shared / f"pixels-{_fingerprint(samples, image_size)}.npy"
        if not path.exists():
            problems = _decode_to_file(path, shape, samples, progress)
            if problems:
                return np.zeros(shape, dtype=np.uint8), problems
        return open_memmap(path, mode="c"), []
    except (OSError, ValueError) as error:
        raise DatasetError(f"{shared}: cannot hold the decoded images: {error}") from error


def unreadable_images(samples: Sequence[Sample], *, progress: str | None = None) -> list[Problem]:
    """Decode every image and keep none: what could not be read."""

    def decode(row: int) -> None:
        read_image(samples[row].path.read_bytes())

    return _for_each(decode, samples, progress)


def resized_bytes(path: Path, image_size: tuple[int, int]) -> Pixels:
    """One image as uint8 (H, W, 3).

    Raises:
        ImageError: it is not an image, or broken.
        OSError: it cannot be read from disk.
    """
    values = to_input(read_image(path.read_bytes()), image_size, AS_BYTES)
    return np.rint(values.transpose(1, 2, 0)).astype(np.uint8)


def _decode_into(pixels: Pixels, samples: Sequence[Sample], progress: str | None) -> list[Problem]:
    image_size = (pixels.shape[1], pixels.shape[2])

    def decode(row: int) -> None:
        pixels[row] = resized_bytes(samples[row].path, image_size)

    return _for_each(decode, samples, progress)


def _for_each(
    decode: Callable[[int], None], samples: Sequence[Sample], progress: str | None
) -> list[Problem]:
    """Call `decode` for every row on all cores; the images that it could not read."""

    def fault(row: int) -> str | None:
        try:
            decode(row)
        except (ImageError, OSError) as error:
            return f"{samples[row].path} ({getattr(error, 'strerror', None) or error})"
        return None

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        results = pool.map(fault, range(len(samples)))
        disable = True if progress is None else None  # None: where stderr is no terminal
        bar = tqdm(results, desc=progress, total=len(samples), disable=disable)
        return unreadable([found for found in bar if found is not None])
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest


def _decode_to_file(
    path: Path, shape: tuple[int, ...], samples: Sequence[Sample], progress: str | None
) -> list[Problem]:
    """Write the pixels whole or not at all. Its room is claimed first: a disk that fills up under
    a mapped file kills the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        pixels = open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with partial.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)
        problems = _decode_into(pixels, samples, progress)
        if not problems:
            pixels.flush()
            partial.rename(path)
        return problems
    finally:
        partial.unlink(missing_ok=True)


def _fingerprint(samples: Sequence[Sample], image_size: tuple[int, int]) -> str:
    """Which files, as they are on disk now, in which size."""
    digest = hashlib.sha256(repr(image_size).encode())
    for sample in samples:
        try:
            state = sample.path.stat()
            digest.update(os.fsencode(sample.path))
            digest.update(f"\0{state.st_size} {state.st_mtime_ns}\n".encode())
        except (OSError, ValueError):
            digest.update(b"\0")
    return digest.hexdigest()[:16]
