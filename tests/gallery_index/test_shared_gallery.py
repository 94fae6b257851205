"""Several processes on one gallery: races, outages, kills, and what is left of them."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from gallery_index.candidates import Candidates, StoredVectors
from gallery_index.errors import (
    EntryConflictError,
    EntryNotFoundError,
    GalleryCorruptError,
    GalleryMismatchError,
    PersonNotFoundError,
    StoreConfigurationError,
    StoreUnavailableError,
)
from gallery_index.gallery import Gallery
from gallery_index.records import Added, EntryChanges, EntryFilter
from gallery_index.shared.gallery import SharedGallery
from gallery_index.shared.records import ENROLMENT_S
from tests.gallery_index.places import DIM, MODEL, enrolled, ids, new, vector
from tests.gallery_index.shared_place import SharedPlace
from tests.redis_server import RedisServer

ANN, BOB = EntryFilter(person_id="ann"), EntryFilter(person_id="bob")


@pytest.fixture
def place(empty_redis: RedisServer) -> Iterator[SharedPlace]:
    """A place for one shared gallery."""
    place = SharedPlace(empty_redis.url)
    yield place
    place.close()


class Killed(BaseException):
    """The process ends here."""


def killed(*args: object, **kwargs: object) -> None:
    raise Killed


def found(gallery: SharedGallery, wanted: EntryFilter | None = None) -> list[str]:
    """The ids that a search finds, in the order of their rows, as the listing has them."""
    wanted = wanted or EntryFilter()
    matches = gallery.search(vector(0), top_k=100, filter=wanted)
    entries = sorted((match.entry for match in matches), key=lambda entry: entry.row)
    assert gallery.list(wanted, limit=1000).entries == entries
    return ids(entries)


def kept(place: SharedPlace, gallery: SharedGallery) -> tuple[list[int], list[int]]:
    """The rows that have a point, and those that have a crop."""
    (collection,) = place.qdrant.get_collections().collections
    points, _ = place.qdrant.scroll(collection.name, limit=10_000)
    return sorted(point.id for point in points), sorted(gallery._crops.rows())


def test_what_one_process_writes_the_other_finds(place: SharedPlace) -> None:
    one, other = place.open(), place.open()
    enrolled(one, new(1, person_id="ann"))
    enrolled(other, new(2, person_id="bob"))
    assert found(one) == found(other) == ["e1", "e2"]
    assert other.crop("e1") == one.crop("e1") == (b"crop 1", "image/png")
    other.update("e1", EntryChanges(person_id="bob"))
    assert found(one, BOB) == ["e1", "e2"]
    assert one.erase_person("bob").entry_ids == ["e1", "e2"]
    assert found(other) == []
    with pytest.raises(EntryNotFoundError):
        other.crop("e1")


@pytest.mark.parametrize("crop", [b"crop 1", b"other"])
def test_of_two_that_enrol_one_id_at_once_the_first_record_counts(
    place: SharedPlace, crop: bytes
) -> None:
    slow, quick = place.open(), place.open()
    place.qdrant.before["upsert"] = lambda: enrolled(quick, new(1, crop=crop))
    (result,) = slow.add([new(1)])
    entry = quick.get("e1")
    assert entry.row == 1
    if crop == b"crop 1":
        assert result == Added(entry, replayed=True)
    else:
        assert isinstance(result, EntryConflictError)
    assert kept(place, slow) == ([1], [1])
    assert slow.verify().unfinished == []


def test_of_many_that_enrol_the_same_ids_at_once_each_id_is_enrolled_once(
    place: SharedPlace,
) -> None:
    replicas = [place.open() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        futures = [
            threads.submit(replica.add, [new(seed)]) for seed in range(25) for replica in replicas
        ]
        results = [future.result()[0] for future in futures]
    added = [result for result in results if isinstance(result, Added)]
    assert len(added) == 100
    assert sum(not result.replayed for result in added) == 25
    live = sorted({result.entry.row for result in added})
    assert len(live) == 25
    assert kept(place, replicas[0]) == (live, live)
    assert sorted(found(replicas[1])) == sorted(f"e{seed}" for seed in range(25))


def test_of_two_changes_at_once_the_index_ends_with_the_last(place: SharedPlace) -> None:
    slow, quick = place.open(), place.open()
    enrolled(slow, new(1, person_id="ann"))
    place.qdrant.before["set_payload"] = lambda: quick.update("e1", EntryChanges(person_id="cat"))
    slow.update("e1", EntryChanges(person_id="bob"))
    assert slow.get("e1").person_id == "cat"
    assert found(quick, EntryFilter(person_id="cat")) == ["e1"]
    assert found(quick, BOB) == []
    assert slow.stats().persons == 1
    assert (slow._records.stale(), slow.verify().problems) == ([], [])


def test_an_entry_deleted_while_it_is_changed_stays_deleted(place: SharedPlace) -> None:
    slow, quick = place.open(), place.open()
    enrolled(slow, new(1))
    place.qdrant.before["set_payload"] = lambda: quick.delete("e1")
    slow.update("e1", EntryChanges(person_id="bob"))
    assert found(slow) == []
    assert kept(place, slow) == ([], [])
    assert slow.stats().persons == 0


@pytest.mark.parametrize("step", ["_crops.write", "_index.apply", "_records.enrol"])
def test_an_enrolment_killed_at_any_step_is_seen_by_nobody_and_cleared_away(
    place: SharedPlace, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, other = place.open(), place.open()
    part, method = step.split(".")
    with monkeypatch.context() as patch:
        patch.setattr(getattr(gallery, part), method, killed)
        with pytest.raises(Killed):
            gallery.add([new(1)])
    assert found(other) == []
    other._upkeep.once()
    client, enrolling = other._records._redis, "{mpanet:gallery}:enrolling"
    assert client.zcard(enrolling) == 1  # it has its time
    client.zadd(enrolling, {"0": time.time() - ENROLMENT_S - 1})
    other.upkeep()
    assert client.zcard(enrolling) == 0
    assert kept(place, other) == ([], [])
    (entry,) = enrolled(other, new(1))
    assert entry.row == 1


def test_an_enrolment_that_took_too_long_cannot_be_committed(place: SharedPlace) -> None:
    slow, other = place.open(), place.open()

    def janitor() -> None:
        assert other._records.take_back(age_s=0) == 1
        other._upkeep.once()

    place.qdrant.before["upsert"] = janitor
    with pytest.raises(StoreUnavailableError, match="too long"):
        slow.add([new(1)])
    assert found(slow) == []
    assert kept(place, slow) == ([], [])


def test_a_deletion_killed_after_its_commit_is_finished_by_the_next(
    place: SharedPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, other = place.open(), place.open()
    enrolled(gallery, new(1), new(2))
    monkeypatch.setattr(gallery._upkeep, "erase", killed)
    with pytest.raises(Killed):
        gallery.delete("e1")
    assert found(other) == ["e2"]
    assert kept(place, other) == ([0, 1], [0, 1])
    with pytest.raises(EntryNotFoundError):
        other.delete("e1")
    assert kept(place, other) == ([1], [1])


def test_while_qdrant_is_away_nothing_is_enrolled_and_nothing_lost(place: SharedPlace) -> None:
    gallery = place.open()
    enrolled(gallery, new(1, person_id="ann"), new(2, person_id="ann"))
    place.qdrant.away = True
    with pytest.raises(StoreUnavailableError, match="Qdrant"):
        gallery.add([new(3)])
    with pytest.raises(StoreUnavailableError, match="Qdrant"):
        gallery.search(vector(0), top_k=1)
    with pytest.raises(StoreUnavailableError, match="Qdrant"):
        gallery.delete("e1")
    with pytest.raises(StoreUnavailableError, match="Qdrant"):
        gallery.delete("e1")  # not "not found": the vector is there
    assert gallery.get("e2").person_id == "ann"
    assert ids(gallery.list().entries) == ["e2"]
    assert not gallery.stats().ready
    gallery.update("e2", EntryChanges(person_id="bob"))
    place.qdrant.away = False
    assert gallery.stats().ready
    assert found(gallery) == ["e2"]
    # The index still says ann: the record counts.
    assert (found(gallery, ANN), found(gallery, BOB)) == ([], ["e2"])
    for mark in gallery._records.overdue_marks(age_s=0):
        gallery._upkeep.renew(mark)
    gallery._upkeep.once()
    assert gallery._records.stale() == []
    assert (found(gallery, ANN), found(gallery, BOB)) == ([], ["e2"])
    assert kept(place, gallery) == ([1], [1])
    enrolled(gallery, new(3))


def test_an_erasure_that_could_not_reach_qdrant_is_finished_before_it_is_said_to_be(
    place: SharedPlace,
) -> None:
    gallery = place.open()
    enrolled(gallery, new(1, person_id="ann"), new(2, person_id="bob"))
    place.qdrant.away = True
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="Qdrant"):
            gallery.erase_person("ann")
    place.qdrant.away = False
    with pytest.raises(PersonNotFoundError):
        gallery.erase_person("ann")
    assert kept(place, gallery) == ([1], [1])


def test_a_killed_redis_comes_back_with_all_that_was_acknowledged(own_redis: RedisServer) -> None:
    place = SharedPlace(own_redis.url)
    gallery = place.open()
    enrolled(gallery, new(1), new(2))
    own_redis.kill()
    calls: list[Callable[[], object]] = [
        lambda: gallery.add([new(3)]),
        lambda: gallery.get("e1"),
        lambda: gallery.delete("e1"),
        lambda: gallery.search(vector(0), top_k=1),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailableError, match="Redis"):
            call()
    stats = gallery.stats()
    assert (stats.ready, stats.durability) == (False, "power-loss")
    own_redis.start()
    assert found(gallery) == ["e1", "e2"]
    enrolled(gallery, new(3))
    assert found(place.open()) == ["e1", "e2", "e3"]
    place.close()


def test_after_an_outage_a_redis_that_would_lose_records_is_refused(
    own_redis: RedisServer,
) -> None:
    place = SharedPlace(own_redis.url)
    gallery = place.open()
    own_redis.kill()
    with pytest.raises(StoreUnavailableError):
        gallery.add([new(1)])
    own_redis.start()
    client = redis.Redis.from_url(own_redis.url)
    client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreConfigurationError, match="evict"):
        gallery.add([new(1)])
    assert not gallery.stats().ready
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("appendfsync", "everysec")
    enrolled(gallery, new(1))
    stats = gallery.stats()
    assert (stats.ready, stats.durability) == (True, "process-crash")
    client.close()
    place.close()


def test_a_redis_that_lost_its_records_is_no_empty_gallery(
    place: SharedPlace, empty_redis: RedisServer
) -> None:
    gallery = place.open()
    enrolled(gallery, new(1))
    client = redis.Redis.from_url(empty_redis.url)
    client.flushall()
    client.close()
    calls: list[Callable[[], object]] = [
        lambda: gallery.search(vector(0), top_k=1),
        lambda: gallery.list(),
        lambda: gallery.get("e1"),
        lambda: gallery.add([new(2)]),
        lambda: len(gallery),
    ]
    for call in calls:
        with pytest.raises(GalleryMismatchError, match="lost the records"):
            call()


def test_a_qdrant_that_lost_its_collection_is_no_empty_gallery(place: SharedPlace) -> None:
    gallery = place.open()
    enrolled(gallery, new(1))
    (collection,) = place.qdrant.get_collections().collections
    place.qdrant.delete_collection(collection.name)
    with pytest.raises(GalleryMismatchError, match=r"is missing, .* has 1 entries"):
        place.open()


def test_a_gallery_is_opened_with_its_own_model_and_kind_only(
    place: SharedPlace, directory: Path
) -> None:
    place.open()
    with pytest.raises(GalleryMismatchError, match="model"):
        place.open(model_id="model-b")
    with pytest.raises(GalleryMismatchError, match="dimension"):
        place.open(dim=DIM + 1)
    with pytest.raises(GalleryMismatchError, match="gallery"):
        Gallery.open(directory, model_id=MODEL, embedding_dim=DIM, redis_url=place.redis_url)


def test_the_redis_of_a_directory_is_no_shared_gallery(
    empty_redis: RedisServer, directory: Path
) -> None:
    Gallery.open(directory, model_id=MODEL, embedding_dim=DIM, redis_url=empty_redis.url).close()
    with pytest.raises(GalleryMismatchError, match="metadata store redis"):
        SharedPlace(empty_redis.url).open()


def test_damage_is_named_and_is_no_answer(empty_redis: RedisServer, directory: Path) -> None:
    place = SharedPlace(empty_redis.url, crop_store=f"file://{directory}")
    gallery = place.open()
    enrolled(gallery, *[new(seed, person_id="ann") for seed in range(4)])
    (collection,) = place.qdrant.get_collections().collections
    (crop,) = directory.rglob("*0000000001")
    crop.write_bytes(b"crop X")
    place.qdrant.set_payload(collection.name, {"vector_crc32": 1}, points=[2], wait=True)
    place.qdrant.set_payload(collection.name, {"person_id": "bob"}, points=[0], wait=True)
    place.qdrant.delete(collection.name, [3], wait=True)
    report = gallery.verify()
    for problem, text in zip(
        (
            "row 0 (entry 'e0') has other fields",
            "crop of entry 'e1' fails its checksum",
            "row 2 (entry 'e2') fails its checksum",
            "row 3 (entry 'e3') is missing",
        ),
        sorted(report.problems, key=lambda text: text[text.index("'e") :]),
        strict=True,
    ):
        assert problem in text
    assert (report.ok, report.entries, report.crops) == (False, 4, 3)
    assert report.recall_at_10 is None
    with pytest.raises(GalleryCorruptError, match=r"e1.*checksum"):
        gallery.crop("e1")
    crop.unlink()
    with pytest.raises(GalleryCorruptError, match=r"e1.*missing"):
        gallery.crop("e1")
    assert gallery.stats().damaged_rows == 0
    gallery.search(vector(0), top_k=4)
    assert gallery.stats().damaged_rows == 1  # row 2: ranked by what Qdrant says of it
    place.close()


def test_a_vector_that_cannot_be_trusted_does_not_spoil_a_re_ranking(
    place: SharedPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = place.open()
    enrolled(gallery, *[new(seed) for seed in range(30)])
    matches = gallery.search(vector(3), top_k=30)
    vectors = gallery._index.vectors

    def spoilt(rows: NDArray[np.int64]) -> StoredVectors:
        stored = vectors(rows)
        stored.values[4], stored.sound[4] = np.nan, False
        return stored

    monkeypatch.setattr(gallery._index, "vectors", spoilt)
    answer = gallery.reranked(matches, top_k=30)
    assert sorted(ids(answer)) == sorted(ids(matches))


def test_verify_measures_what_searches_miss(
    place: SharedPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = place.open()
    enrolled(gallery, *[new(seed) for seed in range(20)])
    assert gallery.verify().recall_at_10 == 1.0
    candidates = gallery._index.candidates

    def blind(*args: Any) -> Candidates:
        """Overlooks the nearest, as a graph may."""
        found = candidates(*args)
        return replace(
            found,
            rows=found.rows[1:],
            estimates=found.estimates[1:],
            persons=found.persons[1:],
            total=found.total - 1,
        )

    monkeypatch.setattr(gallery._index, "candidates", blind)
    assert gallery.verify().recall_at_10 == pytest.approx(0.9)


def test_points_and_crops_of_nobody_are_found_and_cleared_away(place: SharedPlace) -> None:
    gallery = place.open()
    enrolled(gallery, new(1))
    gallery._crops.write({7: b"stray"})
    report = gallery.verify()
    assert (report.ok, report.unfinished) == (
        True,
        ["1 points or crops without a record: cleared away"],
    )
    assert kept(place, gallery) == ([0], [0])
    assert gallery.verify().unfinished == []


def test_a_transaction_repeated_does_no_harm(place: SharedPlace) -> None:
    """The client repeats a script whose answer was lost."""
    gallery = place.open()
    (entry,) = enrolled(gallery, new(1, person_id="ann"))
    records = gallery._records
    assert records.enrol([entry]) == [1]
    assert records.counts().persons == 1
    changed = gallery.update("e1", EntryChanges(person_id="bob"))
    again = records.change(entry, changed)
    assert again is not None
    assert records.counts().persons == 1
    gallery._upkeep.renew(again[1])
    assert records.erase([changed]) == [True]
    assert records.erase([changed]) == [True]
    assert records.erase([entry]) == [True]
    gallery._upkeep.once()
    assert records.erase([changed]) == [False]
    assert records.counts().persons == 0


def test_entries_expire_by_their_capture(place: SharedPlace) -> None:
    gallery = place.open(retention_days=2)
    now = datetime.now(UTC)
    days = {"old": 2.1, "young": 1.9, "changed": 3.0}
    taken = {name: now - timedelta(days=ago) for name, ago in days.items()}
    enrolled(
        gallery,
        new(0, entry_id="undated"),
        *[new(0, entry_id=name, captured_at=when) for name, when in taken.items()],
    )
    place.qdrant.away = True  # the index will not know of this
    gallery.update("changed", EntryChanges(captured_at=now))
    place.qdrant.away = False
    gallery.upkeep()
    assert found(gallery) == ["undated", "young", "changed"]
    assert kept(place, gallery) == ([0, 2, 3], [0, 2, 3])


def test_the_many_rows_of_deleted_entries_are_passed_over(place: SharedPlace) -> None:
    gallery = place.open()
    enrolled(gallery, new(1))
    gallery._records.reserve(3000)
    enrolled(gallery, new(2))
    page = gallery.list(limit=1)
    assert ids(gallery.list(limit=1, cursor=page.next_cursor).entries) == ["e2"]
