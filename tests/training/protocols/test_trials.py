"""Many drawn galleries scored at once, against each scored alone by the slow obvious twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics import score_queries
from training.protocols.contest import Labels, Rule, ignored
from training.protocols.trials import score_trials

RULES: tuple[Rule, ...] = ("none", "camera 2 for probes of camera 3", "same person and camera")


def labels(rng: np.random.Generator, count: int, persons: int, cameras: tuple[int, ...]) -> Labels:
    return Labels(
        rng.integers(0, persons, count),
        rng.choice(cameras, count),
        np.arange(count, dtype=np.int64),
    )


def check(seed: int, queries: int, entries: int, persons: int, levels: int, rule: Rule) -> None:
    """Compare every score of four drawn galleries with `score_queries` on each."""
    rng = np.random.default_rng(seed)
    query, gallery = (
        labels(rng, queries, persons, (3, 6, 2)),
        labels(rng, entries, persons, (1, 2, 3)),
    )
    similarity = rng.integers(0, levels, (queries, entries)).astype(np.float32)
    drawn = rng.random((4, entries)) < rng.choice([0.3, 0.9])
    drawn[:, 0] = True
    for scores, chosen in zip(
        score_trials(similarity, query, gallery, drawn, rule), drawn, strict=True
    ):
        candidates = gallery.rows(chosen)
        expected = score_queries(
            similarity[:, chosen],
            query.person_ids,
            candidates.person_ids,
            ignored(rule, query, candidates),
        )
        np.testing.assert_allclose(scores.average_precision, expected.average_precision)
        np.testing.assert_allclose(scores.inverse_penalty, expected.inverse_penalty)
        np.testing.assert_array_equal(scores.identity_rank, expected.identity_rank)


@given(
    st.integers(0, 2**32),
    st.integers(1, 12),
    st.integers(1, 90),
    st.integers(1, 6),
    st.sampled_from([2, 6, 10**6]),
    st.sampled_from(RULES),
)
def test_each_trial_scores_as_if_alone(
    seed: int, queries: int, entries: int, persons: int, levels: int, rule: Rule
) -> None:
    """Ties, persons without a drawn image, and queries that see nothing, included."""
    check(seed, queries, entries, persons, levels, rule)


@given(st.integers(0, 2**32), st.sampled_from(RULES))
def test_sorting_counts_as_comparing_does(seed: int, rule: Rule) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.protocols.trials.MANY", 3)
        check(seed, 8, 60, 3, 6, rule)


def test_a_group_in_several_parts_scores_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.protocols.trials.COMPARISONS", 50)
    check(3, 60, 40, 2, 1000, "none")


def test_what_a_query_must_not_see_is_not_read() -> None:
    query = Labels(np.array([1]), np.array([3]), np.array([0]))
    gallery = Labels(np.array([1, 1, 2]), np.array([2, 1, 2]), np.arange(3))
    similarity = np.array([[np.nan, 0.5, np.inf]], dtype=np.float32)
    everything = np.ones((1, 3), dtype=bool)
    (scores,) = score_trials(similarity, query, gallery, everything, RULES[1])
    assert scores.identity_rank.tolist() == [1]
    assert scores.average_precision.tolist() == [1.0]
