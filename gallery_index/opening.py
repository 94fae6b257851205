"""From a directory to the parts of a gallery that agree: creation, recovery, the index.

What a killed process left half done is finished here. What is damaged is named and refused, or
mended where another copy exists; it is never replaced by something empty.
"""

import logging
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gallery_index.crops import CropFiles
from gallery_index.directory_lock import DirectoryLock
from gallery_index.durable_files import make_directory, storage_errors, sync_directory
from gallery_index.entry_table import EntryTable
from gallery_index.errors import GalleryCorruptError, GalleryMismatchError
from gallery_index.records import GalleryIdentity, StoreKind
from gallery_index.redis_store import RedisStore
from gallery_index.snapshots import Snapshots
from gallery_index.sqlite_store import SQLiteStore
from gallery_index.store import MetadataStore, StoreState, Transaction
from gallery_index.vector_file import RowBlock, VectorFile
from gallery_index.vector_index import VectorIndex

_LOG = logging.getLogger(__name__)
_VECTORS = "vectors.bin"
_UNBORN = "vectors.bin.new"
_METADATA = "metadata.sqlite"


@dataclass(slots=True)
class GalleryFiles:
    """What lies in a directory and its store, opened and held by this process."""

    directory: Path
    lock: DirectoryLock
    store: MetadataStore
    vectors: VectorFile
    crops: CropFiles
    snapshots: Snapshots

    @property
    def identity(self) -> GalleryIdentity:
        """What this gallery is."""
        return self.vectors.identity

    def close(self) -> None:
        """Close everything; the directory's lock goes last."""
        self.store.close()
        self.vectors.close()
        self.crops.close()
        self.lock.release()


@dataclass(slots=True)
class GalleryMemory:
    """What is derived from the files and searched: the table, the index, erasures to finish."""

    table: EntryTable
    index: VectorIndex
    pending: dict[int, str] = field(default_factory=dict)


def read_identity(directory: Path) -> GalleryIdentity:
    """Return what the gallery of a directory is. Raises: GalleryMismatchError if there is none."""
    path = directory / _VECTORS
    if not path.exists():
        raise GalleryMismatchError(f"there is no gallery in {directory}: no {_VECTORS}")
    file = VectorFile(path)
    file.close()
    return file.identity


def open_files(
    directory: Path, *, model_id: str, embedding_dim: int, redis_url: str | None, create: bool
) -> GalleryFiles:
    """Lock a directory and open or create what lies in it; nothing is recovered yet.

    Raises: GalleryLockedError, GalleryMismatchError, GalleryCorruptError, the store's errors.
    """
    kind: StoreKind = "sqlite" if redis_url is None else "redis"
    wanted = GalleryIdentity(uuid.uuid4().hex, model_id, embedding_dim, kind)
    make_directory(directory)
    with ExitStack() as undo:
        with storage_errors(directory / "lock"):
            lock = DirectoryLock(directory)
        undo.callback(lock.release)
        path = directory / _VECTORS
        if path.exists():
            _check_wanted(directory, read_identity(directory), wanted)
            if redis_url is None and not (directory / _METADATA).exists():
                raise GalleryCorruptError(
                    f"{directory / _METADATA} is missing, {path} is there: restore it from a backup"
                )
        elif not create:
            raise GalleryMismatchError(f"there is no gallery in {directory}: no {_VECTORS}")
        store: MetadataStore = (
            SQLiteStore(directory / _METADATA) if redis_url is None else RedisStore(redis_url)
        )
        undo.callback(store.close)
        if not path.exists():
            _create(directory, store, wanted)
        vectors = VectorFile(path)
        undo.callback(vectors.close)
        _check_store(directory, vectors.identity, store)
        files = GalleryFiles(
            directory, lock, store, vectors,
            CropFiles(directory / "crops"),
            Snapshots(directory / "snapshots", vectors.identity),
        )  # fmt: skip
        undo.pop_all()
    return files


def _create(directory: Path, store: MetadataStore, wanted: GalleryIdentity) -> None:
    """Give the directory and the store one identity; a crash in between is gone through again."""
    unborn = directory / _UNBORN
    stored = store.identity()
    if stored is None:
        VectorFile.create(unborn, wanted).close()
        store.create(wanted)
    elif not unborn.exists():
        raise GalleryMismatchError(
            f"{store.location} holds the records of gallery {stored.gallery_id},"
            f" but {directory} has no {_VECTORS}: restore the directory or use another store"
        )
    else:
        file = VectorFile(unborn)
        file.close()
        _check_store(directory, file.identity, store)
        _check_wanted(directory, file.identity, wanted)
    with storage_errors(unborn):
        unborn.rename(directory / _VECTORS)
        sync_directory(directory)


def _check_wanted(directory: Path, found: GalleryIdentity, wanted: GalleryIdentity) -> None:
    for what, ours, theirs in (
        ("model", wanted.model_id, found.model_id),
        ("embedding dimension", wanted.embedding_dim, found.embedding_dim),
        ("metadata store", wanted.store, found.store),
    ):
        if ours != theirs:
            raise GalleryMismatchError(
                f"the gallery in {directory} is of {what} {theirs}, it was opened with {ours};"
                f" open it with its own {what}, or name another directory"
            )


def _check_store(directory: Path, ours: GalleryIdentity, store: MetadataStore) -> None:
    stored = store.identity()
    if stored is None:
        raise GalleryMismatchError(
            f"{store.location} is empty, but {directory} is gallery {ours.gallery_id}:"
            " its records are missing, or this is another store"
        )
    if stored != ours:
        raise GalleryMismatchError(
            f"{store.location} belongs to gallery {stored.gallery_id},"
            f" {directory} is gallery {ours.gallery_id}"
        )


def recover(files: GalleryFiles) -> GalleryMemory:
    """Finish what a killed process began, and build the table and the index.

    Raises: GalleryCorruptError naming the rows and entries that cannot be read.
    """
    state = files.store.load()
    table = table_of(state, files.identity)
    memory = GalleryMemory(table, VectorIndex(files.identity.embedding_dim), state.pending)
    cut = files.vectors.truncate(table.rows)
    strays = files.crops.strays(entry.entry_id for entry in table.entries())
    with storage_errors(files.crops.directory):
        for stray in strays:
            stray.unlink()
    if cut or strays or memory.pending:
        _LOG.info(
            "recovered: %d bytes of uncommitted rows, %d crops without a record, %d erasures",
            cut, len(strays), len(memory.pending),
        )  # fmt: skip
    finish_erasures(files, memory, scrub=True)
    files.snapshots.remove_unfinished()
    memory.index = load_index(files, table)
    return memory


def table_of(state: StoreState, identity: GalleryIdentity) -> EntryTable:
    """Return the table of a store's records. Raises: GalleryCorruptError if they disagree."""
    table = EntryTable()
    table.extend(state.next_row)
    rows = {entry.row for entry in state.entries}
    if len(rows) != len(state.entries) or rows & state.pending.keys():
        raise GalleryCorruptError("two records of the metadata store claim one row")
    for entry in state.entries:
        if not 0 <= entry.row < state.next_row or entry.model_id != identity.model_id:
            raise GalleryCorruptError(
                f"the record of entry {entry.entry_id!r} claims row {entry.row} of"
                f" {state.next_row} and model {entry.model_id!r}"
            )
        table.put(entry)
    return table


def finish_erasures(files: GalleryFiles, memory: GalleryMemory, *, scrub: bool) -> int:
    """Carry committed deletions out in every file; returns how many crops were there.

    With `scrub` also in the store's logs, before the note that it has to be done is cleared: a
    process killed on the way does it at the next start.
    """
    if not memory.pending:
        return 0
    rows = sorted(memory.pending)
    files.vectors.erase(rows)
    crops = files.crops.unlink(memory.pending[row] for row in rows)
    files.snapshots.discard()
    if scrub:
        files.store.scrub()
    table = memory.table
    files.store.commit(Transaction(table.rows, len(table), erased_rows=rows))
    memory.pending.clear()
    return crops


def load_index(files: GalleryFiles, table: EntryTable) -> VectorIndex:
    """Return the index from the newest sound snapshot, and the rows since then."""
    for manifest in files.snapshots.manifests():
        try:
            index = files.snapshots.load(manifest, table.rows)
        except GalleryCorruptError as error:
            # It stays where it is for `verify` to name, until the next snapshot replaces it.
            _LOG.error("snapshot not used: %s", error)
            continue
        missing = np.arange(files.vectors.whole_rows(), len(index))
        mend_rows(files, table, index, missing)
        break
    else:
        index = VectorIndex(files.identity.embedding_dim)
    extend_index(index, files.vectors, table)
    return index


def extend_index(index: VectorIndex, vectors: VectorFile, table: EntryTable) -> None:
    """Add the rows that the index does not hold yet. Raises: GalleryCorruptError."""
    for block in vectors.scan(len(index), table.rows):
        problems = damaged_rows(block, table)
        if problems:
            raise GalleryCorruptError(
                f"{vectors.path}: {'; '.join(list(problems.values())[:5])}"
                f" ({len(problems)} of {len(block.rows)} rows read):"
                " restore the file from a backup; `mpanet gallery verify` lists them all"
            )
        index.add(block.vectors)


def damaged_rows(block: RowBlock, table: EntryTable) -> dict[int, str]:
    """Return what is wrong with the live rows of a block, by row."""
    problems = {}
    for row, entry_id, damage in zip(block.rows, block.entry_ids, block.damage, strict=True):
        entry = table.find(int(row))
        if entry is None:
            continue
        if damage is None and entry_id != entry.entry_id:
            damage = f"holds entry {entry_id!r}"
        if damage is not None:
            problems[int(row)] = f"row {row} (entry {entry.entry_id!r}) {damage}"
    return problems


def mend_rows(
    files: GalleryFiles, table: EntryTable, index: VectorIndex, rows: Sequence[int] | np.ndarray
) -> int:
    """Write live rows anew from the copy in the index; returns how many there were."""
    entries = [entry for row in rows if (entry := table.find(int(row))) is not None]
    for entry in entries:
        vector = index.vectors(np.array([entry.row], np.int64))
        files.vectors.append(entry.row, [entry.entry_id], vector)
        _LOG.error("mended row %d (entry %s) of %s", entry.row, entry.entry_id, files.vectors.path)
    return len(entries)
