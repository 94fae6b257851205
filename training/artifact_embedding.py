"""Samples to embeddings through a model artifact: what `evaluate` measures is what serving runs."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.encoder import Encoder
from model.errors import ImageError
from model.preprocessing import read_image
from training.datasets.problems import raise_for, unreadable
from training.datasets.sample import Sample

BATCH_SIZE = 32


def embed_samples(
    encoder: Encoder, samples: Sequence[Sample], *, progress: bool = False
) -> NDArray[np.float32]:
    """Decode, prepare and encode every sample: float32 (N, D), rows of length 1.

    Raises:
        DatasetError: one report of every image that cannot be read.
        ProviderError: the runtime failed.
    """
    embeddings: list[NDArray[np.float32]] = []
    broken: list[str] = []

    def prepare(sample: Sample) -> NDArray[np.float32] | str:
        try:
            return encoder.prepare(read_image(sample.path.read_bytes()))
        except (ImageError, OSError) as error:
            return f"{sample.path} ({error})"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm(total=len(samples), desc="embedding", unit="image", disable=not progress)
        for start in range(0, len(samples), BATCH_SIZE):
            prepared = list(pool.map(prepare, samples[start : start + BATCH_SIZE]))
            broken += [fault for fault in prepared if isinstance(fault, str)]
            images = [image for image in prepared if not isinstance(image, str)]
            if images and not broken:
                embeddings.append(encoder.encode(np.stack(images)).embedding)
            bar.update(len(prepared))
        bar.close()
    if broken:
        raise_for(samples[0].path.parent, unreadable(broken))
    if not embeddings:
        return np.empty((0, encoder.embedding_dim), np.float32)
    return np.concatenate(embeddings)
