"""From a Dataset to batches: decoded pixels in memory, labels, P x K batches of them.

Checks everything before the first step and reports it at once. Augmentation happens later, on the
device that trains.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from model.config import Modality
from training.datasets.checks import identity_problems, incomplete_identities, raise_for
from training.datasets.pixels import decode_images
from training.datasets.sample import Dataset, Sample, person_ids, require
from training.recipe import TrainingConfig
from training.sampler import PKSampler, ReferenceSampler

SAMPLERS: dict[str, type[PKSampler] | type[ReferenceSampler]] = {
    "balanced": PKSampler,
    "reference": ReferenceSampler,
}


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
    """What a run trains and validates on; `left_out` counts identities dropped by the recipe."""

    train: LabelledPixels
    validation: LabelledPixels
    identities: int
    left_out: int


class PixelBatches(TorchDataset[Batch]):
    """Rows of a split by lists of indices: `dataset[indices]` is a whole batch."""

    def __init__(self, split: LabelledPixels) -> None:
        _, labels = np.unique(split.person_ids, return_inverse=True)
        self._pixels = torch.from_numpy(split.pixels)
        self._labels = torch.from_numpy(labels.astype(np.int64))
        self._infrared = torch.from_numpy(split.infrared)

    def __getitem__(self, indices: NDArray[np.int64]) -> Batch:
        rows = torch.as_tensor(indices)
        return Batch(self._pixels[rows], self._labels[rows], self._infrared[rows])


def load_training_data(
    dataset: Dataset, config: TrainingConfig, *, progress: bool = False
) -> TrainingData:
    """Check and decode what the recipe trains and validates on, behind two progress bars if asked.

    Raises:
        DatasetError: one report of identities without one modality and of unreadable images.
    """
    require(dataset.train, "train", dataset.root)
    dataset, left_out = _chosen(dataset, config)
    problems = [] if left_out else identity_problems(dataset.train)
    size = config.network.image_size
    train, broken = decode_images(
        dataset.train, size, progress="training images" if progress else None
    )
    validation, unseen = decode_images(
        dataset.validation, size, progress="validation images" if progress else None
    )
    raise_for(dataset.root, [*problems, *broken, *unseen])
    return TrainingData(
        _labelled(dataset.train, train),
        _labelled(dataset.validation, validation),
        len(person_ids(dataset.train)),
        left_out,
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


def _chosen(dataset: Dataset, config: TrainingConfig) -> tuple[Dataset, int]:
    """Apply the recipe's choice of identities; returns how many were left out."""
    if config.train_on_validation:
        dataset = replace(dataset, train=dataset.train + dataset.validation, validation=())
    if not config.drop_incomplete_identities:
        return dataset, 0
    lacking = incomplete_identities(dataset.train)
    kept = tuple(sample for sample in dataset.train if sample.person_id not in lacking)
    return replace(dataset, train=kept), len(lacking)


def _labelled(samples: Sequence[Sample], pixels: NDArray[np.uint8]) -> LabelledPixels:
    return LabelledPixels(
        pixels,
        np.array([sample.person_id for sample in samples], dtype=np.int64),
        np.array([sample.camera_id for sample in samples], dtype=np.int64),
        np.array([sample.modality is Modality.INFRARED for sample in samples], dtype=np.bool_),
    )
