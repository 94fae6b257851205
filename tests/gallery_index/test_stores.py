"""What both metadata stores promise beneath the gallery."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gallery_index.errors import (
    GalleryCorruptError,
    GalleryMismatchError,
    StoreUnavailableError,
)
from gallery_index.records import GalleryEntry, GalleryIdentity
from gallery_index.redis_store import RedisStore
from gallery_index.sqlite_store import SQLiteStore
from gallery_index.store import MetadataStore, StoreState, Transaction
from tests.redis_server import RedisServer

IDENTITY = GalleryIdentity("0" * 32, "model-a", 16, "sqlite")
Connect = Callable[[], MetadataStore]


@pytest.fixture(params=["sqlite", "redis"])
def connect(request: pytest.FixtureRequest, directory: Path) -> Iterator[Connect]:
    """Open the same store again and again."""
    opened: list[MetadataStore] = []
    url = request.getfixturevalue("empty_redis").url if request.param == "redis" else None

    def connect() -> MetadataStore:
        store = RedisStore(url) if url else SQLiteStore(directory / "metadata.sqlite")
        opened.append(store)
        return store

    yield connect
    for store in opened:
        store.close()


def entry(row: int, person_id: str | None = "p") -> GalleryEntry:
    now = datetime(2026, 5, 1, 12, 0, 0, 1, tzinfo=UTC)
    return GalleryEntry(
        entry_id=f"e{row}",
        person_id=person_id,
        camera_id=None,
        modality="visible",
        captured_at=now,
        attributes={"a": [1, 2.5, "ü", None]},
        model_id="model-a",
        crop_sha256="0" * 64,
        media_type="image/png",
        enrolled_at=now,
        row=row,
    )


def created(connect: Connect) -> MetadataStore:
    store = connect()
    assert store.identity() is None
    store.create(IDENTITY)
    store.load()
    return store


def test_a_store_remembers_whose_it_is(connect: Connect) -> None:
    created(connect)
    assert connect().identity() == IDENTITY
    assert connect().load() == StoreState([], 0, {})


def test_what_is_committed_is_loaded(connect: Connect) -> None:
    store = created(connect)
    store.commit(Transaction(next_row=3, entries=3, put=[entry(0), entry(1), entry(2)]))
    store.commit(Transaction(next_row=3, entries=3, put=[entry(1, person_id="renamed")]))
    store.commit(Transaction(next_row=3, entries=2, delete=[entry(0)]))
    state = connect().load()
    assert sorted(state.entries, key=lambda e: e.row) == [entry(1, person_id="renamed"), entry(2)]
    assert (state.next_row, state.pending) == (3, {0: "e0"})
    store.commit(Transaction(next_row=3, entries=2, erased_rows=[0]))
    assert connect().load().pending == {}


def test_a_second_writer_is_refused_and_changes_nothing(connect: Connect) -> None:
    first = created(connect)
    second = connect()
    second.load()
    first.commit(Transaction(next_row=1, entries=1, put=[entry(0)]))
    with pytest.raises(GalleryMismatchError, match=r"writer|process"):
        second.commit(Transaction(next_row=1, entries=1, put=[entry(0, person_id="other")]))
    assert connect().load().entries == [entry(0)]


@pytest.mark.parametrize("applied", [True, False])
def test_a_transaction_in_doubt_is_settled_by_looking(
    connect: Connect, applied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = created(connect)
    name = "_replace_head" if isinstance(store, RedisStore) else "_apply"
    original = getattr(type(store), name)

    def loses_the_answer(store: MetadataStore, *args: object) -> None:
        if applied:
            original(store, *args)
            if isinstance(store, SQLiteStore):
                store._connection.execute("COMMIT")
        raise StoreUnavailableError("no answer")

    monkeypatch.setattr(type(store), name, loses_the_answer)
    with pytest.raises(StoreUnavailableError):
        store.commit(Transaction(next_row=1, entries=1, put=[entry(0)]))
    monkeypatch.undo()
    assert store.settle() is applied
    assert connect().load().entries == ([entry(0)] if applied else [])
    count = 1 if applied else 0
    store.commit(Transaction(next_row=count + 1, entries=count + 1, put=[entry(count)]))
    assert len(connect().load().entries) == count + 1


@pytest.mark.parametrize("row", ["1", "one"])
def test_a_value_in_redis_that_is_no_text_or_number_is_damage(
    empty_redis: RedisServer, row: str
) -> None:
    store = RedisStore(empty_redis.url)
    created(lambda: store)
    store._redis.hset("{mpanet:gallery}:pending", row, b"\xff\xfe")
    with pytest.raises(GalleryCorruptError, match="damaged value"):
        RedisStore(empty_redis.url).load()
    store.close()


def test_a_delete_that_finds_no_record_is_damage_and_changes_nothing(directory: Path) -> None:
    store = SQLiteStore(directory / "metadata.sqlite")
    created(lambda: store)
    store.commit(Transaction(next_row=2, entries=2, put=[entry(0), entry(1)]))
    store._connection.execute("DELETE FROM entries WHERE entry_id = 'e0'")
    with pytest.raises(GalleryCorruptError, match="deleted 0 entries of 1"):
        store.commit(Transaction(next_row=2, entries=1, delete=[entry(0)]))
    store.commit(Transaction(next_row=2, entries=1, delete=[entry(1)]))
    store.close()
