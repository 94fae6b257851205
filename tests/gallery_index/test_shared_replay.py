"""A gallery of one directory taken over into a shared one."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gallery_index.backup.backup import back_up
from gallery_index.errors import (
    EntryConflictError,
    GalleryCorruptError,
    GalleryMismatchError,
    StoreUnavailableError,
)
from gallery_index.shared.gallery import SharedGallery
from gallery_index.shared.replay import replay
from tests.gallery_index.places import Place, enrolled, ids, new, vector
from tests.gallery_index.shared_place import SharedPlace
from tests.redis_server import RedisServer


@pytest.fixture
def place(empty_redis: RedisServer) -> Iterator[SharedPlace]:
    """A place for one shared gallery."""
    place = SharedPlace(empty_redis.url)
    yield place
    place.close()


@pytest.fixture
def source(sqlite_place: Place, directory: Path) -> Place:
    """A gallery with holes, and its backup in `backup`."""
    gallery = sqlite_place.open()
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    enrolled(
        gallery,
        *[new(seed, person_id=f"p{seed % 3}", captured_at=noon) for seed in range(300)],
    )
    gallery.erase_person("p1")
    back_up(sqlite_place.directory, directory / "backup")
    return sqlite_place


def test_a_replayed_gallery_answers_as_the_old_one(
    source: Place, directory: Path, place: SharedPlace
) -> None:
    done: list[tuple[int, int]] = []
    report = replay(
        directory / "backup",
        lambda model_id, dim: place.open(model_id=model_id, dim=dim),
        on_progress=lambda *counts: done.append(counts),
    )
    assert (report.entries, report.known, done[-1]) == (200, 0, (200, 200))
    old, shared = source.opened[-1], place.open()
    before, after = old.list(limit=1000).entries, shared.list(limit=1000).entries
    assert [replace(entry, row=0) for entry in after] == [replace(entry, row=0) for entry in before]
    assert [entry.row for entry in after] == list(range(200))
    for query in range(3):
        asked = [gallery.search(vector(query), top_k=20) for gallery in (old, shared)]
        assert ids(asked[0]) == ids(asked[1])
        assert [m.similarity for m in asked[0]] == [m.similarity for m in asked[1]]
    assert shared.crop("e0") == old.crop("e0")
    verified = shared.verify()
    assert (verified.problems, verified.recall_at_10) == ([], 1.0)


def test_a_replay_that_was_interrupted_is_repeated(
    source: Place, directory: Path, place: SharedPlace
) -> None:
    def fails_at_the_second_batch(model_id: str, dim: int) -> SharedGallery:
        gallery = place.open()
        place.qdrant.before["upsert"] = lambda: place.qdrant.before.update(
            upsert=lambda: setattr(place.qdrant, "away", True)
        )
        return gallery

    with pytest.raises(StoreUnavailableError, match="Qdrant"):
        replay(directory / "backup", fails_at_the_second_batch)
    place.qdrant.away = False
    report = replay(directory / "backup", lambda model_id, dim: place.open())
    assert (report.entries, report.known) == (200, 128)
    gallery = place.open()
    assert len(gallery) == 200
    gallery.upkeep()
    assert gallery.verify().unfinished == []


def test_what_is_another_entrys_id_is_not_overwritten(
    source: Place, directory: Path, place: SharedPlace
) -> None:
    gallery = place.open()
    enrolled(gallery, new(0, crop=b"another"))
    with pytest.raises(EntryConflictError, match="e0"):
        replay(directory / "backup", lambda model_id, dim: place.open())
    assert ids(gallery.list().entries) == ["e0"]


def test_a_damaged_backup_reaches_no_gallery(
    source: Place, directory: Path, place: SharedPlace
) -> None:
    (vectors,) = (directory / "backup").glob("vectors-*")
    data = bytearray(vectors.read_bytes())
    data[100] ^= 1
    vectors.write_bytes(data)
    with pytest.raises(GalleryCorruptError, match="vectors-000000"):
        replay(directory / "backup", lambda model_id, dim: place.open())
    assert place.opened == []
    with pytest.raises(GalleryMismatchError):
        replay(directory, lambda model_id, dim: place.open())
