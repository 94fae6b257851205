"""What is SQLite's own: readers beside the writer, the log, files that are not there."""

from pathlib import Path

import pytest

from gallery_index.errors import GalleryCorruptError, StoreUnavailableError
from gallery_index.stores.sqlite_store import SQLiteStore
from gallery_index.stores.store import Changes
from tests.gallery_index.stores import created, delete, entry, put, rename


def test_a_reader_keeps_the_view_of_its_opening_and_stops_no_commit(directory: Path) -> None:
    store = created(lambda: SQLiteStore(directory / "metadata.sqlite"))
    head = put(store, 0, 1)
    reader = SQLiteStore.open_for_reading(directory / "metadata.sqlite")
    rename(store, 0, "renamed")
    put(store, 2)
    assert list(reader.records()) == [entry(0), entry(1)]
    assert reader.head() == head
    reader.close()
    later = SQLiteStore.open_for_reading(directory / "metadata.sqlite")
    assert later.changes_since(head) == Changes([entry(0, "renamed"), entry(2)], [])
    later.close()
    store.close()


def test_a_reader_changes_nothing_in_the_directory(directory: Path) -> None:
    store = created(lambda: SQLiteStore(directory / "metadata.sqlite"))
    put(store, 0)
    store.close()
    before = (directory / "metadata.sqlite").read_bytes()
    reader = SQLiteStore.open_for_reading(directory / "metadata.sqlite")
    assert list(reader.records()) == [entry(0)]
    reader.close()
    assert (directory / "metadata.sqlite").read_bytes() == before


def test_a_reader_of_a_file_that_is_not_there_makes_none(directory: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=r"metadata\.sqlite does not answer"):
        SQLiteStore.open_for_reading(directory / "metadata.sqlite")
    assert list(directory.iterdir()) == []


def test_a_deleted_record_is_in_no_file_after_scrubbing(directory: Path) -> None:
    store = created(lambda: SQLiteStore(directory / "metadata.sqlite"))
    put(store, 0, 1)
    rename(store, 1, "somebody-else")
    rename(store, 0, "jane-doe")
    assert b"jane-doe" in _all_bytes(directory)
    delete(store, 0)
    reader = SQLiteStore.open_for_reading(directory / "metadata.sqlite")
    rename(store, 1, "one-commit-after-the-view")
    assert store.scrub() is False  # the reader still needs the log
    reader.close()
    assert store.scrub() is True
    assert b"jane-doe" not in _all_bytes(directory)
    assert store.changes_since(store.last_head) == Changes([], [])
    store.close()


def test_a_file_without_its_tables_is_damaged(directory: Path) -> None:
    store = SQLiteStore(directory / "metadata.sqlite")
    created(lambda: store)
    put(store, 0)
    store._connection.execute("DROP TABLE entries")
    with pytest.raises(GalleryCorruptError, match="no such table: entries"):
        list(store.records())
    store.close()


def test_forgetting_history_keeps_later_commits_synced(directory: Path) -> None:
    store = SQLiteStore(directory / "metadata.sqlite")
    created(lambda: store)
    put(store, 0)
    store.forget_history(1)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    store.close()


def _all_bytes(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()))
