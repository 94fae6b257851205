"""P x K batches: properties that hold for any dataset, for both ways to fill an epoch."""

from collections import Counter
from collections.abc import Callable
from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.errors import DatasetError
from training.sampler import PKSampler, ReferenceSampler, Sampler

PERSONS, IMAGES = 3, 4
HALF = IMAGES // 2

Labelled = tuple[NDArray[np.int64], NDArray[np.bool_]]
Make = Callable[..., Sampler]


def labelled(counts: list[tuple[int, int]], shuffle: int = 0) -> Labelled:
    """Labels and modalities of identities with these (visible, infrared) counts, shuffled."""
    labels = [person for person, (v, i) in enumerate(counts) for _ in range(v + i)]
    infrared = [place >= v for v, i in counts for place in range(v + i)]
    order = np.random.default_rng(shuffle).permutation(len(labels))
    return np.array(labels)[order], np.array(infrared)[order]


@st.composite
def datasets(draw: st.DrawFn, scarce: bool = True) -> Labelled:
    """Scarce, lopsided and rich identities, one of them rich enough for K.

    Without `scarce`, what the reference's way takes: nobody short of K/2 in one modality only.
    """
    some, enough = st.integers(1, 9), st.integers(HALF, 9)
    short = st.just((1, 1))
    anybody = st.tuples(some, some) if scarce else st.tuples(enough, enough) | short
    counts = draw(st.lists(anybody, min_size=PERSONS - 1, max_size=8))
    counts.append(draw(st.tuples(enough, enough)))
    return labelled(counts, draw(st.integers(0, 99)))


def sampler(labels: NDArray[np.int64], infrared: NDArray[np.bool_], seed: int = 0) -> PKSampler:
    return PKSampler(labels, infrared, persons=PERSONS, images_per_person=IMAGES, seed=seed)


def reference(
    labels: NDArray[np.int64], infrared: NDArray[np.bool_], seed: int = 0
) -> ReferenceSampler:
    return ReferenceSampler(labels, infrared, persons=PERSONS, images_per_person=IMAGES, seed=seed)


def assert_p_by_k(labels: NDArray[np.int64], infrared: NDArray[np.bool_], chosen: Sampler) -> None:
    for batch in chosen:
        groups = labels[batch].reshape(PERSONS, IMAGES)
        assert (groups == groups[:, :1]).all()
        assert len(np.unique(groups[:, 0])) == PERSONS
        assert infrared[batch].tolist() == [False, True] * (PERSONS * HALF)


@given(datasets())
def test_batches_hold_p_persons_grouped_with_half_of_each_modality(dataset: Labelled) -> None:
    assert_p_by_k(*dataset, sampler(*dataset))


@given(datasets(scarce=False))
def test_batches_of_the_reference_hold_the_same(dataset: Labelled) -> None:
    assert_p_by_k(*dataset, reference(*dataset))


@given(datasets())
def test_the_length_is_known_before_the_first_epoch(dataset: Labelled) -> None:
    batches = sampler(*dataset)
    promised = len(batches)
    assert len(list(batches)) == promised


@given(datasets(scarce=False), st.integers(0, 5))
def test_the_length_of_a_reference_epoch_is_known_before_it(dataset: Labelled, epoch: int) -> None:
    batches = reference(*dataset)
    batches.set_epoch(epoch)
    promised = len(batches)
    assert len(list(batches)) == promised >= 1


@given(datasets())
def test_no_person_is_dropped(dataset: Labelled) -> None:
    labels, _ = dataset
    seen = {int(label) for batch in sampler(*dataset) for label in labels[batch]}
    assert seen == set(labels.tolist())


@given(datasets())
def test_every_person_gets_a_visit_for_each_chunk_of_its_scarcer_modality(
    dataset: Labelled,
) -> None:
    labels, infrared = dataset
    visits = Counter(
        int(label)
        for batch in sampler(labels, infrared)
        for label in labels[batch].reshape(PERSONS, IMAGES)[:, 0]
    )
    for person in np.unique(labels).tolist():
        own = infrared[labels == person]
        assert visits[person] >= max(1, min(own.sum(), (~own).sum()) // HALF)


@given(datasets(), st.integers(0, 3))
def test_no_image_is_twice_in_a_batch_while_its_person_has_enough(
    dataset: Labelled, epoch: int
) -> None:
    labels, infrared = dataset
    count = Counter(zip(labels.tolist(), infrared.tolist(), strict=True))
    batches = sampler(labels, infrared)
    batches.set_epoch(epoch)
    for batch in batches:
        for index, times in Counter(batch.tolist()).items():
            has = count[int(labels[index]), bool(infrared[index])]
            assert times == 1 if has >= HALF else times <= -(-HALF // has)


@given(datasets())
def test_a_person_shows_all_images_of_a_modality_before_one_again(dataset: Labelled) -> None:
    labels, infrared = dataset
    shown = Counter(int(index) for batch in sampler(labels, infrared) for index in batch)
    for person in np.unique(labels):
        for modality in (False, True):
            own = np.flatnonzero((labels == person) & (infrared == modality))
            times = [shown[int(index)] for index in own]
            assert max(times) - min(times) <= 1


def test_a_scarce_person_shows_every_image() -> None:
    labels = np.array([0] * 3 + [1] * 8 + [2] * 8)
    infrared = np.array([False, True, True] + [False, True] * 8)
    for batch in sampler(labels, infrared):
        assert {0, 1, 2} <= set(batch.tolist())


@given(datasets(scarce=False), st.integers(0, 3))
def test_the_reference_shows_no_image_twice_in_an_epoch_but_of_scarce_persons(
    dataset: Labelled, epoch: int
) -> None:
    labels, infrared = dataset
    batches = reference(labels, infrared)
    batches.set_epoch(epoch)
    shown = Counter(int(index) for batch in batches for index in batch)
    for index, times in shown.items():
        own = infrared[labels == labels[index]]
        scarce = max(own.sum(), (~own).sum()) < HALF
        assert times == 1 or scarce


@given(datasets(scarce=False), st.integers(0, 3))
def test_the_reference_stops_when_fewer_than_p_persons_have_a_chunk_left(
    dataset: Labelled, epoch: int
) -> None:
    labels, infrared = dataset
    batches = reference(labels, infrared)
    batches.set_epoch(epoch)
    left = {
        person: max(1, min((own := infrared[labels == person]).sum(), (~own).sum()) // HALF)
        for person in np.unique(labels).tolist()
    }
    for batch in batches:
        for person in labels[batch].reshape(PERSONS, IMAGES)[:, 0].tolist():
            left[person] -= 1
    assert min(left.values()) >= 0
    assert sum(chunks > 0 for chunks in left.values()) < PERSONS


def test_reference_epochs_differ_in_length() -> None:
    batches = reference(*labelled([(8, 8), (8, 8), (4, 4), (2, 2), (2, 2)]))
    lengths = set()
    for epoch in range(20):
        batches.set_epoch(epoch)
        lengths.add(len(batches))
    assert len(lengths) > 1


def test_the_reference_cuts_the_richer_modality_at_random() -> None:
    labels, infrared = labelled([(20, 2), (2, 2), (2, 2)])
    shown = set()
    batches = reference(labels, infrared)
    for epoch in range(60):
        batches.set_epoch(epoch)
        [batch] = batches  # one chunk each
        shown |= set(batch.tolist())
    assert shown == set(range(len(labels)))


def test_the_reference_drops_persons_without_infrared() -> None:
    labels, infrared = labelled([(4, 4), (4, 4), (9, 0), (4, 4)])
    seen = {int(label) for batch in reference(labels, infrared) for label in labels[batch]}
    assert seen == {0, 1, 3}


@pytest.mark.parametrize("counts", [(1, 5), (5, 1), (0, 5), (0, 1)])
def test_the_crash_of_the_reference_names_the_person(counts: tuple[int, int]) -> None:
    labels, infrared = labelled([(4, 4), (4, 4), counts, (4, 4)])
    message = f"identity 2 has {counts[0]} visible and {counts[1]} infrared images: .* crashes"
    with pytest.raises(DatasetError, match=message):
        reference(labels, infrared)


@pytest.mark.parametrize("make", [PKSampler, ReferenceSampler])
@given(dataset=datasets(scarce=False), epoch=st.integers(0, 3), world_size=st.integers(1, 5))
def test_ranks_share_the_batches_of_one_process_in_order_and_take_equal_steps(
    make: Make, dataset: Labelled, epoch: int, world_size: int
) -> None:
    def batches(rank: int, world_size: int) -> list[list[int]]:
        chosen = make(
            *dataset,
            persons=PERSONS,
            images_per_person=IMAGES,
            seed=1,
            rank=rank,
            world_size=world_size,
        )
        chosen.set_epoch(epoch)
        found = [batch.tolist() for batch in chosen]
        assert len(found) == len(chosen)
        return found

    alone = batches(0, 1)
    shares = [batches(rank, world_size) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    together = [batch for step in zip_longest(*shares) for batch in step]
    assert len(together) < len(alone) + world_size
    assert together == (alone * world_size)[: len(together)]


@pytest.mark.parametrize("make", [PKSampler, ReferenceSampler])
def test_the_same_seed_and_epoch_give_the_same_batches_and_others_do_not(make: Make) -> None:
    labels, infrared = np.repeat(np.arange(6), 8), np.array([False, True] * 24)

    def batches(seed: int, epoch: int) -> list[list[int]]:
        chosen = make(labels, infrared, persons=PERSONS, images_per_person=IMAGES, seed=seed)
        chosen.set_epoch(epoch)
        return [batch.tolist() for batch in chosen]

    assert batches(1, 2) == batches(1, 2)
    assert batches(1, 2) != batches(1, 3)
    assert batches(1, 2) != batches(2, 2)


def test_a_person_without_infrared_is_refused_by_name() -> None:
    labels, infrared = np.array([0, 0, 1, 1, 7]), np.array([False, True, False, True, False])
    with pytest.raises(DatasetError, match="both modalities; 1 lack one, the first is identity 7"):
        sampler(labels, infrared)


@pytest.mark.parametrize("make", [PKSampler, ReferenceSampler])
def test_fewer_persons_than_a_batch_holds_are_refused(make: Make) -> None:
    labels, infrared = np.array([0, 0, 1, 1]), np.array([False, True, False, True])
    with pytest.raises(DatasetError, match="holds 3 identities, the training set has 2"):
        make(labels, infrared, persons=3, images_per_person=2, seed=0)


@pytest.mark.parametrize("make", [PKSampler, ReferenceSampler])
@pytest.mark.parametrize("images", [0, 1, 3])
def test_odd_images_per_person_are_refused(make: Make, images: int) -> None:
    with pytest.raises(DatasetError, match=f"even and at least 2, not {images}"):
        make(np.array([0]), np.array([True]), persons=1, images_per_person=images, seed=0)


@pytest.mark.parametrize("make", [PKSampler, ReferenceSampler])
def test_more_images_per_person_than_any_has_are_refused(make: Make) -> None:
    labels, infrared = labelled([(9, 2), (4, 3), (2, 9)])
    message = (
        "8 images per person need an identity with 4 visible and 4 infrared images;"
        " the largest, identity 1, has 4 and 3"
    )
    with pytest.raises(DatasetError, match=message):
        make(labels, infrared, persons=3, images_per_person=8, seed=0)


def test_one_rich_person_is_enough_for_many_images_per_person() -> None:
    labels, infrared = labelled([(9, 2), (4, 4), (2, 9)])
    [batch] = PKSampler(labels, infrared, persons=3, images_per_person=8, seed=0)
    assert len(batch) == 24
