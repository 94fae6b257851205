"""A gallery behind a compressed first stage answers as brute force does."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gallery_index.gallery import Gallery
from gallery_index.records import EntryFilter, GroupBy
from gallery_index.upkeep import UpkeepPolicy
from tests.gallery_index.embeddings import flat, structured
from tests.gallery_index.places import BruteForce, Place, enrolled, new

DIM = 256
COUNT = 3000
NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
PEOPLE = [None, *[f"p{number}" for number in range(30)]]
CAMERAS = [None, "cam1", "cam2", "cam3"]
Filled = tuple[Gallery, BruteForce]


def hours(number: int) -> datetime:
    return NOON + timedelta(hours=number)


filters = st.builds(
    EntryFilter,
    person_id=st.sampled_from([None, None, None, "p3", "nobody"]),
    camera_id=st.sampled_from([None, None, "cam1", "cam2", "nowhere"]),
    exclude_camera_id=st.sampled_from([None, None, "cam1", "cam3"]),
    modality=st.sampled_from([None, "visible", "infrared"]),
    captured_after=st.none() | st.integers(0, 9).map(hours),
    captured_before=st.none() | st.integers(0, 9).map(hours),
)
queries = np.concatenate(
    [structured(20, DIM, seed=5), structured(COUNT, DIM)[:20], flat(4, DIM, seed=6)]
).astype(np.float32)


def filled(place: Place) -> Filled:
    """Fill a gallery; a fifth of the entries are near or exact copies, every eleventh deleted."""
    gallery, oracle = place.open(dim=DIM, policy=UpkeepPolicy(exact_below=500)), BruteForce()
    rng = np.random.default_rng(7)
    embeddings = structured(COUNT, DIM).astype(np.float32)
    for copy in np.flatnonzero(rng.random(COUNT) < 0.2).tolist():
        offset = rng.choice([0.0, 1e-3]) * embeddings[(copy + 1) % COUNT]
        embeddings[copy] = embeddings[rng.integers(5)] + offset
    for start in range(0, COUNT, 500):
        batch = [
            replace(
                new(seed, embedding=embeddings[seed]),
                person_id=PEOPLE[rng.integers(len(PEOPLE))],
                camera_id=CAMERAS[rng.integers(4)],
                modality=str(rng.choice(["visible", "infrared"])),
                captured_at=None if rng.random() < 0.2 else hours(int(rng.integers(10))),
            )
            for seed in range(start, start + 500)
        ]
        for entry in enrolled(gallery, *batch):
            oracle.add(entry, embeddings[entry.row])
        if start == 1000:
            gallery.upkeep()  # half are there at the training, half come after
    for entry in [entry for entry in oracle.entries if entry.row % 11 == 0]:
        gallery.delete(entry.entry_id)
        oracle.entries.remove(entry)
    return gallery, oracle


@pytest.fixture(scope="module")
def compressed(memory_root: Path) -> Iterator[Filled]:
    place = Place(memory_root / "compressed")
    gallery, oracle = filled(place)
    assert gallery.stats().index_kind.startswith("pca")
    yield gallery, oracle
    place.close()


def check(
    gallery: Gallery, oracle: BruteForce, query: int, top_k: int, wanted: EntryFilter,
    group_by: GroupBy, floor: float | None,
) -> None:  # fmt: skip
    found = gallery.search(
        queries[query], top_k=top_k, filter=wanted, group_by=group_by, min_similarity=floor
    )
    expected = oracle.search(queries[query], top_k, wanted, group_by, floor)
    assert [match.entry.entry_id for match in found] == [entry_id for entry_id, _ in expected]
    assert [match.similarity for match in found] == pytest.approx(
        [similarity for _, similarity in expected], abs=1e-6
    )


@given(
    query=st.integers(0, len(queries) - 1),
    top_k=st.sampled_from([1, 5, 10, 50, 300]),
    wanted=filters,
    group_by=st.sampled_from(["entry", "person"]),
    floor=st.none() | st.floats(-0.5, 1),
)
@settings(
    max_examples=80, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
def test_a_compressed_search_is_the_filtered_exact_answer(
    compressed: Filled,
    query: int,
    top_k: int,
    wanted: EntryFilter,
    group_by: GroupBy,
    floor: float | None,
) -> None:
    check(*compressed, query, top_k, wanted, group_by, floor)


def test_a_compressed_search_scores_few_entries(compressed: Filled) -> None:
    gallery, _ = compressed
    stage = gallery._memory.index.stage
    assert stage.bytes_used <= len(stage) * DIM * 2 / 4
    for query in queries[:20]:
        gallery.search(query, top_k=10)
    assert 10 < gallery.stats().candidates_per_query < COUNT / 4


def test_the_compressed_answer_is_the_same_after_a_restart_with_and_without_a_snapshot(
    directory: Path,
) -> None:
    place = Place(directory / "gallery")
    gallery, oracle = filled(place)
    expected = [gallery.search(query, top_k=20) for query in queries[:5]]
    kind, codes = gallery.stats().index_kind, gallery._memory.index.stage.codes(0, COUNT)
    place.close()
    policy = UpkeepPolicy(exact_below=500)
    gallery = place.open(dim=DIM, policy=policy)
    assert gallery.stats().index_kind == kind
    assert np.array_equal(gallery._memory.index.stage.codes(0, COUNT), codes)
    assert [gallery.search(query, top_k=20) for query in queries[:5]] == expected
    assert gallery.verify().problems == []
    place.crash()
    for path in (place.directory / "snapshots").iterdir():
        path.unlink()
    gallery = place.open(dim=DIM, policy=policy)
    assert gallery.stats().index_kind.startswith("pca")
    assert [gallery.search(query, top_k=20) for query in queries[:5]] == expected
    check(gallery, oracle, 3, 50, EntryFilter(modality="infrared"), "person", None)
    place.close()
