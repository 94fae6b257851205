"""Affinity inference against a slow plain twin, and what it promises a service."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.training.affinity_oracle import affinity_slowly
from training.affinity import affinity

Cosines = tuple[NDArray[np.float32], NDArray[np.float32]]


def cosines(seed: int, queries: int, entries: int, levels: int = 0) -> Cosines:
    """Query-gallery and gallery-gallery cosines of random vectors; `levels` makes ties."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((queries + entries, 4))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    cosine = points @ points.T
    if levels:
        cosine = np.round(cosine * levels) / levels
    table = cosine.astype(np.float32)
    return table[:queries, queries:], table[queries:, queries:]


@given(
    st.integers(0, 2**32),
    st.integers(1, 6),
    st.integers(1, 25),
    st.sampled_from([0, 2, 8]),
    st.integers(1, 30),
    st.integers(1, 8),
)
def test_any_gallery_gives_what_the_slow_twin_gives(
    seed: int, queries: int, entries: int, levels: int, k1: int, k2: int
) -> None:
    """Ties, and galleries smaller than k1, included."""
    tables = cosines(seed, queries, entries, levels)
    found = affinity(*tables, k1=k1, k2=k2)
    np.testing.assert_allclose(found, affinity_slowly(*tables, k1, k2), rtol=0, atol=2e-5)


def test_a_query_scores_the_same_alone() -> None:
    to_gallery, within = cosines(1, 40, 90)
    together = affinity(to_gallery, within)
    alone = [affinity(row[None], within)[0] for row in to_gallery]
    np.testing.assert_array_equal(together, np.stack(alone))


def test_a_gallery_of_several_blocks_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = cosines(2, 30, 70)
    whole = affinity(*tables, k1=9, k2=4)
    monkeypatch.setattr("training.affinity.BLOCK", 16)
    np.testing.assert_array_equal(affinity(*tables, k1=9, k2=4), whole)


def test_an_image_among_look_alikes_gains_over_a_lone_one() -> None:
    """Entries 0 to 3 resemble each other and the query; entry 4 is as near but resembles nobody."""
    within = np.full((5, 5), 0.9, dtype=np.float32)
    within[4] = within[:, 4] = 0.1
    np.fill_diagonal(within, 1)
    to_gallery = np.array([[0.7, 0.7, 0.7, 0.7, 0.71]], dtype=np.float32)
    assert to_gallery[0].argmax() == 4
    assert affinity(to_gallery, within, k1=4, k2=1)[0].argmin() == 4


@pytest.mark.parametrize(("k1", "k2"), [(0, 6), (30, 0)])
def test_settings_below_one_are_refused(k1: int, k2: int) -> None:
    with pytest.raises(ValueError, match=f"k1 {k1} and k2 {k2} are at least 1"):
        affinity(*cosines(0, 2, 3), k1=k1, k2=k2)


def test_tables_that_do_not_fit_are_refused() -> None:
    to_gallery, within = cosines(0, 2, 3)
    with pytest.raises(ValueError, match=r"3 gallery images, but .* shape \(2, 3\)"):
        affinity(to_gallery, within[:2])
