"""Best and worst queries equal those of a full sort, query by query."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.report import ranked
from training.report.ranked import best_and_worst


def by_sorting(scores: list[float], right: list[bool]) -> tuple[int, list[int]]:
    """Rank of the first right entry (0 for none), and the entries that a query sees, best first."""
    seen = [entry for entry, score in enumerate(scores) if score > -np.inf]
    order = sorted(seen, key=lambda entry: (-scores[entry], right[entry], entry))
    ranks = [rank for rank, entry in enumerate(order, start=1) if right[entry]]
    return (ranks[0] if ranks else 0), order


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 9))
def test_rankings_equal_an_independent_sort(seed: int, queries: int, entries: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-3, 4, (queries, entries)).astype(np.float32)  # many ties
    scores[rng.random(scores.shape) < 0.2] = -np.inf
    query_ids, gallery_ids = rng.integers(0, 3, queries), rng.integers(0, 3, entries)
    best, worst = best_and_worst(
        lambda rows: scores[rows], query_ids, gallery_ids, count=100, shown=4
    )
    expected = {
        query: by_sorting(scores[query].tolist(), (gallery_ids == query_ids[query]).tolist())
        for query in range(queries)
    }
    judged = [query for query, (rank, _) in expected.items() if rank]
    assert sorted(ranking.query for ranking in [*best, *worst]) == judged
    for ranking in [*best, *worst]:
        rank, order = expected[ranking.query]
        assert ranking.first_right == rank
        assert ranking.entries.tolist() == order[:4]
        assert ranking.similarities.tolist() == [scores[ranking.query, e] for e in order[:4]]
        assert ranking.right.tolist() == [
            gallery_ids[e] == query_ids[ranking.query] for e in order[:4]
        ]
    ranks = [ranking.first_right for ranking in [*best, *reversed(worst)]]
    assert ranks == sorted(ranks)


SCORES = np.array(
    [[0.9, 0.1], [0.9, 0.8], [0.5, 0.6], [0.2, 0.9]], dtype=np.float32
)  # person 1 stands first


def _rows(rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return SCORES[rows]


def test_among_equal_ranks_the_lead_over_wrong_entries_decides() -> None:
    best, worst = best_and_worst(_rows, np.array([1, 1, 1, 1]), np.array([1, 2]))
    assert [ranking.query for ranking in best] == [0, 1]
    assert [ranking.query for ranking in worst] == [3, 2]


def test_no_more_than_asked_for() -> None:
    best, worst = best_and_worst(_rows, np.array([1, 1, 1, 1]), np.array([1, 2]), count=1, shown=1)
    assert [(ranking.query, ranking.entries.tolist()) for ranking in best] == [(0, [0])]
    assert [(ranking.query, ranking.entries.tolist()) for ranking in worst] == [(3, [1])]


def test_queries_without_a_right_entry_are_left_out() -> None:
    best, worst = best_and_worst(_rows, np.array([1, 7, 7, 7]), np.array([1, 2]))
    assert [ranking.query for ranking in best] == [0]
    assert worst == []


def test_blocks_of_queries_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranked, "BLOCK", 3)
    best, worst = best_and_worst(_rows, np.array([1, 1, 1, 1]), np.array([1, 2]))
    assert [ranking.query for ranking in (*best, *worst)] == [0, 1, 3, 2]
