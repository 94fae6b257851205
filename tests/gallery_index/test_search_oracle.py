"""Search against brute force: the same ids in the same order, whatever the filter and grouping."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gallery_index.gallery import Gallery
from gallery_index.index.first_stage import FirstStage
from gallery_index.index.quantizers import ExactFp16
from gallery_index.records import EntryFilter, GroupBy
from tests.gallery_index.places import DIM, BruteForce, Place, enrolled, new, vector

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
PEOPLE = [None, "ann", "bob", "cat"]
CAMERAS = [None, "cam1", "cam2", "cam3"]
COUNT = 120


def hours(number: int) -> datetime:
    return NOON + timedelta(hours=number)


filters = st.builds(
    EntryFilter,
    person_id=st.sampled_from([*PEOPLE, "nobody"]),
    camera_id=st.sampled_from([*CAMERAS, "nowhere"]),
    exclude_camera_id=st.sampled_from([*CAMERAS, "nowhere"]),
    modality=st.sampled_from([None, "visible", "infrared"]),
    captured_after=st.none() | st.integers(0, 9).map(hours),
    captured_before=st.none() | st.integers(0, 9).map(hours),
)


@pytest.fixture(scope="module")
def filled(memory_root: Path) -> Iterator[tuple[Gallery, BruteForce]]:
    """A gallery of random entries, a third of them exact or near copies, some deleted."""
    place, oracle = Place(memory_root / "oracle"), BruteForce()
    gallery = place.open()
    rng = np.random.default_rng(7)
    for seed in range(COUNT):
        direction = vector(seed if rng.random() < 0.7 else int(rng.integers(3)))
        embedding = direction + np.float32(rng.choice([0.0, 1e-4])) * vector(1000 + seed)
        (entry,) = enrolled(
            gallery,
            new(
                seed,
                embedding=embedding,
                person_id=PEOPLE[rng.integers(4)],
                camera_id=CAMERAS[rng.integers(4)],
                modality=str(rng.choice(["visible", "infrared"])),
                captured_at=None if rng.random() < 0.2 else hours(int(rng.integers(10))),
            ),
        )
        if rng.random() < 0.1:
            gallery.delete(entry.entry_id)
        else:
            oracle.add(entry, embedding)
    yield gallery, oracle
    place.close()


@given(
    query=st.integers(0, 10),
    top_k=st.integers(1, COUNT),
    wanted=filters,
    group_by=st.sampled_from(["entry", "person"]),
    min_similarity=st.none() | st.floats(-1, 1),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_search_is_the_filtered_exact_answer(
    filled: tuple[Gallery, BruteForce],
    query: int,
    top_k: int,
    wanted: EntryFilter,
    group_by: GroupBy,
    min_similarity: float | None,
) -> None:
    gallery, oracle = filled
    found = gallery.search(
        vector(query), top_k=top_k, filter=wanted, group_by=group_by, min_similarity=min_similarity
    )
    expected = oracle.search(vector(query), top_k, wanted, group_by, min_similarity)
    assert [match.entry.entry_id for match in found] == [entry_id for entry_id, _ in expected]
    assert [match.similarity for match in found] == pytest.approx(
        [similarity for _, similarity in expected], abs=1e-6
    )


@given(wanted=filters, limit=st.integers(1, COUNT))
@settings(max_examples=60, deadline=None)
def test_pages_together_are_the_filtered_entries(
    filled: tuple[Gallery, BruteForce], wanted: EntryFilter, limit: int
) -> None:
    gallery, oracle = filled
    found = []
    cursor: str | None = None
    while True:
        page = gallery.list(wanted, limit=limit, cursor=cursor)
        assert len(page.entries) <= limit
        found += page.entries
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == oracle.matching(wanted)


def test_the_answer_is_the_same_after_a_restart(sqlite_place: Place) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, *[new(seed, embedding=vector(seed % 7)) for seed in range(40)])

    def ask(gallery: Gallery) -> list[tuple[str, float]]:
        return [(m.entry.entry_id, m.similarity) for m in gallery.search(vector(3), top_k=40)]

    before = ask(gallery)
    sqlite_place.crash()
    assert ask(sqlite_place.open()) == before


def test_ties_that_float32_sums_tell_apart_are_ties(sqlite_place: Place) -> None:
    # The same numbers in another order: the same similarity to a flat query, but for rounding.
    dim = 2048
    gallery = sqlite_place.open(dim=dim)
    rng = np.random.default_rng(0)
    numbers = vector(1, dim) + np.float32(0.5)
    enrolled(gallery, *[new(seed, embedding=rng.permutation(numbers)) for seed in range(150)])
    found = gallery.search(np.ones(dim, np.float32), top_k=20)
    assert [m.entry.entry_id for m in found] == [f"e{seed}" for seed in range(20)]
    assert len({m.similarity for m in found}) == 1


@pytest.mark.parametrize("dim", [DIM, 3_584, 14_336])
def test_candidates_keep_their_recall_at_every_dimension(dim: int) -> None:
    # FAISS FastScan indexes lose it silently above 3,072 dimensions.
    rows = np.stack([vector(seed, dim) for seed in range(300)])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = FirstStage(ExactFp16(dim), 64)
    index.add(rows.astype(np.float16))
    mask = np.arange(300) % 3 > 0
    query = (rows[4] + 0.8 * vector(999, dim) / np.sqrt(dim)).astype(np.float32)
    exact = rows.astype(np.float16).astype(np.float64) @ query.astype(np.float64)
    positions, scores = index.candidates(query, 10, mask)
    expected = np.argsort(np.where(mask, -exact, np.inf))[:10]
    assert positions.tolist() == expected.tolist()
    assert np.abs(scores - exact[expected]).max() < index.margin(query)
