"""Scores of many galleries drawn from one set of candidates, from one table of similarities.

The slow obvious twin is `training.metrics.score_queries`, whose policies hold here too. Queries of
one person and camera share their right entries and what they must not see, so they are scored
together: for each right entry a bit a wrong candidate says whether it ranks before, and a trial's
count is the number of bits that its own gallery has in common with them.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.metrics import QueryScores
from training.protocols.contest import Labels, Rule, ignored

COMPARISONS = 8 * 2**20  # at once, in each thread
MANY = 256  # right entries, above which sorting is faster than comparing each

Drawn = NDArray[np.bool_]
Positions = NDArray[np.intp]


def score_trials(
    similarity: NDArray[np.float32],
    query: Labels,
    candidates: Labels,
    drawn: Drawn,
    rule: Rule,
) -> list[QueryScores]:
    """Score every query in the gallery of every trial.

    Args:
        similarity: (Q, C); what a query must not see is not read.
        drawn: (T, C): the candidates that each trial's gallery has.
        rule: what a query must not see.
    """
    order = np.argsort(candidates.person_ids, kind="stable")  # persons side by side
    trials, queries = len(drawn), len(query)
    precision, penalty = np.full((2, trials, queries), np.nan)
    ranks = np.zeros((trials, queries), dtype=np.int64)

    def score(group: _Group) -> None:
        for place, trial in enumerate(_score(similarity, group, drawn)):
            if trial is not None:
                precision[place, group.queries] = trial.average_precision
                penalty[place, group.queries] = trial.inverse_penalty
                ranks[place, group.queries] = trial.identity_rank

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(score, _groups(query, candidates, order, rule)))
    return [QueryScores(*scores) for scores in zip(precision, penalty, ranks, strict=True)]


@dataclass(frozen=True)
class _Group:
    """Queries of one person and camera; positions of right and wrong candidates, persons apart."""

    queries: Positions
    right: Positions
    wrong: Positions
    wrong_persons: NDArray[np.int64]


def _groups(query: Labels, candidates: Labels, order: Positions, rule: Rule) -> Iterator[_Group]:
    keys = np.stack([query.person_ids, query.camera_ids])
    _, first, member = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    for number, example in enumerate(first.tolist()):
        queries = np.flatnonzero(member.ravel() == number)
        hidden = ignored(rule, query.rows(np.array([example])), candidates)
        seen = order if hidden is None else order[~hidden[0, order]]
        right = candidates.person_ids[seen] == query.person_ids[example]
        wrong = seen[~right]
        step = max(1, COMPARISONS // max(1, right.sum() * len(wrong)))
        for start in range(0, len(queries), step):
            some = queries[start : start + step]
            yield _Group(some, seen[right], wrong, candidates.person_ids[wrong])


def _score(
    similarity: NDArray[np.float32], group: _Group, drawn: Drawn
) -> Iterator[QueryScores | None]:
    """One `QueryScores` a trial; None where its gallery has no right entry."""
    rows = similarity[group.queries]
    # `take` lays rows out one after the other, which `rows[:, chosen]` does not.
    right, wrong = rows.take(group.right, axis=1), rows.take(group.wrong, axis=1)
    comparing = len(group.right) <= MANY
    before = _bits(wrong[:, None, :] >= right[:, :, None]) if comparing else None
    drawn_right, drawn_wrong = drawn[:, group.right], drawn.take(group.wrong, axis=1)
    for own, others, bits in zip(drawn_right, drawn_wrong, _bits(drawn_wrong), strict=True):
        if not own.any():
            yield None
            continue
        ours, theirs = right[:, own], wrong.compress(others, axis=1)
        if before is None:
            wrong_before = _sorted_counts(ours, theirs)
        else:
            wrong_before = np.bitwise_count(before[:, own] & bits).sum(axis=2)
        yield _scores(ours, wrong_before, theirs, group.wrong_persons[others])


def _bits(flags: Drawn) -> NDArray[np.uint64]:
    """Flags along the last axis, 64 a word."""
    packed = np.packbits(flags, axis=-1)
    missing = -packed.shape[-1] % 8
    if missing:
        packed = np.pad(packed, [(0, 0)] * (packed.ndim - 1) + [(0, missing)])
    return packed.view(np.uint64)


def _sorted_counts(right: NDArray[np.float32], wrong: NDArray[np.float32]) -> NDArray[np.int64]:
    """(m, k): how many wrong entries rank before each right one."""
    ascending = np.sort(wrong, axis=1)
    below = [np.searchsorted(row, own) for row, own in zip(ascending, right, strict=True)]
    return np.asarray(wrong.shape[1] - np.stack(below))


def _scores(
    right: NDArray[np.float32],
    wrong_before: NDArray[np.int64],
    wrong: NDArray[np.float32],
    wrong_persons: NDArray[np.int64],
) -> QueryScores:
    found = np.arange(1, right.shape[1] + 1)
    ranks = found + np.sort(wrong_before, axis=1)  # a nearer right entry has fewer wrong before it
    identity_rank = np.ones(len(right), dtype=np.int64)
    if len(wrong_persons):
        starts = np.flatnonzero(np.diff(wrong_persons, prepend=wrong_persons[0] - 1))
        best = np.maximum.reduceat(wrong, starts, axis=1)
        identity_rank += (best >= right.max(axis=1, keepdims=True)).sum(axis=1)
    return QueryScores((found / ranks).mean(axis=1), len(found) / ranks[:, -1], identity_rank)
