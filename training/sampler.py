"""P x K batches: P identities, K images of each, half of them visible and half infrared.

Pure index arithmetic over labels; opens nothing and knows no torch.

An epoch is a plan of visits: an identity is visited once for every K/2 images of its scarcer
modality (at least once), never twice in one batch. Batches that cannot be filled with visits that
are due are filled with extra visits of other identities, so no identity is ever dropped and the
number of batches follows from the counts alone.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.errors import DatasetError


class PKSampler:
    """Yields batches of indices, the same for the same (seed, epoch) in every process.

    Rows of one identity stand together, visible and infrared in turn.

    Args:
        labels: identity of each sample, (N,) int64.
        infrared: whether each sample is infrared, (N,) bool.
        persons: P, identities in a batch.
        images_per_person: K, even.

    Raises:
        DatasetError: an identity lacks one modality, or there are fewer than P identities.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        infrared: NDArray[np.bool_],
        *,
        persons: int,
        images_per_person: int,
        seed: int,
    ) -> None:
        if images_per_person < 2 or images_per_person % 2:
            raise DatasetError(f"images per person is even and at least 2, not {images_per_person}")
        self._persons = persons
        self._half = images_per_person // 2
        self._seed = seed
        self._epoch = 0
        self._groups = [
            (
                np.flatnonzero((labels == person) & ~infrared),
                np.flatnonzero((labels == person) & infrared),
            )
            for person in np.unique(labels)
        ]
        if any(len(visible) == 0 or len(thermal) == 0 for visible, thermal in self._groups):
            raise DatasetError("every identity needs images of both modalities")
        if len(self._groups) < persons:
            raise DatasetError(
                f"a batch holds {persons} identities, the training set has {len(self._groups)}"
            )
        self._visits = np.array(
            [
                max(1, min(len(visible), len(thermal)) // self._half)
                for visible, thermal in self._groups
            ]
        )

    def __len__(self) -> int:
        """Batches in an epoch, known before the first one."""
        return int(max(self._visits.max(), -(-self._visits.sum() // self._persons)))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields (Lightning calls this)."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        rng = np.random.default_rng((self._seed, self._epoch))
        images = [
            (_rounds(visible, self._half, rng), _rounds(thermal, self._half, rng))
            for visible, thermal in self._groups
        ]
        for chosen in self._plan(rng):
            yield np.concatenate(
                [
                    np.stack([next(images[person][0]), next(images[person][1])], axis=1).ravel()
                    for person in chosen
                ]
            )

    def _plan(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Identities of each batch: those with most visits still due, ties at random.

        Taking the longest queues first meets the bound that `__len__` states.
        """
        due = self._visits.copy()
        for _ in range(len(self)):
            order = np.lexsort((rng.random(len(due)), -due))
            chosen = order[: self._persons]
            due[chosen] = np.maximum(due[chosen] - 1, 0)
            yield rng.permutation(chosen)


def _rounds(
    indices: NDArray[np.int64], size: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Endless draws of `size` images: without replacement until all were drawn, then anew.

    An identity with fewer than `size` images shows each of them, some twice.
    """
    pool = rng.permutation(indices)
    while True:
        while len(pool) < size:
            pool = np.concatenate([pool, rng.permutation(indices)])
        yield pool[:size]
        pool = pool[size:]
