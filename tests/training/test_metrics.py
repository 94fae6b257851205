"""Retrieval metrics against a slow obvious twin and hand-computed rankings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.metrics import (
    Figures,
    cumulative_matches,
    mean_figures,
    retrieval_figures,
    score_queries,
    spread_of_figures,
)


@st.composite
def rankings(
    draw: st.DrawFn,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Similarities with many ties, ids with absent and repeated persons, ignored entries."""
    queries, gallery = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = draw(st.sampled_from([2, 5, 1000]))
    similarity = rng.integers(0, levels, (queries, gallery)).astype(np.float32)
    return (
        similarity,
        rng.integers(0, 5, queries),
        rng.integers(0, 5, gallery),
        rng.random((queries, gallery)) < draw(st.sampled_from([0.0, 0.3])),
    )


def slow_order(similarity: NDArray[np.float32], right: NDArray[np.bool_]) -> list[int]:
    """Entries by falling similarity, the wrong one first among equals."""
    return sorted(range(len(similarity)), key=lambda entry: (-similarity[entry], right[entry]))


@given(rankings())
def test_average_precision_equals_a_loop_over_the_ranking(
    ranking: tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]],
) -> None:
    similarity, query_ids, gallery_ids, ignored = ranking
    found = score_queries(similarity, query_ids, gallery_ids, ignored).average_precision
    for row, person in enumerate(query_ids):
        seen = np.flatnonzero(~ignored[row])
        right = gallery_ids[seen] == person
        precisions, hits = [], 0
        for place, entry in enumerate(slow_order(similarity[row][seen], right), start=1):
            if right[entry]:
                hits += 1
                precisions.append(hits / place)
        expected = np.mean(precisions) if precisions else np.nan
        np.testing.assert_allclose(found[row], expected)


@given(rankings())
def test_identity_rank_equals_a_loop_over_first_appearances(
    ranking: tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]],
) -> None:
    similarity, query_ids, gallery_ids, ignored = ranking
    found = score_queries(similarity, query_ids, gallery_ids, ignored).identity_rank
    for row, person in enumerate(query_ids):
        seen = np.flatnonzero(~ignored[row])
        order = slow_order(similarity[row][seen], gallery_ids[seen] == person)
        persons: list[int] = []
        for entry in order:
            if gallery_ids[seen][entry] not in persons:
                persons.append(int(gallery_ids[seen][entry]))
        assert found[row] == (persons.index(person) + 1 if person in persons else 0)


@given(rankings())
def test_inverse_penalty_equals_a_loop_to_the_last_right_entry(
    ranking: tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]],
) -> None:
    similarity, query_ids, gallery_ids, ignored = ranking
    found = score_queries(similarity, query_ids, gallery_ids, ignored).inverse_penalty
    for row, person in enumerate(query_ids):
        seen = np.flatnonzero(~ignored[row])
        right = gallery_ids[seen] == person
        hits = [right[entry] for entry in slow_order(similarity[row][seen], right)]
        places = [place for place, hit in enumerate(hits, start=1) if hit]
        expected = len(places) / places[-1] if places else np.nan
        np.testing.assert_allclose(found[row], expected)


def test_inverse_penalty_of_a_hand_computed_ranking() -> None:
    similarity = np.array([[0.9, 0.8, 0.7, 0.6]], dtype=np.float32)
    found = score_queries(similarity, np.array([1]), np.array([1, 2, 1, 2]))
    np.testing.assert_allclose(found.inverse_penalty, [2 / 3])  # two right ones, the last third


def test_average_precision_of_a_hand_computed_ranking() -> None:
    similarity = np.array([[0.9, 0.8, 0.7, 0.6]], dtype=np.float32)
    found = score_queries(similarity, np.array([1]), np.array([1, 2, 1, 2]))
    np.testing.assert_allclose(found.average_precision, [(1 / 1 + 2 / 3) / 2])


def test_a_person_counts_once_by_the_best_image() -> None:
    similarity = np.array([[0.9, 0.8, 0.7, 0.6]], dtype=np.float32)
    found = score_queries(similarity, np.array([2]), np.array([1, 1, 1, 2]))
    assert found.identity_rank.tolist() == [2]


def test_a_constant_embedding_scores_nothing() -> None:
    figures = retrieval_figures(
        np.ones((3, 6), dtype=np.float32), np.array([0, 1, 2]), np.array([0, 0, 1, 1, 2, 2])
    )
    assert figures.rank1 == 0.0


def test_queries_without_a_right_entry_are_left_out() -> None:
    similarity = np.array([[0.9, 0.1], [0.9, 0.1]], dtype=np.float32)
    figures = retrieval_figures(similarity, np.array([0, 7]), np.array([0, 1]))
    assert (figures.rank1, figures.mAP) == (100.0, 100.0)


def test_cumulative_matches_of_known_ranks() -> None:
    curve = cumulative_matches(np.array([1, 3, 0, 2, 1]), up_to=3)
    np.testing.assert_allclose(curve, [0.5, 0.75, 1.0])


def test_mean_figures_averages_each_figure() -> None:
    mean = mean_figures([Figures(10, 20, 30, 40, 50, 0), Figures(30, 40, 50, 60, 70, 8)])
    assert mean == Figures(20, 30, 40, 50, 60, 4)


def test_spread_is_the_sample_standard_deviation() -> None:
    trials = [Figures(1, 0, 0, 0, 0, 0), Figures(2, 0, 0, 0, 0, 0), Figures(6, 0, 0, 0, 0, 3)]
    spread = spread_of_figures(trials)
    assert spread.mAP == pytest.approx(7**0.5)  # squares 4 + 1 + 9 over 2
    assert spread.mINP == pytest.approx(3**0.5)
    assert spread_of_figures(trials[:1]) == Figures(0, 0, 0, 0, 0, 0)


def test_no_query_with_a_right_entry_gives_nan() -> None:
    figures = retrieval_figures(np.ones((1, 1), dtype=np.float32), np.array([0]), np.array([1]))
    assert figures.rank1 != pytest.approx(figures.rank1)
