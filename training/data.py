"""From a Dataset to batches: decoded pixels in memory, labels, P x K batches of them.

Checks everything before the first step and reports it at once. Augmentation happens later, on the
device that trains.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from model.config import Modality
from training.datasets.checks import CheckReport, check_names
from training.datasets.pixels import decode_images
from training.datasets.problems import unreadable
from training.datasets.sample import Dataset, Sample, person_ids
from training.recipe import TrainingConfig
from training.sampler import SAMPLERS


class Batch(NamedTuple):
    """Pixels uint8 (N, H, W, 3), labels int64 (N,) from 0, infrared bool (N,)."""

    pixels: Tensor
    labels: Tensor
    infrared: Tensor


@dataclass(frozen=True)
class LabelledPixels:
    """A split in memory: pixels uint8 (N, H, W, 3), persons, cameras and modality of each row."""

    pixels: NDArray[np.uint8]
    person_ids: NDArray[np.int64]
    camera_ids: NDArray[np.int64]
    infrared: NDArray[np.bool_]


@dataclass(frozen=True)
class TrainingData:
    """What a run trains and validates on, and what its check says of it."""

    train: LabelledPixels
    validation: LabelledPixels
    identities: int
    report: CheckReport


class PixelBatches(TorchDataset[Batch]):
    """Rows of a split by lists of indices: `dataset[indices]` is a whole batch."""

    def __init__(self, split: LabelledPixels) -> None:
        _, labels = np.unique(split.person_ids, return_inverse=True)
        self._pixels = torch.from_numpy(split.pixels)
        self._labels = torch.from_numpy(labels.astype(np.int64))
        self._infrared = torch.from_numpy(split.infrared)

    def __getitem__(self, indices: NDArray[np.int64]) -> Batch:
        rows = torch.as_tensor(indices)
        # index_select copies whole images; indexing by [rows] took 14 times as long.
        return Batch(self._pixels.index_select(0, rows), self._labels[rows], self._infrared[rows])


def load_training_data(
    dataset: Dataset,
    config: TrainingConfig,
    *,
    progress: bool = False,
    shared: Path | None = None,
) -> TrainingData:
    """Check and decode what the recipe trains and validates on, behind two progress bars if asked.

    Several processes name one folder as `shared` to hold the pixels once (`decode_images`).

    Raises:
        DatasetError: one report of everything that stops the training: what the reader found
            (`survey_dataset`), what `check_names` finds, and unreadable images.
    """
    report = check_names(dataset, config)
    size = config.network.image_size
    samples, held_out = report.dataset.train, report.dataset.validation
    train, broken = decode_images(
        samples, size, progress="training images" if progress else None, shared=shared
    )
    validation, unseen = decode_images(
        held_out, size, progress="validation images" if progress else None, shared=shared
    )
    places = [place for problem in (*broken, *unseen) for place in problem.where]
    report.with_errors(unreadable(places)).raise_for_errors()
    return TrainingData(
        _labelled(samples, train),
        _labelled(held_out, validation),
        len(person_ids(samples)),
        report,
    )


def batches(
    split: LabelledPixels,
    config: TrainingConfig,
    seed: int,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[Batch]:
    """A loader of this rank's P x K batches; their order depends on (seed, epoch) alone.

    Raises:
        DatasetError: the split does not fill the recipe's batches.
    """
    sampler = SAMPLERS[config.batch.sampling](
        split.person_ids,
        split.infrared,
        persons=config.batch.persons,
        images_per_person=config.batch.images_per_person,
        seed=seed,
        rank=rank,
        world_size=world_size,
    )
    return DataLoader(PixelBatches(split), sampler=sampler, batch_size=None)


def _labelled(samples: Sequence[Sample], pixels: NDArray[np.uint8]) -> LabelledPixels:
    return LabelledPixels(
        pixels,
        np.array([sample.person_id for sample in samples], dtype=np.int64),
        np.array([sample.camera_id for sample in samples], dtype=np.int64),
        np.array([sample.modality is Modality.INFRARED for sample in samples], dtype=np.bool_),
    )
