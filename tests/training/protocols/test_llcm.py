"""The LLCM protocol against a plain restatement of its published evaluation."""

import random

import numpy as np
from numpy.typing import NDArray

from training.protocols.contest import Labels
from training.protocols.embedded import embedded
from training.protocols.llcm import llcm
from training.protocols.ranking import rank


def evaluate_slowly(
    similarity: NDArray[np.float64], query: Labels, gallery: Labels
) -> tuple[float, float, float, float]:
    """mAP, rank-1, rank-5, mINP as `eval_llcm` does, query by query.

    A query without a match adds zeros to the sum of the curves, which is divided by the number of
    queries with one: it is left out.
    """
    precisions, penalties, curves, matched = [], [], np.zeros(5), 0
    for row in range(len(query)):
        order = np.argsort(-similarity[row])
        own = gallery.person_ids[order] == query.person_ids[row]
        order = order[~(own & (gallery.camera_ids[order] == query.camera_ids[row]))]
        persons = list(dict.fromkeys(gallery.person_ids[order].tolist()))
        match = np.array([person == query.person_ids[row] for person in persons])
        curves += np.cumsum(match)[:5]
        hits = np.flatnonzero(gallery.person_ids[order] == query.person_ids[row])
        if not len(hits):
            continue
        matched += 1
        precisions.append(np.mean(np.arange(1, len(hits) + 1) / (hits + 1)))
        penalties.append(len(hits) / (hits[-1] + 1))
    rates = curves / matched
    return (
        float(100 * np.mean(precisions)),
        float(100 * rates[0]),
        float(100 * rates[4]),
        float(100 * np.mean(penalties)),
    )


def test_figures_agree_with_a_restatement_of_the_published_code() -> None:
    rng = np.random.default_rng(4)
    persons = np.repeat(np.arange(1, 13), 16)
    cameras = np.tile(np.repeat([1, 2, 5, 9], 4), 12)
    gallery = Labels(persons, cameras, np.arange(len(persons)))
    # Person 13 is in no gallery, and person 12 only where its own camera is skipped.
    query_persons = np.concatenate([rng.integers(1, 12, 60), [13, 13, 12]])
    query_cameras = np.concatenate([rng.choice([1, 2, 5, 7], 60), [1, 2, 1]])
    only = (persons != 12) | (cameras == 1)
    gallery = gallery.rows(only)
    query = Labels(query_persons, query_cameras, np.zeros(63, dtype=np.int64))
    centres = rng.standard_normal((14, 8))
    vectors = centres[gallery.person_ids] + rng.standard_normal((len(gallery), 8))
    looks = centres[query.person_ids] + rng.standard_normal((63, 8))
    contest = llcm(query, gallery, direction="infrared-to-visible")
    (outcome,) = rank(
        contest,
        embedded(looks.astype(np.float32), "query"),
        embedded(vectors.astype(np.float32), "gallery"),
    )
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for rows, found in zip(contest.trials, outcome.trials, strict=True):
        expected = evaluate_slowly(looks @ vectors[rows].T, query, gallery.rows(rows))
        np.testing.assert_allclose(
            (found.mAP, found.rank1, found.rank5, found.mINP), expected, rtol=1e-9
        )


def test_each_trial_draws_one_image_a_person_and_camera_by_its_own_seed() -> None:
    gallery = Labels(np.array([7] * 4 + [8] * 3), np.array([1, 1, 1, 4, 2, 2, 2]), np.arange(7))
    contest = llcm(gallery, gallery, direction="visible-to-infrared")
    assert len(contest.trials) == 10
    for trial, rows in enumerate(contest.trials):
        random.seed(trial)
        expected = [random.choice([0, 1, 2]), random.choice([3]), random.choice([4, 5, 6])]
        assert rows.tolist() == expected
