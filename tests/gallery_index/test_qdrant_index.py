"""The search index in Qdrant, beneath the gallery."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gallery_index.errors import (
    GalleryMismatchError,
    StoreConfigurationError,
    StoreUnavailableError,
)
from gallery_index.records import EntryFilter, GalleryEntry, GalleryIdentity
from gallery_index.search_index import Change, Erase, Put
from gallery_index.shared import qdrant_index
from gallery_index.shared.qdrant_connection import connect
from gallery_index.shared.qdrant_index import QdrantIndex
from tests.gallery_index.places import vector
from tests.gallery_index.shared_place import OneAtATime

IDENTITY = GalleryIdentity("0" * 32, "model-a", 64, "shared")
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANY = EntryFilter()


def entry(row: int, **fields: object) -> GalleryEntry:
    about: dict[str, object] = {
        "person_id": None,
        "camera_id": None,
        "captured_at": None,
        "attributes": {},
    }
    return GalleryEntry(
        entry_id=f"e{row}",
        modality="visible",
        model_id="model-a",
        crop_sha256="0" * 64,
        media_type="image/png",
        enrolled_at=NOON,
        row=row,
        **(about | fields),  # type: ignore[arg-type]
    )


def unit(seed: int, dim: int = 64) -> np.ndarray:
    direction = vector(seed, dim)
    return (direction / np.linalg.norm(direction)).astype(np.float16)


def filled(dim: int = 64, rows: int = 20) -> QdrantIndex:
    identity = GalleryIdentity("0" * 32, "model-a", dim, "shared")
    index = QdrantIndex(OneAtATime(), identity, "memory")  # type: ignore[arg-type]
    index.create()
    index.apply([Put(entry(row), unit(row, dim)) for row in range(rows)], 1)
    return index


@pytest.mark.parametrize("dim", [64, 14_336])
def test_vectors_come_back_bit_by_bit_and_candidates_are_the_nearest(dim: int) -> None:
    index = filled(dim, rows=40)
    rows = np.array([7, 3, 99, 39])
    stored = index.vectors(rows)
    assert stored.sound.tolist() == [True, True, False, True]
    for place, row in ((0, 7), (1, 3), (3, 39)):
        assert stored.values[place].tobytes() == unit(row, dim).tobytes()
    query = (unit(5, dim) + 0.7 * unit(999, dim)).astype(np.float32)
    query /= np.linalg.norm(query)
    exact = np.array([unit(row, dim).astype(np.float64) @ query for row in range(40)])
    found = index.candidates(query, 10, ANY)
    assert found.rows.tolist() == np.argsort(-exact)[:10].tolist()
    assert np.abs(found.estimates - exact[found.rows]).max() < found.margin
    assert found.total == 11
    assert index.candidates(query, 100, ANY).total == 40


@pytest.mark.parametrize("noise", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("dim", [64, 3_584, 14_336])
def test_no_similarity_differs_from_its_estimate_by_more_than_the_margin(
    dim: int, noise: float
) -> None:
    """A server rounds the query to fp16, and on ARM it sums in 32 lanes of fp16."""
    draw = np.random.default_rng(1)
    person = draw.standard_normal(dim)
    stored = np.abs(person + noise * draw.standard_normal((50, dim)))  # one sign: sums grow long
    stored = (stored / np.linalg.norm(stored, axis=1, keepdims=True)).astype(np.float16)
    query = np.abs(person).astype(np.float32)
    query /= np.linalg.norm(query)
    exact = stored.astype(np.float64) @ query.astype(np.float64)
    rounded = query.astype(np.float16)
    lanes = np.zeros((50, 32), np.float16)
    for start in range(0, dim, 32):
        products = stored[:, start : start + 32].astype(np.float32) * rounded[start : start + 32]
        lanes = (lanes + products).astype(np.float16)
    margin = qdrant_index._margin(query)
    assert np.abs(exact - lanes.astype(np.float32).sum(axis=1)).max() < margin
    assert (exact - stored.astype(np.float64) @ rounded.astype(np.float64)).max() < margin
    assert margin < 0.006


def test_a_filter_lets_rows_through_that_are_named_beside_it() -> None:
    index = filled(rows=3)
    index.apply([Change(entry(1, person_id="ann"))], 2)
    ann = EntryFilter(person_id="ann")
    query = unit(0).astype(np.float32)
    assert index.candidates(query, 9, ann).rows.tolist() == [1]
    assert sorted(index.candidates(query, 9, ann, also_rows=[2]).rows.tolist()) == [1, 2]
    assert index.rows_after(-1, ann, 9, also_rows=[0]) == [0, 1]
    assert index.rows_after(0, ann, 9, also_rows=[0]) == [1]


def test_a_change_clears_what_is_not_said_any_more_and_keeps_the_vector() -> None:
    index = filled(rows=2)
    full = entry(1, person_id="ann", camera_id="c", captured_at=NOON, attributes={"a": 1})
    index.apply([Change(full)], 2)
    assert index.is_current([full, entry(0)]) == {0: True, 1: True}
    index.apply([Change(entry(1))], 3)
    assert index.is_current([full]) == {1: False}
    assert index.is_current([entry(1)]) == {1: True}
    assert index.vectors(np.array([1])).sound.tolist() == [True]


def test_changes_of_a_row_that_is_gone_do_no_harm() -> None:
    index = filled(rows=2)
    for _ in range(2):
        index.apply([Erase(1)], 2)
    index.apply([Change(entry(1, person_id="ann"))], 3)
    assert index.stats().rows == 1
    assert index.rows_after(-1, ANY, 9) == [0]


@pytest.mark.parametrize(
    "when", [NOON, datetime(1969, 7, 20, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
)
def test_times_are_never_missed_though_they_are_compared_as_floats(when: datetime) -> None:
    index = filled(rows=1)
    index.apply([Change(entry(0, captured_at=when))], 2)
    microsecond = timedelta(microseconds=1)
    for wanted in (
        EntryFilter(captured_after=when),
        EntryFilter(captured_before=when + microsecond),
        EntryFilter(captured_after=when - microsecond, captured_before=when + microsecond),
    ):
        assert index.rows_after(-1, wanted, 9) == [0]
    assert index.rows_after(-1, EntryFilter(captured_before=when - timedelta(hours=1)), 9) == []


def test_a_collection_of_another_form_is_refused() -> None:
    client = OneAtATime()
    QdrantIndex(client, IDENTITY, "memory").create()  # type: ignore[arg-type]
    other = GalleryIdentity("0" * 32, "model-a", 65, "shared")
    with pytest.raises(GalleryMismatchError, match=r"64 dimensions .*, expected 65"):
        QdrantIndex(client, other, "memory").exists()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "http://h:x", "http://h?grpc_port=x", "http://h?shard=2", "h"]
)
def test_what_is_no_qdrant_url_is_refused(url: str) -> None:
    with pytest.raises(StoreConfigurationError, match="not a Qdrant URL"):
        connect(url, IDENTITY)


def test_a_server_that_is_not_there_is_unavailable_and_its_key_is_not_shown() -> None:
    index = connect("https://:secret@127.0.0.1:9?grpc_port=9", IDENTITY)
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:9") as caught:
        index.exists()
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:9"):
        index.candidates(unit(0).astype(np.float32), 3, ANY)
    assert "secret" not in str(caught.value)
    assert not index.stats().ready
    index.close()
