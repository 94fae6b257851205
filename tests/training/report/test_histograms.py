"""Counts of genuine and impostor pairs equal a count pair by pair."""

import math
from itertools import combinations

import numpy as np
import pytest

from model.config import Modality
from training.report import histograms
from training.report.histograms import EDGES, pair_histograms

V, I = Modality.VISIBLE, Modality.INFRARED  # noqa: E741


def people(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[Modality]]:
    """Unit vectors of four persons, in both modalities in turn."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, rng.integers(0, 4, count), [(V, I)[n % 3 == 0] for n in range(count)]


@pytest.mark.parametrize("block", [3, 1024])
def test_counts_equal_those_of_a_loop_over_pairs(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histograms, "BLOCK", block)
    vectors, persons, modalities = people(40)
    lengths = np.random.default_rng(1).uniform(0.5, 2, (40, 1)).astype(np.float32)
    expected: dict[tuple[frozenset[Modality], bool], list[int]] = {}
    for one, other in combinations(range(40), 2):
        similarity = float(vectors[one].astype(float) @ vectors[other].astype(float))
        place = min(math.floor((similarity + 1) / 0.02), 99)
        key = (
            frozenset((modalities[one], modalities[other])),
            bool(persons[one] == persons[other]),
        )
        expected.setdefault(key, [0] * 100)[place] += 1
    found = pair_histograms(lengths * vectors, persons, modalities)
    assert [histogram.modalities for histogram in found] == [(I, V), (V, V), (I, I)]
    for histogram in found:
        kinds = frozenset(histogram.modalities)
        assert histogram.genuine.tolist() == expected[kinds, True]
        assert histogram.impostor.tolist() == expected[kinds, False]


def test_equal_images_lie_in_the_last_bin_and_opposite_ones_in_the_first() -> None:
    vectors = np.array([[1, 0], [1, 0], [-1, 0]], np.float32)
    (histogram,) = pair_histograms(vectors, np.array([1, 1, 2]), [V, V, V])
    assert (histogram.genuine[-1], histogram.genuine.sum()) == (1, 1)
    assert (histogram.impostor[0], histogram.impostor.sum()) == (2, 2)


def test_of_many_images_some_are_taken_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histograms, "MOST_IMAGES", 5)
    vectors, persons, _ = people(9)
    (histogram,) = pair_histograms(vectors, persons, [V] * 9)
    assert histogram.images == (5, 5)
    taken = pair_histograms(vectors[::2], persons[::2], [V] * 5)[0]
    np.testing.assert_array_equal(histogram.impostor, taken.impostor)


def test_bins_are_two_hundredths_from_minus_one_to_one() -> None:
    assert (EDGES[0], EDGES[50], EDGES[-1], len(EDGES)) == (-1, 0, 1, 101)
