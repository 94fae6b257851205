"""P x K batches: properties that hold for any dataset."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.errors import DatasetError
from training.sampler import PKSampler

PERSONS, IMAGES = 3, 4


@st.composite
def datasets(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Labels and modalities of scarce, lopsided and rich identities, shuffled."""
    counts = draw(
        st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=PERSONS, max_size=8)
    )
    labels = [person for person, (v, i) in enumerate(counts) for _ in range(v + i)]
    infrared = [place >= v for v, i in counts for place in range(v + i)]
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(labels))
    return np.array(labels)[order], np.array(infrared)[order]


def sampler(labels: NDArray[np.int64], infrared: NDArray[np.bool_], seed: int = 0) -> PKSampler:
    return PKSampler(labels, infrared, persons=PERSONS, images_per_person=IMAGES, seed=seed)


@given(datasets())
def test_batches_hold_p_persons_grouped_with_half_of_each_modality(
    dataset: tuple[NDArray[np.int64], NDArray[np.bool_]],
) -> None:
    labels, infrared = dataset
    for batch in sampler(labels, infrared):
        groups = labels[batch].reshape(PERSONS, IMAGES)
        assert (groups == groups[:, :1]).all()
        assert len(np.unique(groups[:, 0])) == PERSONS
        assert infrared[batch].reshape(PERSONS, IMAGES).sum(axis=1).tolist() == [IMAGES // 2] * 3


@given(datasets())
def test_the_length_is_known_before_the_first_epoch(
    dataset: tuple[NDArray[np.int64], NDArray[np.bool_]],
) -> None:
    batches = sampler(*dataset)
    promised = len(batches)
    assert len(list(batches)) == promised


@given(datasets())
def test_no_person_is_dropped(dataset: tuple[NDArray[np.int64], NDArray[np.bool_]]) -> None:
    labels, infrared = dataset
    seen = {int(label) for batch in sampler(labels, infrared) for label in labels[batch]}
    assert seen == set(labels.tolist())


@given(datasets())
def test_every_person_gets_a_visit_for_each_chunk_of_its_scarcer_modality(
    dataset: tuple[NDArray[np.int64], NDArray[np.bool_]],
) -> None:
    labels, infrared = dataset
    visits = Counter(
        int(label)
        for batch in sampler(labels, infrared)
        for label in labels[batch].reshape(PERSONS, IMAGES)[:, 0]
    )
    for person in np.unique(labels).tolist():
        own = infrared[labels == person]
        assert visits[person] >= max(1, min(own.sum(), (~own).sum()) // (IMAGES // 2))


def test_a_scarce_person_shows_every_image() -> None:
    labels = np.array([0] * 3 + [1] * 8 + [2] * 8)
    infrared = np.array([False, True, True] + [False, True] * 8)
    for batch in sampler(labels, infrared):
        assert {0, 1, 2} <= set(batch.tolist())


def test_the_same_seed_and_epoch_give_the_same_batches_and_others_do_not() -> None:
    labels, infrared = np.repeat(np.arange(6), 8), np.array([False, True] * 24)

    def batches(seed: int, epoch: int) -> list[list[int]]:
        chosen = sampler(labels, infrared, seed)
        chosen.set_epoch(epoch)
        return [batch.tolist() for batch in chosen]

    assert batches(1, 2) == batches(1, 2)
    assert batches(1, 2) != batches(1, 3)
    assert batches(1, 2) != batches(2, 2)


def test_a_person_without_infrared_is_refused() -> None:
    labels, infrared = np.array([0, 0, 1, 1, 2]), np.array([False, True, False, True, False])
    with pytest.raises(DatasetError, match="images of both modalities"):
        sampler(labels, infrared)


def test_fewer_persons_than_a_batch_holds_are_refused() -> None:
    with pytest.raises(DatasetError, match="holds 3 identities, the training set has 2"):
        sampler(np.array([0, 0, 1, 1]), np.array([False, True, False, True]))


@pytest.mark.parametrize("images", [0, 1, 3])
def test_odd_images_per_person_are_refused(images: int) -> None:
    with pytest.raises(DatasetError, match=f"even and at least 2, not {images}"):
        PKSampler(np.array([0]), np.array([True]), persons=1, images_per_person=images, seed=0)
