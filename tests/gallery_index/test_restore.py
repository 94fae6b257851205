"""A restore makes a whole gallery or none, whatever it meets and wherever it is killed."""

import multiprocessing
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest
import redis

from gallery_index.backup.backup import back_up
from gallery_index.backup.restore import restore
from gallery_index.errors import (
    GalleryCorruptError,
    GalleryMismatchError,
    StorageFullError,
    StoreUnavailableError,
)
from gallery_index.opening import RESTORING
from gallery_index.records import EntryFilter
from gallery_index.stores.redis_store import RedisStore
from tests.gallery_index.places import Place, enrolled, ids, new, vector
from tests.gallery_index.restoring_child import EVERY_STEP, FINISHED, KILLED, restore_until
from tests.gallery_index.test_full_disk import fill_at
from tests.redis_server import RedisServer

ANY = EntryFilter()
NAMES = ["e1", "e2", "e3", "e5", "e6", "e7"]


@pytest.fixture
def backup(directory: Path) -> Path:
    """A backup of six entries in two parts, with rows missing between them and at both ends."""
    place = Place(directory / "original")
    gallery = place.open()
    enrolled(gallery, *[new(seed, person_id=f"p{seed}") for seed in range(9)])
    for name in ("e0", "e4", "e8"):
        gallery.delete(name)
    back_up(place.directory, directory / "backup", entries_a_part=4)
    place.close()
    return directory / "backup"


def is_whole(place: Place) -> bool:
    """Whether the gallery at a place is the one of the backup."""
    gallery = place.open()
    report = gallery.verify()
    whole = (
        (report.problems, report.unfinished) == ([], [])
        and ids(gallery.list(ANY).entries) == NAMES
        and gallery.crop("e5")[0] == b"crop 5"
        and ids(gallery.search(vector(6), top_k=1)) == ["e6"]
        and gallery.stats().rows == 9
    )
    place.close()
    return whole


def is_nobodys(place: Place) -> bool:
    """Whether nothing but a lock file is left in a directory, and nothing in its Redis."""
    left = {path.name for path in place.directory.iterdir()} if place.directory.exists() else set()
    if place.redis_url is None:
        return left <= {"lock"}
    store = RedisStore(place.redis_url)
    identity = store.identity()
    store.close()
    return left <= {"lock"} and identity is None


def test_a_directory_that_holds_something_is_refused_and_left_alone(
    place: Place, backup: Path
) -> None:
    place.directory.mkdir()
    (place.directory / "mine").write_text("mine")
    with pytest.raises(GalleryMismatchError, match="not empty, it holds mine"):
        restore(backup, place.directory, redis_url=place.redis_url)
    assert [path.name for path in place.directory.iterdir()] == ["mine"]


def test_a_gallery_is_not_restored_over_another(place: Place, backup: Path) -> None:
    enrolled(place.open(), new(0))
    place.close()
    with pytest.raises(GalleryMismatchError, match="not empty"):
        restore(backup, place.directory, redis_url=place.redis_url)
    assert ids(place.open().list(ANY).entries) == ["e0"]


def test_a_redis_that_holds_a_gallery_is_refused_and_left_alone(
    empty_redis: RedisServer, directory: Path, backup: Path
) -> None:
    place = Place(directory / "first", empty_redis.url)
    enrolled(place.open(), new(0))
    place.close()
    with pytest.raises(GalleryMismatchError, match="restore into an empty database"):
        restore(backup, directory / "second", redis_url=empty_redis.url)
    assert not (directory / "second").exists()
    assert ids(place.open().list(ANY).entries) == ["e0"]
    place.close()


def test_an_empty_directory_that_is_there_is_taken(place: Place, backup: Path) -> None:
    place.directory.mkdir()
    (place.directory / "lost+found").mkdir()
    restore(backup, place.directory, redis_url=place.redis_url)
    assert is_whole(place)


@pytest.mark.parametrize("name", ["manifest.json", "records-1", "vectors-1", "crops-1"])
def test_a_damaged_backup_leaves_nothing(place: Place, backup: Path, name: str) -> None:
    (path,) = backup.glob(name.replace("-1", "-000001.*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(GalleryCorruptError, match=path.name):
        restore(backup, place.directory, redis_url=place.redis_url)
    assert not place.directory.exists()
    assert is_nobodys(place)


@pytest.mark.parametrize("name", ["pwrite", "fsync", "fdatasync"])
def test_a_restore_on_a_full_disk_leaves_nothing(
    sqlite_place: Place, backup: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = 0
    for call in count(2):  # the first call writes who has the lock, and may fail
        calls = fill_at(monkeypatch, name, call)
        try:
            restore(backup, sqlite_place.directory)
        except StorageFullError:
            refused += 1
            assert is_nobodys(sqlite_place)
        else:
            break
        finally:
            monkeypatch.undo()
    assert len(calls) <= call
    assert refused == call - 2 > 0
    assert is_whole(sqlite_place)


def test_a_restored_gallery_opens_with_its_own_model_only(place: Place, backup: Path) -> None:
    restore(backup, place.directory, redis_url=place.redis_url)
    with pytest.raises(GalleryMismatchError, match="of model model-a, it was opened with model-b"):
        place.open(model_id="model-b")


def killed_at(backup: Path, place: Place, step: int, kinds: Sequence[str] = EVERY_STEP) -> bool:
    """Restore in another process that dies before a step; False if it had no such step."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.gallery_index.restoring_child"])
    child = context.Process(
        target=restore_until, args=(backup, place.directory, place.redis_url, step, kinds)
    )
    child.start()
    child.join()
    assert child.exitcode in (FINISHED, KILLED)
    return child.exitcode == KILLED


def test_killed_anywhere_it_is_no_gallery_until_it_is_restored_again(
    place: Place, backup: Path
) -> None:
    kills = 0
    for step in count():
        if not killed_at(backup, place, step):
            break
        kills += 1
        if (place.directory / RESTORING).exists():
            with pytest.raises(GalleryMismatchError, match="unfinished restore"):
                place.open()
            restore(backup, place.directory, redis_url=place.redis_url)
        elif is_nobodys(place):
            restore(backup, place.directory, redis_url=place.redis_url)
        assert is_whole(place)
        shutil.rmtree(place.directory)
        empty(place)
    assert is_whole(place)
    assert kills > 15


def test_killed_again_and_again_it_comes_to_its_end(place: Place, backup: Path) -> None:
    for step in range(60):
        if not killed_at(backup, place, step):
            break
    assert is_whole(place)


def test_a_redis_that_goes_away_is_filled_up_later(
    own_redis: RedisServer, directory: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(directory / "restored", own_redis.url)
    monkeypatch.setattr("gallery_index.backup.restore._RECORDS_A_COMMIT", 2)

    def kill(done: int, total: int) -> None:
        if done == len(NAMES) + 2:  # every file is written, and the first two records
            own_redis.kill()

    with pytest.raises(StoreUnavailableError):
        restore(backup, place.directory, redis_url=place.redis_url, on_progress=kill)
    own_redis.start()
    with pytest.raises(GalleryMismatchError, match="unfinished restore"):
        place.open()
    restore(backup, place.directory, redis_url=place.redis_url)
    assert is_whole(place)


def test_an_unfinished_restore_of_another_backup_is_not_continued_in_redis(
    empty_redis: RedisServer, directory: Path, backup: Path
) -> None:
    place = Place(directory / "restored", empty_redis.url)
    original = Place(directory / "original")
    original.open().delete("e1")
    back_up(original.directory, directory / "later")
    original.close()
    assert killed_at(backup, place, 1, kinds=["commit"])
    with pytest.raises(GalleryMismatchError, match="restore into an empty database"):
        restore(directory / "later", place.directory, redis_url=place.redis_url)
    restore(backup, place.directory, redis_url=place.redis_url)
    assert is_whole(place)


def empty(place: Place) -> None:
    """Forget what is in the Redis of a place."""
    if place.redis_url is not None:
        client = redis.Redis.from_url(place.redis_url)
        client.flushdb()
        client.close()
