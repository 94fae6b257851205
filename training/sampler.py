"""P x K batches: P identities, K images of each, half of them visible and half infrared.

Pure index arithmetic over labels; opens nothing and knows no torch. Two ways to fill an epoch:
`PKSampler` drops nobody, `ReferenceSampler` draws as the authors' code does.

Under several processes every rank walks the same epoch and yields every `world_size`-th batch of
it, so the ranks together show what one process would. Where the number of batches is not divisible
the epoch begins anew for the last round: all ranks take the same number of steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from training.errors import DatasetError

Indices = NDArray[np.int64]
Groups = list[tuple[Indices, Indices]]


class Sampler(ABC):
    """Batches of indices, the same for the same (seed, epoch) in every process.

    Rows of one identity stand together, visible and infrared in turn.

    Args:
        labels: identity of each sample, (N,) int64; errors name these numbers.
        infrared: whether each sample is infrared, (N,) bool.
        persons: P, identities in a batch.
        images_per_person: K, even.
        rank, world_size: which share of each epoch's batches to yield.

    Raises:
        DatasetError: K is odd or larger than any identity can fill without repeating an image,
            there are fewer than P identities, or as the sampler says.
    """

    def __init__(
        self,
        labels: Indices,
        infrared: NDArray[np.bool_],
        *,
        persons: int,
        images_per_person: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._half = _half(images_per_person)
        self._persons = persons
        self._seed = seed
        self._epoch = 0
        self._rank, self._world_size = rank, world_size
        people, self._groups = self._taught(*_groups(labels, infrared))
        _check_persons(persons, len(people))
        _check_images(self._half, people, self._groups)
        self._visits = np.array(
            [
                self._visits_of(person, *own)
                for person, own in zip(people, self._groups, strict=True)
            ]
        )

    def __len__(self) -> int:
        """Batches that this rank yields in the epoch that is set; known before it begins."""
        return -(-self._planned() // self._world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields (Lightning calls this)."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Indices]:
        # A generator: Lightning makes the iterator of a resumed run before it sets the epoch.
        yield from _share(self._batches(self._rng()), self._rank, self._world_size)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng((self._seed, self._epoch))

    @abstractmethod
    def _taught(self, people: list[int], groups: Groups) -> tuple[list[int], Groups]:
        """The identities that an epoch has, each with its visible and infrared rows."""

    @abstractmethod
    def _visits_of(self, person: int, visible: Indices, thermal: Indices) -> int:
        """In how many batches of an epoch an identity is due."""

    @abstractmethod
    def _planned(self) -> int:
        """Batches of an epoch, of all ranks together."""

    @abstractmethod
    def _batches(self, rng: np.random.Generator) -> list[Indices]:
        """Every batch of an epoch."""


class PKSampler(Sampler):
    """Drops nobody.

    An epoch is a plan of visits: an identity is visited once for every K/2 images of its scarcer
    modality (at least once), never twice in one batch. Batches that cannot be filled with visits
    that are due are filled with extra visits of other identities, so no identity is ever dropped
    and the number of batches follows from the counts alone. An identity with fewer than K/2 images
    of a modality shows some of them twice; any other shows no image twice in a batch, and all of
    them before one comes again.

    Raises:
        DatasetError: as every sampler, or an identity lacks one modality.
    """

    def _taught(self, people: list[int], groups: Groups) -> tuple[list[int], Groups]:
        lacking = [
            person
            for person, (visible, thermal) in zip(people, groups, strict=True)
            if len(visible) == 0 or len(thermal) == 0
        ]
        if lacking:
            raise DatasetError(
                f"every identity needs images of both modalities; {len(lacking)} lack one,"
                f" the first is identity {lacking[0]}"
            )
        return people, groups

    def _visits_of(self, person: int, visible: Indices, thermal: Indices) -> int:
        return max(1, min(len(visible), len(thermal)) // self._half)

    def _planned(self) -> int:
        return int(max(self._visits.max(), -(-self._visits.sum() // self._persons)))

    def _batches(self, rng: np.random.Generator) -> list[Indices]:
        images = [
            (_rounds(visible, self._half, rng), _rounds(thermal, self._half, rng))
            for visible, thermal in self._groups
        ]
        return [
            np.concatenate([_in_turn(next(images[p][0]), next(images[p][1])) for p in chosen])
            for chosen in self._plan(rng)
        ]

    def _plan(self, rng: np.random.Generator) -> Iterator[Indices]:
        """Identities of each batch: those with most visits still due, ties at random.

        Taking the longest queues first meets the bound that `_planned` states.
        """
        due = self._visits.copy()
        for _ in range(self._planned()):
            order = np.lexsort((rng.random(len(due)), -due))
            chosen = order[: self._persons]
            due[chosen] = np.maximum(due[chosen] - 1, 0)
            yield rng.permutation(chosen)


class ReferenceSampler(Sampler):
    """Fills an epoch as the authors' RandomIdentitySampler does.

    Each epoch an identity's richer modality is cut at random to the count of the poorer one, both
    are shuffled and dealt out in chunks of K/2 + K/2; what is left over is not shown. Batches take
    P identities at random among those with chunks left, until fewer than P are left: the end of
    the epoch is dropped, so its length differs a little from epoch to epoch. An identity with fewer
    than K/2 images in both modalities fills one chunk by drawing with replacement. Identities
    without infrared are dropped. Seeded, unlike the reference; its crash is an error by name.

    Raises:
        DatasetError: as every sampler, or an identity has fewer than K/2 images in one modality
            only.

    Source: DoubtedSteam/MPANet, data/sampler.py, commit f57fd5c.
    """

    def _taught(self, people: list[int], groups: Groups) -> tuple[list[int], Groups]:
        seen = [place for place, (_, thermal) in enumerate(groups) if len(thermal)]
        return [people[place] for place in seen], [groups[place] for place in seen]

    def _visits_of(self, person: int, visible: Indices, thermal: Indices) -> int:
        return _chunks(person, visible, thermal, self._half)

    def _planned(self) -> int:
        return len(self._plan(self._rng()))

    def _batches(self, rng: np.random.Generator) -> list[Indices]:
        plan = self._plan(rng)
        dealt = [iter(_deal(*group, self._half, rng)) for group in self._groups]
        return [np.concatenate([next(dealt[person]) for person in chosen]) for chosen in plan]

    def _plan(self, rng: np.random.Generator) -> list[Indices]:
        """Identities of each batch, drawn first of all: the length needs no images."""
        left = self._visits.copy()
        plan = []
        while len(available := np.flatnonzero(left)) >= self._persons:
            chosen = rng.choice(available, self._persons, replace=False)
            left[chosen] -= 1
            plan.append(chosen)
        return plan


SAMPLERS: dict[str, type[Sampler]] = {
    "balanced": PKSampler,
    "reference": ReferenceSampler,
}
"""By the name that a recipe gives them, `batch.sampling`."""


def _half(images_per_person: int) -> int:
    if images_per_person < 2 or images_per_person % 2:
        raise DatasetError(f"images per person is even and at least 2, not {images_per_person}")
    return images_per_person // 2


def _groups(labels: Indices, infrared: NDArray[np.bool_]) -> tuple[list[int], Groups]:
    """The identities, ascending, and each one's visible and infrared rows."""
    order = np.argsort(labels, kind="stable")
    people, first = np.unique(labels[order], return_index=True)
    rows = np.split(order, first[1:])
    return people.tolist(), [(own[~infrared[own]], own[infrared[own]]) for own in rows]


def _check_persons(persons: int, found: int) -> None:
    if found < persons:
        raise DatasetError(f"a batch holds {persons} identities, the training set has {found}")


def _check_images(half: int, people: Sequence[int], groups: Groups) -> None:
    """Refuse a K that no identity fills with K/2 different images of each modality."""
    fillable = [min(len(visible), len(thermal)) for visible, thermal in groups]
    largest = int(np.argmax(fillable))
    if fillable[largest] < half:
        visible, thermal = groups[largest]
        raise DatasetError(
            f"{2 * half} images per person need an identity with {half} visible and {half} infrared"
            f" images; the largest, identity {people[largest]}, has {len(visible)} and"
            f" {len(thermal)}"
        )


def _chunks(person: int, visible: Indices, thermal: Indices, half: int) -> int:
    """How many chunks of K/2 + K/2 an identity fills in the reference's way."""
    scarcer = min(len(visible), len(thermal))
    both_scarce = max(len(visible), len(thermal)) < half
    if scarcer >= half:
        return scarcer // half
    if both_scarce and scarcer > 0:
        return 1
    raise DatasetError(
        f"identity {person} has {len(visible)} visible and {len(thermal)} infrared images: the"
        f" reference sampling crashes on fewer than {half} in one modality only; leave the identity"
        " out, or use batch.sampling = 'balanced'"
    )


def _deal(
    visible: Indices, thermal: Indices, half: int, rng: np.random.Generator
) -> Iterator[Indices]:
    """An identity's chunks of one epoch in the reference's way."""
    if max(len(visible), len(thermal)) < half:
        visible, thermal = (rng.choice(rows, half, replace=True) for rows in (visible, thermal))
    count = min(len(visible), len(thermal))
    visible, thermal = rng.permutation(visible)[:count], rng.permutation(thermal)[:count]
    for start in range(0, count - half + 1, half):
        yield _in_turn(visible[start : start + half], thermal[start : start + half])


def _in_turn(visible: Indices, thermal: Indices) -> Indices:
    return np.stack([visible, thermal], axis=1).ravel()


def _rounds(indices: Indices, size: int, rng: np.random.Generator) -> Iterator[Indices]:
    """Endless draws of `size` images: without replacement until all were drawn, then anew.

    A draw across two rounds takes from the new one what it does not have yet. An identity with
    fewer than `size` images shows each of them, as equally often as `size` allows.
    """
    pool = rng.permutation(indices)
    while True:
        while len(pool) < size:
            fresh = rng.permutation(indices)
            again = np.isin(fresh, pool)
            pool = np.concatenate([pool, fresh[~again], fresh[again]])
        yield pool[:size]
        pool = pool[size:]


def _share(epoch: Sequence[Indices], rank: int, world_size: int) -> Iterator[Indices]:
    """Every `world_size`-th batch from `rank` on; the epoch begins anew to fill the last round."""
    steps = -(-len(epoch) // world_size)
    return (epoch[(step * world_size + rank) % len(epoch)] for step in range(steps))
