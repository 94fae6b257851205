"""A gallery read beside the process that has it open: its records at one commit, rows and crops.

Takes no lock and changes nothing. What it reads is consistent: rows and crops below a commit's next
row are never written again, only erased, and whether they were erased the store says.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from gallery_index.backup.parts import KeptEntry
from gallery_index.errors import GalleryCorruptError, GalleryMismatchError
from gallery_index.files.crops import CropFiles, CropStore
from gallery_index.files.vector_file import VectorFile
from gallery_index.generations.generation import read_left_out
from gallery_index.generations.pointer import VECTORS, read_generations
from gallery_index.index.local_index import damaged_entries
from gallery_index.opening import (
    CROPS,
    METADATA,
    check_store,
    check_wanted,
    read_identity,
    refuse_unfinished,
)
from gallery_index.records import EntryFilter, GalleryEntry, StoreKind
from gallery_index.stores.record_codec import StoreHead
from gallery_index.stores.redis_store import RedisStore
from gallery_index.stores.sqlite_store import SQLiteStore
from gallery_index.stores.store import MetadataStore
from gallery_index.table.entry_table import EntryTable

_ROWS_A_READ = 256
_RECORDS_A_READ = 4096
_ANY = EntryFilter()


@contextmanager
def opened_beside(directory: Path, redis_url: str | None) -> Iterator["BackupSource"]:
    """Open a gallery to read it, whether another process holds it or not.

    Raises: GalleryMismatchError if there is none or its records are elsewhere, GalleryCorruptError,
    StoreUnavailableError, StoreConfigurationError.
    """
    refuse_unfinished(directory)
    identity = read_identity(directory)
    kind: StoreKind = "sqlite" if redis_url is None else "redis"
    check_wanted(directory, identity, replace(identity, store=kind))
    with ExitStack() as opened:
        crops = opened.enter_context(closing(CropFiles(directory / CROPS)))
        # Reads that end at once: one long view would keep an erasure from emptying SQLite's log.
        store: MetadataStore = (
            _sqlite_store(directory / METADATA) if redis_url is None else RedisStore(redis_url)
        )
        opened.enter_context(closing(store))
        check_store(directory, identity, store)
        source = _source(directory, store, crops)
        opened.callback(source.close)
        yield source


def _source(directory: Path, store: MetadataStore, crops: CropStore) -> "BackupSource":
    """Read the records while one generation is searched: it has the vectors of all of them."""
    while True:
        folder = directory / read_generations(directory).active
        source = BackupSource(store, VectorFile(folder / VECTORS), crops, read_left_out(folder))
        if directory / read_generations(directory).active == folder:
            return source
        source.close()


class BackupSource:
    """What a gallery held at one commit, less what it has deleted since.

    `unreadable` says what was wrong with rows and crops that could not be read, by row. `left_out`
    counts entries that a refresh has left without a vector: they are not in it.
    """

    def __init__(
        self,
        store: MetadataStore,
        vectors: VectorFile,
        crops: CropStore,
        left_out: frozenset[int] = frozenset(),
    ) -> None:
        """Read the records. Raises: GalleryCorruptError, StoreUnavailableError."""
        self.identity = vectors.identity
        self.unreadable: dict[int, str] = {}
        self._store, self._vectors, self._crops = store, vectors, crops
        self._table, self._head = _records_at_one_commit(store)
        self._table.model_id = self.identity.model_id
        without = [entry for row in left_out if (entry := self._table.find(row)) is not None]
        for entry in without:
            self._table.remove(entry)
        self.left_out = len(without)

    def __len__(self) -> int:
        return len(self._table)

    def close(self) -> None:
        """Close the vector file."""
        self._vectors.close()

    @property
    def next_row(self) -> int:
        """Rows ever written, deleted ones included."""
        return self._head.next_row

    def entries_after(self, row: int, limit: int) -> list[GalleryEntry]:
        """Return up to `limit` entries beyond a row, ascending."""
        return self._table.after(row, _ANY, limit)

    def read(self, entries: Sequence[GalleryEntry]) -> Iterator[KeptEntry]:
        """Yield the entries with vector and crop, in order, but for those it could not read."""
        for start in range(0, len(entries), _ROWS_A_READ):
            some = entries[start : start + _ROWS_A_READ]
            rows = np.array([entry.row for entry in some], np.int64)
            block = self._vectors.read(rows)
            self.unreadable |= damaged_entries(block, self._table)
            for entry, vector in zip(some, block.vectors, strict=True):
                crop = self._read_crop(entry)
                if crop is not None and entry.row not in self.unreadable:
                    yield KeptEntry(entry, vector, crop)

    def forget_deleted(self) -> set[int]:
        """Ask the store what has been deleted since, and forget it; returns the rows.

        Raises: GalleryMismatchError if the store has lost commits meanwhile.
        """
        gone = {row for row in self._deleted_rows() if self._table.find(row) is not None}
        for row in gone:
            self._table.remove(self._table.at(row))
        return gone

    def damage(self) -> list[str]:
        """Return what was unreadable though it is not deleted; call `forget_deleted` before."""
        found = sorted(self.unreadable.items())
        return [text for row, text in found if self._table.find(row) is not None]

    def _read_crop(self, entry: GalleryEntry) -> bytes | None:
        if not entry.has_crop:
            return b""
        what = f"{self._crops.place(entry.row)}: the crop of entry {entry.entry_id!r}"
        try:
            crop = self._crops.read(entry.row)
        except OSError as error:
            self.unreadable[entry.row] = f"{what} cannot be read: {error.strerror}"
            return None
        if hashlib.sha256(crop).hexdigest() != entry.crop_sha256:
            self.unreadable[entry.row] = f"{what} fails its checksum"
            return None
        return crop

    def _deleted_rows(self) -> Sequence[int]:
        changes = self._store.changes_since(self._head)
        if changes is not None:
            return changes.gone
        # The history no longer reaches back: whatever has no record any more was deleted, unless
        # the store itself lost it.
        if self._store.head().commit < self._head.commit:
            raise GalleryMismatchError(
                f"{self._store.location} came back with older data during the backup"
            )
        alive = {record.row for record in self._store.records()}
        return [entry.row for entry in self._table.entries() if entry.row not in alive]


def _records_at_one_commit(store: MetadataStore) -> tuple[EntryTable, StoreHead]:
    while True:
        head = store.head()
        table = EntryTable()
        table.extend(head.next_row)
        records = store.records()
        while some := list(islice(records, _RECORDS_A_READ)):
            table.put_many(some)
        reached = _catch_up(store, table, head)
        if reached is not None:
            return table, reached


def _catch_up(store: MetadataStore, table: EntryTable, head: StoreHead) -> StoreHead | None:
    """Apply what happened since `head` until the head stands still; None if it cannot be told."""
    while (latest := store.head()) != head:
        changes = store.changes_since(head)
        if changes is None:
            return None
        table.put_many(changes.put)
        for row in changes.gone:
            if (entry := table.find(row)) is not None:
                table.remove(entry)
        head = latest
    table.extend(head.next_row)
    return head


def _sqlite_store(path: Path) -> SQLiteStore:
    if not path.exists():
        raise GalleryCorruptError(f"{path} is missing: restore it from a backup")
    return SQLiteStore(path)
