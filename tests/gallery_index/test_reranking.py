"""Re-ranking against the published code's outputs and against a slow plain twin."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gallery_index.reranking import Neighbours, nearest, rerank
from tests.gallery_index.reranking_oracle import rerank_slowly, squared_distances

GOLDEN = Path(__file__).parents[1] / "golden" / "reranking.npz"


def blocks(
    table: NDArray[np.float32], queries: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """query-gallery, query-query and gallery-gallery parts of a square table."""
    return table[:queries, queries:], table[:queries, :queries], table[queries:, queries:]


@st.composite
def tables(draw: st.DrawFn) -> tuple[NDArray[np.float32], int]:
    """Symmetric distance tables: clusters, duplicates, many ties, sets smaller than k1."""
    queries, entries = draw(st.integers(1, 30)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = draw(st.sampled_from([2, 4, 50]))
    points = rng.integers(0, levels, (queries + entries, 3)).astype(np.float32)
    if draw(st.booleans()):
        points += rng.random(points.shape, dtype=np.float32)
    table = squared_distances(points, points)
    return np.maximum(table, table.T), queries


@pytest.mark.parametrize(
    ("neighbours", "name"),
    [
        ("gallery", "reranked_distance_gallery_neighbours"),
        ("queries_only", "reranked_distance_query_neighbours_only"),
    ],
)
def test_distances_agree_with_the_published_code(neighbours: Neighbours, name: str) -> None:
    golden = np.load(GOLDEN)
    points = np.concatenate([golden["query_embeddings"], golden["gallery_embeddings"]])
    found = rerank(
        *blocks(squared_distances(points, points), len(golden["query_embeddings"])),
        neighbours=neighbours,
        k1=int(golden["k1"]),
        k2=int(golden["k2"]),
        original_weight=float(golden["lambda_value"]),
    )
    np.testing.assert_allclose(found, golden[name], rtol=0, atol=5e-7)


@settings(deadline=None)
@given(
    tables(),
    st.sampled_from(["gallery", "queries_only"]),
    st.integers(1, 25),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_any_table_gives_what_the_slow_twin_gives(
    table: tuple[NDArray[np.float32], int],
    neighbours: Neighbours,
    k1: int,
    k2: int,
    weight: float,
) -> None:
    distances, queries = table
    found = rerank(
        *blocks(distances, queries), neighbours=neighbours, k1=k1, k2=k2, original_weight=weight
    )
    expected = rerank_slowly(
        distances,
        queries,
        queries_only=neighbours == "queries_only",
        k1=k1,
        k2=k2,
        weight=weight,
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("neighbours", ["gallery", "queries_only"])
def test_a_few_hundred_entries_in_several_blocks_give_the_same_digits(
    neighbours: Neighbours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gallery_index.reranking.BLOCK_BYTES", 60_000)
    rng = np.random.default_rng(5)
    persons = rng.standard_normal((25, 16))[rng.integers(0, 25, 420)]
    points = (persons + 0.8 * rng.standard_normal((420, 16))).astype(np.float32)
    table = squared_distances(points, points)
    table = np.maximum(table, table.T)
    found = rerank(*blocks(table, 150), neighbours=neighbours)
    expected = rerank_slowly(table, 150, queries_only=neighbours == "queries_only")
    np.testing.assert_array_equal(found, expected)


def test_one_query_is_re_ranked_among_its_candidates() -> None:
    """A decoy nearer than the right entries falls behind them: a crowd of its own is nearer."""
    query, decoy = np.array([0.0, 0.0]), np.array([0.0, 1.0])
    right = np.array([[1.1, 0.0], [1.15, 0.0], [1.2, 0.0]])
    crowd = decoy + np.array([[0.0, 0.2], [0.05, 0.2], [-0.05, 0.2], [0.0, 0.25]])
    points = np.vstack([query, decoy, right, crowd]).astype(np.float32)
    table = squared_distances(points, points)
    assert table[0, 1:].argmin() == 0
    found = rerank(*blocks(table, 1), neighbours="gallery", k1=4, k2=1)
    assert set(np.argsort(found[0])[:3].tolist()) == {1, 2, 3}


def test_queries_only_needs_no_distances_within_the_gallery() -> None:
    points = np.random.default_rng(1).random((60, 4)).astype(np.float32)
    to_gallery, to_queries, within = blocks(squared_distances(points, points), 35)
    with_them = rerank(to_gallery, to_queries, within, neighbours="queries_only")
    without = rerank(to_gallery, to_queries, None, neighbours="queries_only")
    np.testing.assert_array_equal(with_them, without)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 200), st.integers(0, 2**32), st.sampled_from([3, 10**6]))
def test_nearest_are_the_first_of_a_stable_sort(
    count: int, extra: int, seed: int, levels: int
) -> None:
    distances = np.random.default_rng(seed).integers(0, levels, (4, count + extra))
    expected = np.argsort(distances, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(nearest(distances.astype(np.float32), count), expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k1": 0}, "k1 0 and k2 6 are at least 1"),
        ({"original_weight": 1.5}, r"lambda 1\.5 in 0 \.\. 1"),
        ({"query_query": np.zeros((2, 3), np.float32)}, r"query_query has shape \(2, 3\)"),
        ({"gallery_gallery": None}, "gallery_gallery has shape None"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "query_gallery": np.zeros((2, 4), np.float32),
        "query_query": np.zeros((2, 2), np.float32),
        "gallery_gallery": np.zeros((4, 4), np.float32),
        "neighbours": "gallery",
    }
    with pytest.raises(ValueError, match=message):
        rerank(**(arguments | changed))  # type: ignore[arg-type]


def test_no_query_and_no_entry_give_an_empty_table() -> None:
    empty = np.zeros((0, 3), np.float32)
    within = np.zeros((3, 3), np.float32)
    assert rerank(empty, np.zeros((0, 0), np.float32), within, neighbours="gallery").shape == (0, 3)
