"""A backup of a gallery that goes on working, and what a restored one answers."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import redis

from gallery_index.backup.backup import BackupReport, back_up
from gallery_index.backup.restore import restore
from gallery_index.backup.source import BackupSource
from gallery_index.errors import (
    GalleryCorruptError,
    GalleryLockedError,
    GalleryMismatchError,
    StorageFullError,
    StoreUnavailableError,
)
from gallery_index.gallery import Gallery
from gallery_index.records import EntryChanges, EntryFilter, GalleryEntry
from gallery_index.stores.record_reader import RecordReader
from tests.gallery_index.places import Place, enrolled, ids, new, vector
from tests.gallery_index.test_full_disk import file_size_limit, fill_at
from tests.redis_server import RedisServer

ANY = EntryFilter()
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
COUNT = 12
PART = 4


def filled(place: Place) -> Gallery:
    """A gallery of twelve rows, whose first, fifth and last are deleted and one is changed."""
    gallery = place.open()
    for seed in range(COUNT):
        enrolled(
            gallery,
            new(
                seed,
                person_id=f"person-{seed}",
                camera_id=f"c{seed % 2}",
                modality=("visible", "infrared")[seed % 2],
                captured_at=NOON + timedelta(hours=seed),
            ),
        )
    for name in ("e0", "e4", f"e{COUNT - 1}"):
        gallery.delete(name)
    gallery.update("e2", EntryChanges(person_id="renamed", attributes={"ü": [1, None]}))
    return gallery


def backed_up(
    place: Place, out: Path, on_progress: Callable[[int, int], object] | None = None
) -> BackupReport:
    """A backup in small parts."""
    return back_up(
        place.directory,
        out,
        redis_url=place.redis_url,
        on_progress=on_progress or (lambda done, total: None),
        entries_a_part=PART,
    )


def content(gallery: Gallery) -> tuple[list[GalleryEntry], list[bytes], list[tuple[str, float]]]:
    """Everything a gallery shows."""
    entries = gallery.list(ANY, limit=1000).entries
    crops = [gallery.crop(entry.entry_id)[0] for entry in entries]
    found = gallery.search(vector(3), top_k=1000)
    return entries, crops, [(match.entry.entry_id, match.similarity) for match in found]


def stored_vector(seed: int) -> bytes:
    """The bytes of a vector at length one, as fp16."""
    wide = vector(seed).astype(np.float64)
    return (wide / np.linalg.norm(wide)).astype(np.float32).astype("<f2").tobytes()


def bytes_of(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


@pytest.fixture
def restored(directory: Path) -> Iterator[Callable[..., Place]]:
    """Restore a backup into a new directory, its records in SQLite or in Redis's database 1."""
    places: list[Place] = []

    def restored(out: Path, *, redis_url: str | None = None) -> Place:
        target = Place(directory / f"restored-{len(places)}", redis_url)
        restore(out, target.directory, redis_url=redis_url)
        places.append(target)
        return target

    yield restored
    for place in places:
        place.close()


def database_1(server: RedisServer) -> str:
    return server.url.replace("db=0", "db=1")


@pytest.mark.parametrize("target", ["sqlite", "redis"])
def test_a_restored_gallery_answers_as_the_original(
    place: Place,
    directory: Path,
    target: str,
    restored: Callable[..., Place],
    request: pytest.FixtureRequest,
) -> None:
    gallery = filled(place)
    report = backed_up(place, directory / "backup")
    assert (report.entries, report.deleted_meanwhile) == (9, 0)
    before = content(gallery)
    page = gallery.list(ANY, limit=3)
    url = database_1(request.getfixturevalue("empty_redis")) if target == "redis" else None
    again = restored(directory / "backup", redis_url=url).open()
    assert content(again) == before
    assert ids(again.list(ANY, cursor=page.next_cursor).entries) == ids(before[0])[3:]
    verified = again.verify()
    assert (verified.problems, verified.unfinished) == ([], [])
    # The row of the entry that was deleted last is not used a second time.
    assert [entry.row for entry in enrolled(again, new(50))] == [COUNT]


def test_an_empty_gallery_is_restored_as_one(
    place: Place, directory: Path, restored: Callable[..., Place]
) -> None:
    gallery = place.open()
    enrolled(gallery, new(0))
    gallery.delete("e0")
    assert backed_up(place, directory / "backup").entries == 0
    again = restored(directory / "backup").open()
    assert content(again) == ([], [], [])
    assert [entry.row for entry in enrolled(again, new(1))] == [1]


def test_a_gallery_that_nobody_serves_is_backed_up(
    place: Place, directory: Path, restored: Callable[..., Place]
) -> None:
    before = content(filled(place))
    place.close()
    backed_up(place, directory / "backup")
    assert content(restored(directory / "backup").open()) == before


def before_reading(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let something happen between the reading of the records and that of the rows."""
    original = BackupSource.read

    def read(source: BackupSource, entries: list[GalleryEntry]) -> object:
        if entries[0].row == 1:
            act()
        return original(source, entries)

    monkeypatch.setattr(BackupSource, "read", read)


def test_an_entry_deleted_before_it_is_copied_is_left_out(
    place: Place, directory: Path, monkeypatch: pytest.MonkeyPatch, restored: Callable[..., Place]
) -> None:
    gallery = filled(place)
    before_reading(monkeypatch, lambda: gallery.erase_person("person-7"))
    report = backed_up(place, directory / "backup")
    assert (report.entries, report.deleted_meanwhile) == (8, 1)
    assert content(restored(directory / "backup").open()) == content(gallery)


@pytest.mark.parametrize("remembered", [True, False])
def test_an_entry_deleted_after_it_was_copied_is_taken_out_again(
    place: Place, directory: Path, remembered: bool, restored: Callable[..., Place]
) -> None:
    gallery = filled(place)
    store = gallery._files.store

    def delete_at_the_end(done: int, total: int) -> None:
        if done == total == 9:
            gallery.delete("e3")
            if not remembered:
                store.forget_history(store.last_head.commit)

    report = backed_up(place, directory / "backup", delete_at_the_end)
    assert (report.entries, report.deleted_meanwhile) == (8, 1)
    left = bytes_of(directory / "backup")
    for kept in (b"crop 6", b"person-6", stored_vector(6)):
        assert kept in left
    for gone in (b"crop 3", b"person-3", stored_vector(3)):
        assert gone not in left
    assert content(restored(directory / "backup").open()) == content(gallery)


def test_what_is_added_or_changed_meanwhile_is_not_in_it(
    place: Place, directory: Path, monkeypatch: pytest.MonkeyPatch, restored: Callable[..., Place]
) -> None:
    gallery = filled(place)
    before = content(gallery)

    def work() -> None:
        enrolled(gallery, new(70), new(71))
        gallery.update("e9", EntryChanges(person_id="later"))

    before_reading(monkeypatch, work)
    assert backed_up(place, directory / "backup").entries == 9
    assert content(restored(directory / "backup").open()) == before


def test_what_happens_while_the_records_are_read_is_in_it_whole(
    place: Place, directory: Path, monkeypatch: pytest.MonkeyPatch, restored: Callable[..., Place]
) -> None:
    gallery = filled(place)
    records = RecordReader.records
    working = [True]

    def read_while_working(store: RecordReader) -> Iterator[GalleryEntry]:
        for number, record in enumerate(records(store)):
            yield record
            if number == 4 and working:
                working.clear()
                gallery.update("e1", EntryChanges(person_id="moved"))
                gallery.update("e9", EntryChanges(person_id="moved"))
                gallery.delete("e2")
                enrolled(gallery, new(70))
                gallery.delete("e10")

    monkeypatch.setattr(RecordReader, "records", read_while_working)
    assert backed_up(place, directory / "backup").entries == 8
    assert not working
    monkeypatch.undo()
    assert content(restored(directory / "backup").open()) == content(gallery)


def test_a_backup_keeps_no_erased_person_in_the_log(sqlite_place: Place, directory: Path) -> None:
    gallery = filled(sqlite_place)

    def erase(done: int, total: int) -> None:
        if done == 5:
            gallery.erase_person("person-9")

    backed_up(sqlite_place, directory / "backup", erase)
    for path in sqlite_place.directory.rglob("*"):
        assert path.is_dir() or b"person-9" not in path.read_bytes(), path


def harm(gallery: Gallery, what: str, row: int) -> None:
    """Damage the vector or the crop of a row."""
    crop = Path(gallery._files.crops.place(row))
    if what == "missing crop":
        crop.unlink()
    elif what == "changed crop":
        crop.write_bytes(b"other bytes")
    else:
        vectors = gallery._files.vectors
        with vectors.path.open("r+b") as file:
            file.seek(4096 + (row + 1) * vectors.row_size - 1)
            file.write(b"\xa5")


@pytest.mark.parametrize("what", ["missing crop", "changed crop", "changed vector"])
def test_what_is_damaged_is_named_and_there_is_no_backup(
    place: Place, directory: Path, what: str
) -> None:
    gallery = filled(place)
    harm(gallery, what, 3)
    harm(gallery, what, 9)
    with pytest.raises(GalleryCorruptError, match=r"2 entries cannot be read.*'e3'.*'e9'"):
        backed_up(place, directory / "backup")
    assert not list(directory.glob("backup*"))


@pytest.mark.parametrize("what", ["missing crop", "changed crop", "changed vector"])
def test_what_is_damaged_and_then_deleted_is_left_out(
    place: Place,
    directory: Path,
    what: str,
    restored: Callable[..., Place],
) -> None:
    gallery = filled(place)
    harm(gallery, what, 3)

    def delete(done: int, total: int) -> None:
        if done == 7:
            gallery.delete("e3")

    assert backed_up(place, directory / "backup", delete).entries == 8
    assert content(restored(directory / "backup").open()) == content(gallery)


def test_a_store_that_comes_back_older_ends_the_backup(
    own_redis: RedisServer, directory: Path
) -> None:
    place = Place(directory / "gallery", own_redis.url)
    filled(place)
    client = redis.Redis.from_url(own_redis.url)
    earlier = {key: client.dump(key) for key in client.keys("*")}
    place.opened[-1].delete("e5")

    def go_back(done: int, total: int) -> None:
        if done == 4:
            client.flushall()
            for key, value in earlier.items():
                assert value is not None
                client.restore(key, 0, value)

    with pytest.raises(GalleryMismatchError, match="older data"):
        backed_up(place, directory / "backup", go_back)
    assert not list(directory.glob("backup*"))
    client.close()
    place.close()


def test_a_store_that_goes_away_ends_the_backup(own_redis: RedisServer, directory: Path) -> None:
    place = Place(directory / "gallery", own_redis.url)
    filled(place)

    def kill(done: int, total: int) -> None:
        if done == 4:
            own_redis.kill()

    with pytest.raises(StoreUnavailableError, match="Redis at"):
        backed_up(place, directory / "backup", kill)
    assert not list(directory.glob("backup*"))
    own_redis.start()
    assert backed_up(place, directory / "backup").entries == 9
    place.close()


@pytest.mark.parametrize("name", ["pwrite", "fsync", "fdatasync"])
def test_a_backup_on_a_full_disk_leaves_nothing(
    sqlite_place: Place, directory: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(sqlite_place)
    refused = 0
    for call in count(2):  # the first call writes who has the lock, and may fail
        calls = fill_at(monkeypatch, name, call)
        try:
            report = backed_up(sqlite_place, directory / "backup")
        except StorageFullError as error:
            refused += "backup" in str(error)
            assert not list(directory.glob("backup*"))
        else:
            break
        finally:
            monkeypatch.undo()
    assert len(calls) <= call
    assert refused == call - 2 > 0
    assert report.entries == 9


def test_a_backup_over_a_limit_of_file_sizes_leaves_nothing(
    sqlite_place: Place, directory: Path
) -> None:
    gallery = filled(sqlite_place)
    enrolled(gallery, new(50, crop=bytes(200_000)))
    with file_size_limit(150_000), pytest.raises(StorageFullError, match=r"crops-000002\.tar"):
        backed_up(sqlite_place, directory / "backup")
    assert not list(directory.glob("backup*"))


def test_a_backup_takes_no_directory_that_holds_something(
    sqlite_place: Place, directory: Path
) -> None:
    filled(sqlite_place)
    out = directory / "backup"
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(GalleryMismatchError, match="there already"):
        backed_up(sqlite_place, out)
    assert [path.name for path in out.iterdir()] == ["mine"]
    with pytest.raises(GalleryMismatchError, match="there already"):
        backed_up(sqlite_place, out / "mine")
    (out / "mine").unlink()
    assert backed_up(sqlite_place, out).entries == 9


def test_what_a_killed_backup_left_is_no_backup_and_goes(
    sqlite_place: Place, directory: Path, restored: Callable[..., Place]
) -> None:
    filled(sqlite_place)
    left = directory / "backup.unfinished"
    left.mkdir()
    (left / "records-000099.txt").write_text("half")
    with pytest.raises(GalleryMismatchError, match="no finished backup"):
        restored(left)
    backed_up(sqlite_place, directory / "backup")
    assert not left.exists()
    assert not (directory / "backup" / "records-000099.txt").exists()


def test_two_backups_do_not_write_into_one_directory(sqlite_place: Place, directory: Path) -> None:
    filled(sqlite_place)

    def another(done: int, total: int) -> None:
        with pytest.raises(GalleryLockedError, match=r"backup\.unfinished is in use by process"):
            backed_up(sqlite_place, directory / "backup")

    assert backed_up(sqlite_place, directory / "backup", another).entries == 9


def test_only_a_gallery_is_backed_up(place: Place, directory: Path) -> None:
    with pytest.raises(GalleryMismatchError, match="no gallery"):
        backed_up(place, directory / "backup")
    filled(place)
    elsewhere = Place(place.directory, None if place.redis_url else "redis://127.0.0.1:1/0")
    with pytest.raises(GalleryMismatchError, match="metadata store"):
        backed_up(elsewhere, directory / "backup")
    assert not list(directory.glob("backup*"))
