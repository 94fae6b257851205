"""Re-ranking around one query: the published arithmetic on its nearest entries, nothing else."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gallery_index.candidates import Ask, StoredVectors
from gallery_index.query_reranking import order_around, reranked
from gallery_index.records import GalleryEntry, GroupBy, Match
from tests.gallery_index.places import DIM, Place, enrolled, new
from tests.gallery_index.reranking_oracle import rerank_slowly

STRANGERS, CROWD = 30, 15
COUNT = STRANGERS + CROWD + 1
IMPOSTOR = COUNT - 1  # its row
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def unit(points: NDArray[np.float64]) -> NDArray[np.float32]:
    directions: NDArray[np.float64] = points / np.linalg.norm(points, axis=1, keepdims=True)
    return directions.astype(np.float32)


def around(centre: NDArray[np.float64], count: int, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return centre + 0.05 * rng.standard_normal((count, len(centre)))


def crowd_and_impostor() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A query among a crowd, and an impostor who is nearer to it than all of them.

    (D,) and (COUNT, D): strangers, the crowd, the impostor. The strangers fill the list of the
    impostor's neighbours, so that the query is not in it; it is in those of the crowd.
    """
    axes = np.eye(8)
    query = axes[0]
    crowd = around(axes[0] + 0.5 * axes[1], CROWD, 1)
    impostor = axes[0] + 0.35 * axes[2]
    strangers = around(axes[0] + 0.9 * axes[2], STRANGERS, 2)
    return unit(query[None])[0], unit(np.vstack([strangers, crowd, impostor]))


def matches(similarities: NDArray[np.float32], persons: list[str | None]) -> list[Match]:
    return [
        Match(
            GalleryEntry(
                *(f"e{row}", person, None, "visible", None, {}, "m", "0" * 64, "image/png", NOW),
                row=row,
            ),
            float(similarity),
        )
        for row, (similarity, person) in enumerate(zip(similarities, persons, strict=True))
    ]


def nearest(persons: list[str | None]) -> tuple[list[Match], NDArray[np.float32]]:
    """Matches of the crowd's query, nearest first, and the vectors by row."""
    query, vectors = crowd_and_impostor()
    similarities = vectors @ query
    found = sorted(matches(similarities, persons), key=lambda match: -match.similarity)
    return found, vectors


NOBODY: list[str | None] = [None] * COUNT


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_the_order_is_that_of_the_published_arithmetic(count: int, dim: int, seed: int) -> None:
    """The slow twin gets the query and its entries together. Products are exact, and often tied."""
    points = np.random.default_rng(seed).integers(-4, 5, (1 + count, dim)).astype(np.float32) / 16
    table = (2 - 2 * (points @ points.T)).astype(np.float32)
    np.fill_diagonal(table, 0)
    query, vectors = points[0], points[1:]
    expected = rerank_slowly(table, 1, queries_only=False)[0]
    order = order_around(vectors @ query, vectors)
    assert sorted(order.tolist()) == list(range(count))
    assert np.all(np.diff(expected[order]) >= -1e-6)


def test_a_lone_impostor_falls_behind_a_crowd_that_knows_one_another() -> None:
    found, vectors = nearest(NOBODY)
    assert found[0].entry.row == IMPOSTOR
    answer = reranked(found, Ask(COUNT, "entry", None), lambda rows: vectors[rows])
    assert {match.entry.row for match in answer[:CROWD]} == set(range(STRANGERS, IMPOSTOR))
    assert sorted(match.entry.row for match in answer) == list(range(COUNT))


def test_similarities_stay_plain() -> None:
    found, vectors = nearest(NOBODY)
    plain = {match.entry.row: match.similarity for match in found}
    answer = reranked(found, Ask(COUNT, "entry", None), lambda rows: vectors[rows])
    assert {match.entry.row: match.similarity for match in answer} == plain
    assert [match.similarity for match in answer] != sorted(plain.values(), reverse=True)


def test_the_least_similarity_is_of_plain_ones_and_changes_no_order() -> None:
    found, vectors = nearest(NOBODY)
    floor = sorted(match.similarity for match in found)[-5]
    every = reranked(found, Ask(COUNT, "entry", None), lambda rows: vectors[rows])
    alike = reranked(found, Ask(COUNT, "entry", floor), lambda rows: vectors[rows])
    assert len(alike) == 5
    assert alike == [match for match in every if match.similarity >= floor]


@pytest.mark.parametrize(("group_by", "top_k"), [("entry", 3), ("person", 3), ("person", COUNT)])
def test_a_person_comes_once_with_the_first_of_the_new_order(group_by: GroupBy, top_k: int) -> None:
    """The impostor is of the person of somebody in the crowd, who is the better one re-ranked."""
    persons: list[str | None] = [*(f"p{row // 2}" for row in range(IMPOSTOR - 1)), "ann", "ann"]
    persons[0] = None
    found, vectors = nearest(persons)
    order = reranked(found, Ask(COUNT, "entry", None), lambda rows: vectors[rows])
    answer = reranked(found, Ask(top_k, group_by, None), lambda rows: vectors[rows])
    expected: list[Match] = []
    for match in order:
        people = [other.entry.person_id for other in expected]
        if group_by == "entry" or match.entry.person_id not in people:
            expected.append(match)
    assert answer == expected[:top_k]
    if (group_by, top_k) == ("person", COUNT):
        [ann] = [match for match in answer if match.entry.person_id == "ann"]
        assert ann.entry.row == IMPOSTOR - 1


def test_what_is_beyond_the_candidates_follows_as_it_came() -> None:
    found, vectors = nearest(NOBODY)
    asked: list[int] = []

    def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        asked.extend(rows.tolist())
        return vectors[rows]

    answer = reranked(found, Ask(COUNT, "entry", None), read, candidates=12)
    assert asked == sorted(match.entry.row for match in found[:12])
    assert answer[12:] == found[12:]
    assert set(map(id, answer[:12])) == set(map(id, found[:12]))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_to_be_ordered_anew(count: int) -> None:
    found, vectors = nearest(NOBODY)
    assert reranked(found[:count], Ask(5, "entry", None), lambda r: vectors[r]) == found[:count]


def test_a_gallery_leaves_out_what_was_deleted_after_the_search(sqlite_place: Place) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, *(new(seed, entry_id=f"e{seed}", person_id="p") for seed in range(5)))
    query = np.ones(DIM, np.float32)
    found = gallery.search(query, top_k=5)
    gallery.delete(found[2].entry.entry_id)
    answer = gallery.reranked(found, top_k=5)
    assert {match.entry.entry_id for match in answer} == {
        match.entry.entry_id for match in found
    } - {found[2].entry.entry_id}
    [best] = gallery.reranked(found, top_k=5, group_by="person")
    assert best == answer[0]


def test_a_vector_that_cannot_be_trusted_spoils_no_order(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, *(new(seed) for seed in range(30)))
    found = gallery.search(np.ones(DIM, np.float32), top_k=30)
    read = gallery._index.vectors

    def damaged(rows: NDArray[np.int64]) -> StoredVectors:
        stored = read(rows)
        stored.values[7] = np.nan
        return StoredVectors(stored.values, np.arange(len(rows)) != 7)

    monkeypatch.setattr(gallery._index, "vectors", damaged)
    answer = gallery.reranked(found, top_k=30)
    assert sorted(m.entry.row for m in answer) == sorted(m.entry.row for m in found)
