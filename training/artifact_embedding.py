"""Samples to embeddings through a model artifact: what `evaluate` measures is what serving runs."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.encoder import Encoded, Encoder
from model.errors import ImageError
from model.preprocessing import read_image
from training.baselines import Embed
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
    embeddings = [encoded.embedding for encoded in _encoded(encoder, samples, progress)]
    if not embeddings:
        return np.empty((0, encoder.embedding_dim), np.float32)
    return np.concatenate(embeddings)


def pattern_maps(encoder: Encoder, samples: Sequence[Sample]) -> NDArray[np.float32]:
    """Where each pattern looks on each sample: float32 (N, P, h, w) in [0, 1].

    Raises: as `embed_samples`.
    """
    maps = [encoded.pattern_maps for encoded in _encoded(encoder, samples, False)]
    if not maps:
        config = encoder.config
        return np.empty((0, config.num_patterns, *config.map_size), np.float32)
    return np.concatenate(maps)


def embed_parts(embed: Embed, parts: Sequence[Sequence[Sample]]) -> Iterator[NDArray[np.float32]]:
    """The embeddings of each part in turn, where every file of all parts is embedded once.

    RegDB's ten splits are ten parts of the same files.
    """
    first: dict[Path, Sample] = {}
    for part in parts:
        for sample in part:
            first.setdefault(sample.path, sample)
    rows = {path: row for row, path in enumerate(first)}
    embeddings = embed(list(first.values()))
    for part in parts:
        wanted = np.array([rows[sample.path] for sample in part], dtype=np.int64)
        everything = np.array_equal(wanted, np.arange(len(embeddings)))
        yield embeddings if everything else embeddings[wanted]


def _encoded(encoder: Encoder, samples: Sequence[Sample], progress: bool) -> Iterator[Encoded]:
    """Batches in order. After the first image that cannot be read the rest is only decoded."""
    broken: list[str] = []

    def prepare(sample: Sample) -> NDArray[np.float32] | str:
        try:
            return encoder.prepare(read_image(sample.path.read_bytes()))
        except (ImageError, OSError) as error:
            return f"{sample.path} ({error})"

    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(samples), desc="embedding", unit="image", disable=not progress) as bar,
    ):
        for start in range(0, len(samples), BATCH_SIZE):
            prepared = list(pool.map(prepare, samples[start : start + BATCH_SIZE]))
            broken += [fault for fault in prepared if isinstance(fault, str)]
            images = [image for image in prepared if not isinstance(image, str)]
            if images and not broken:
                yield encoder.encode(np.stack(images))
            bar.update(len(prepared))
    if broken:
        raise_for(samples[0].path.parent, unreadable(broken))
