"""What both metadata stores promise beneath the gallery."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gallery_index.errors import (
    GalleryCorruptError,
    GalleryMismatchError,
    StoreUnavailableError,
)
from gallery_index.records import GalleryEntry
from gallery_index.stores import record_reader
from gallery_index.stores.record_codec import StoreHead, encode_entry
from gallery_index.stores.redis_store import RedisStore
from gallery_index.stores.sqlite_store import SQLiteStore
from gallery_index.stores.store import Changes, MetadataStore, Transaction
from tests.gallery_index.stores import (
    IDENTITY,
    Connect,
    created,
    delete,
    entry,
    opened,
    put,
    rename,
)


@pytest.fixture(params=["sqlite", "redis"])
def connect(request: pytest.FixtureRequest, directory: Path) -> Iterator[Connect]:
    """Open the same store again and again."""
    stores: list[MetadataStore] = []
    url = request.getfixturevalue("empty_redis").url if request.param == "redis" else None

    def connect() -> MetadataStore:
        store = RedisStore(url) if url else SQLiteStore(directory / "metadata.sqlite")
        stores.append(store)
        return store

    yield connect
    for store in stores:
        store.close()


def overwrite(store: MetadataStore, row: int, value: str | None) -> None:
    """Change a record behind the store's back; None takes it away."""
    if isinstance(store, RedisStore):
        key = "{mpanet:gallery}:entries"
        if value is None:
            store._redis.hdel(key, str(row))
        else:
            store._redis.hset(key, str(row), value)
    else:
        assert isinstance(store, SQLiteStore)
        store._connection.execute("DELETE FROM entries WHERE row = ?", (row,))
        if value is not None:
            store._connection.execute("INSERT INTO entries VALUES (?, ?)", (row, value))


def test_a_store_knows_whose_it_is(connect: Connect) -> None:
    store = created(connect)
    assert connect().identity() == IDENTITY
    assert (store.last_head.commit, store.last_head.next_row, store.last_head.entries) == (0, 0, 0)
    assert list(connect().records()) == []
    assert connect().pending() == {}


def test_a_store_of_format_1_is_refused_by_name(connect: Connect) -> None:
    store = created(connect)
    body = '{"gallery_id":"g","model_id":"m","embedding_dim":16,"store":"sqlite"}'
    text = f"{zlib.crc32(body.encode()):08x}{body}"
    if isinstance(store, RedisStore):
        store._redis.set("{mpanet:gallery}:identity", text)
    else:
        assert isinstance(store, SQLiteStore)
        store._connection.execute("UPDATE meta SET value = ? WHERE key = 'identity'", (text,))
    with pytest.raises(GalleryMismatchError, match="is of format 1, this version reads format 2"):
        connect().identity()


def test_what_is_committed_is_read(connect: Connect) -> None:
    store = created(connect)
    put(store, 0, 1, 2)
    rename(store, 1, "renamed")
    delete(store, 0)
    other = opened(connect)
    assert list(other.records()) == [entry(1, "renamed"), entry(2)]
    assert other.pending() == {0: "e0"}
    assert other.last_head == store.last_head
    assert (other.last_head.commit, other.last_head.next_row, other.last_head.entries) == (3, 3, 2)
    store.commit(Transaction(next_row=3, entries=2, erased_rows=[0]))
    assert connect().pending() == {}


def test_records_come_by_row_over_pages_and_gaps(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_reader, "_PAGE_ROWS", 4)
    store = created(connect)
    put(store, *range(11))
    delete(store, 0, 4, 5, 6, 7, 10)
    assert [e.row for e in connect().records()] == [1, 2, 3, 8, 9]


@pytest.mark.parametrize(
    ("row", "value", "message"),
    [
        (1, encode_entry(entry(1)).replace("image/png", "image/jpg"), "row 1 .* checksum"),
        (1, encode_entry(entry(2)), r"under row 1 is that of row 2 \(entry 'e2'\)"),
        (1, None, "has 2 records, its head says 3"),
        (9, encode_entry(entry(9)), "has 4 records, its head says 3"),
    ],
    ids=["flipped", "another row's", "missing", "surplus"],
)
def test_reading_all_finds_a_record_that_is(
    connect: Connect, row: int, value: str | None, message: str
) -> None:
    store = created(connect)
    put(store, 0, 1, 2)
    overwrite(store, row, value)
    with pytest.raises(GalleryCorruptError, match=message):
        list(connect().records())


def test_reading_all_finds_a_record_that_moved_where_no_row_is(connect: Connect) -> None:
    store = created(connect)
    put(store, 0, 1, 2)
    overwrite(store, 1, None)
    overwrite(store, 9, encode_entry(entry(1)))
    with pytest.raises(GalleryCorruptError, match="has 2 records, its head says 3"):
        list(connect().records())


def test_a_commit_while_all_is_read_is_no_damage(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_reader, "_PAGE_ROWS", 2)
    store = created(connect)
    put(store, 0, 1, 2, 3)
    reading = connect().records()
    assert next(reading) == entry(0)
    delete(store, 3)
    assert [e.row for e in reading] == [1, 2]


def test_changes_since_a_head_are_what_happened_after_it(connect: Connect) -> None:
    store = created(connect)
    put(store, 0, 1, 2, 3)
    rename(store, 0, "before")
    head = store.last_head
    assert store.changes_since(head) == Changes([], [])
    rename(store, 1, "renamed")
    delete(store, 2)
    put(store, 4, 5, 6)
    rename(store, 5, "new and renamed")
    delete(store, 6)
    expected = Changes([entry(1, "renamed"), entry(4), entry(5, "new and renamed")], [2, 6])
    assert store.changes_since(head) == expected
    assert connect().changes_since(head) == expected


def test_a_record_lost_since_a_head_is_damage(connect: Connect) -> None:
    store = created(connect)
    head = put(store, 0)
    put(store, 1, 2)
    overwrite(store, 2, None)
    with pytest.raises(GalleryCorruptError, match="3 records by its head, but 1 of commit 1, 1"):
        connect().changes_since(head)


def test_a_commit_while_changes_are_read_is_no_damage(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = created(connect)
    head = put(store, 0, 1, 2)
    reader = opened(connect)
    name = "_rows_changed_since"
    history = getattr(type(reader), name)

    def read_before_a_commit(reader: MetadataStore, head: StoreHead) -> object:
        rows = history(reader, head)
        delete(store, 1)
        return rows

    monkeypatch.setattr(type(reader), name, read_before_a_commit)
    assert reader.changes_since(head) == Changes([], [])
    monkeypatch.undo()
    assert reader.changes_since(head) == Changes([], [1])


def test_changes_since_a_commit_that_was_never_here_cannot_be_told(connect: Connect) -> None:
    store = created(connect)
    head = put(store, 0)
    put(store, 1)
    assert store.changes_since(StoreHead("f" * 32, head.commit, 1, 1)) is None
    assert store.changes_since(StoreHead(head.token, head.commit + 1, 1, 1)) is None
    assert store.changes_since(StoreHead("f" * 32, 7, 1, 1)) is None


def test_forgotten_history_cannot_be_told_and_the_rest_can(connect: Connect) -> None:
    store = created(connect)
    first = put(store, 0, 1)
    second = rename(store, 0, "second")
    rename(store, 1, "third")
    store.forget_history(second.commit)
    assert store.changes_since(first) is None
    assert store.changes_since(second) == Changes([entry(1, "third")], [])
    put(store, 2)
    assert opened(connect).changes_since(second) == Changes([entry(1, "third"), entry(2)], [])


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(moves=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=20))
def test_every_head_and_the_changes_since_make_the_records_of_now(
    connect: Connect, moves: list[tuple[int, int]]
) -> None:
    store = connect()
    if store.identity() is None:
        store.create(IDENTITY)
    store.head()
    alive = {e.row: e for e in store.records()}
    heads = [(store.last_head, dict(alive))]
    for kind, number in moves:
        rows = sorted(alive)
        if kind == 0 or not rows:
            row = store.last_head.next_row
            put(store, row)
            alive[row] = entry(row)
        elif kind == 1:
            row = rows[number % len(rows)]
            rename(store, row, str(number))
            alive[row] = entry(row, str(number))
        else:
            row = rows[number % len(rows)]
            delete(store, row)
            del alive[row]
        heads.append((store.last_head, dict(alive)))
    assert list(store.records()) == [alive[row] for row in sorted(alive)]
    for head, then in heads:
        changes = store.changes_since(head)
        assert changes is not None
        assert _replayed(then, changes) == alive
        assert [e.row for e in changes.put] == sorted(
            {e.row for e in changes.put} - {*changes.gone}
        )


def _replayed(records: dict[int, GalleryEntry], changes: Changes) -> dict[int, GalleryEntry]:
    after = records | {e.row: e for e in changes.put}
    return {row: e for row, e in after.items() if row not in changes.gone}


def test_a_second_writer_is_refused_and_changes_nothing(connect: Connect) -> None:
    first = created(connect)
    second = opened(connect)
    put(first, 0)
    with pytest.raises(GalleryMismatchError, match=r"writer|process"):
        put(second, 0)
    assert list(connect().records()) == [entry(0)]
    put(first, 1)


@pytest.mark.parametrize("change", [rename, delete])
def test_a_write_to_a_record_that_is_not_there_is_damage_and_changes_nothing(
    connect: Connect, change: object
) -> None:
    store = created(connect)
    head = put(store, 0, 1)
    overwrite(store, 0, None)
    with pytest.raises(GalleryCorruptError, match="no record of row 0"):
        rename(store, 0, "p") if change is rename else delete(store, 0)
    assert opened(connect).last_head == head
    assert store.pending() == {}
    delete(store, 1)


def test_a_record_that_is_there_before_its_time_is_damage_and_changes_nothing(
    connect: Connect,
) -> None:
    store = created(connect)
    head = put(store, 0)
    overwrite(store, 1, encode_entry(entry(1)))
    with pytest.raises(GalleryCorruptError, match="damaged"):
        put(store, 1)
    assert opened(connect).last_head == head


@pytest.mark.parametrize("applied", [True, False])
def test_a_transaction_in_doubt_is_settled_by_looking(
    connect: Connect, applied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = created(connect)
    before = store.last_head
    name = "_replace_head" if isinstance(store, RedisStore) else "_write"
    original = getattr(type(store), name)

    def loses_the_answer(store: MetadataStore, *args: object) -> None:
        if applied:
            original(store, *args)
        raise StoreUnavailableError("no answer")

    monkeypatch.setattr(type(store), name, loses_the_answer)
    with pytest.raises(StoreUnavailableError):
        put(store, 0)
    monkeypatch.undo()
    assert store.settle() is applied
    assert store.changes_since(before) == Changes([entry(0)] if applied else [], [])
    assert list(connect().records()) == ([entry(0)] if applied else [])
    # Applied or fenced off, it has taken one number.
    assert (store.last_head.commit, opened(connect).last_head) == (1, store.last_head)
    count = 1 if applied else 0
    put(store, count)
    assert len(list(connect().records())) == count + 1
    changes = store.changes_since(before)
    assert changes is not None
    assert [e.row for e in changes.put] == list(range(count + 1))


def test_a_reader_sees_records_while_another_process_writes(
    connect: Connect, directory: Path
) -> None:
    store = created(connect)
    put(store, 0, 1)
    reader = (
        RedisStore.open_for_reading(f"unix://{store.location.split()[2]}?db=0")
        if isinstance(store, RedisStore)
        else SQLiteStore.open_for_reading(directory / "metadata.sqlite")
    )
    head = reader.head()
    seen = {e.row: e for e in reader.records()}
    delete(store, 0)
    put(store, 2)
    # SQLite's reader stays where it was; Redis's asks again until the head stays.
    while (changes := reader.changes_since(head)) not in (None, Changes([], [])):
        assert changes is not None
        head, seen = reader.head(), _replayed(seen, changes)
    assert head == reader.last_head
    assert sorted(seen) == ([1, 2] if isinstance(store, RedisStore) else [0, 1])
    assert reader.identity() == IDENTITY
    reader.close()
