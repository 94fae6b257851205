"""Makes a gallery out of a backup, in an empty directory and an empty store.

Until the end the directory holds a note (`restoring`) and does not open as a gallery. Everything in
the backup is checked, and vectors and crops are written, before the store learns of anything.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from gallery_index.backup.backup import OnProgress, ignore_progress
from gallery_index.backup.manifest import BackupManifest, read_manifest
from gallery_index.backup.parts import KeptEntry, check_part, read_part, read_records
from gallery_index.errors import GalleryMismatchError
from gallery_index.files.crops import CropFiles
from gallery_index.files.directory_lock import DirectoryLock
from gallery_index.files.durable_files import (
    make_directory,
    storage_errors,
    sync_directory,
    write_synced,
)
from gallery_index.files.vector_file import VectorFile
from gallery_index.generations.pointer import VECTORS
from gallery_index.opening import CROPS, METADATA, RESTORING
from gallery_index.records import GalleryIdentity, StoreKind
from gallery_index.stores.redis_store import RedisStore
from gallery_index.stores.sqlite_store import SQLiteStore
from gallery_index.stores.store import MetadataStore, Transaction

_NOT_OURS = frozenset({"lock", "lost+found"})
_ENTRIES_A_WRITE = 256
_BYTES_A_WRITE = 32 << 20
_RECORDS_A_COMMIT = 1024


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored. `rows` counts rows ever written, deleted ones included."""

    gallery_id: str
    model_id: str
    store: StoreKind
    entries: int
    rows: int


def restore(
    backup: Path,
    directory: Path,
    *,
    redis_url: str | None = None,
    on_progress: OnProgress = ignore_progress,
) -> RestoreReport:
    """Make the gallery of a backup anew in `directory`, its records in Redis if a URL is given.

    Raises: GalleryMismatchError if there is no finished backup, or the directory or the store is
    not empty; GalleryCorruptError naming the damaged file; StorageFullError, StoreUnavailableError.
    Nothing is left then, unless records have reached Redis: the same call goes on behind them.
    """
    manifest = read_manifest(backup)
    kind: StoreKind = "sqlite" if redis_url is None else "redis"
    identity = GalleryIdentity(manifest.gallery_id, manifest.model_id, manifest.embedding_dim, kind)
    _left_by(directory)
    with ExitStack() as opened:
        redis = None if redis_url is None else opened.enter_context(closing(RedisStore(redis_url)))
        opened.enter_context(_locked(directory))
        _Restore(backup, manifest, directory, identity, redis, on_progress).run()
    return RestoreReport(
        manifest.gallery_id, manifest.model_id, kind, manifest.entries, manifest.next_row
    )


class _Restore:
    """One attempt at restoring; takes everything back if it fails before Redis has records."""

    def __init__(
        self,
        backup: Path,
        manifest: BackupManifest,
        directory: Path,
        identity: GalleryIdentity,
        redis: RedisStore | None,
        on_progress: OnProgress,
    ) -> None:
        self._backup, self._manifest, self._directory = backup, manifest, directory
        self._identity, self._redis, self._on_progress = identity, redis, on_progress
        self._in_redis = False
        self._done = 0

    def run(self) -> None:
        resumed = _left_by(self._directory) == self._manifest.digest
        if self._redis is not None:
            self._in_redis = self._check_free(self._redis, resumed)
        note = self._directory / RESTORING
        _clear(self._directory)
        try:
            with storage_errors(note):
                # In place: half a note says as well that this is no gallery yet.
                write_synced(note, self._manifest.digest.encode("ascii"))
                sync_directory(self._directory)
            self._restore_files()
            self._restore_records()
            with storage_errors(note):
                note.unlink()
                sync_directory(self._directory)
        except BaseException:
            if not self._in_redis:
                _clear(self._directory)
                note.unlink(missing_ok=True)
            raise

    def _check_free(self, redis: RedisStore, resumed: bool) -> bool:
        """Return whether records of this restore are there already; others are refused."""
        stored = redis.identity()
        if stored is not None and not (resumed and stored == self._identity):
            raise GalleryMismatchError(
                f"{redis.location} holds the records of gallery {stored.gallery_id}:"
                " restore into an empty database"
            )
        return stored is not None

    def _restore_files(self) -> None:
        vectors = VectorFile.create(self._directory / VECTORS, self._identity)
        with closing(vectors), closing(CropFiles(self._directory / CROPS)) as crops:
            for part in self._manifest.parts:
                check_part(self._backup, part)
                for kept in _some_at_a_time(read_part(self._backup, self._manifest, part)):
                    for run in _adjacent(kept):
                        vectors.append(
                            run[0].record.row,
                            [entry.record.entry_id for entry in run],
                            np.stack([entry.vector for entry in run]),
                        )
                    crops.write({e.record.row: e.crop for e in kept if e.record.has_crop})
                    self._advance(len(kept))

    def _restore_records(self) -> None:
        if self._redis is not None:
            self._commit_records(self._redis)
            return
        with closing(SQLiteStore(self._directory / METADATA)) as store:
            self._commit_records(store)

    def _commit_records(self, store: MetadataStore) -> None:
        """Store the records that are not there yet, in the order of their rows."""
        self._in_redis = self._redis is not None
        if store.identity() is None:
            store.create(self._identity)
        head = store.head()
        entries = head.entries
        for part in self._manifest.parts:
            records = read_records(self._backup, self._manifest, part)
            while some := list(islice(records, _RECORDS_A_COMMIT)):
                fresh = [record for record in some if record.row >= head.next_row]
                entries += len(fresh)
                if fresh:
                    store.commit(Transaction(fresh[-1].row + 1, entries, put=fresh))
                self._advance(len(some))
        # Rows at the end may have been deleted: they are not used again.
        store.commit(Transaction(self._manifest.next_row, entries))

    def _advance(self, entries: int) -> None:
        self._done += entries
        self._on_progress(self._done, 2 * self._manifest.entries)


def _left_by(directory: Path) -> str | None:
    """Return which backup an unfinished restore left something of in a directory, None if empty.

    Raises: GalleryMismatchError if there is anything else.
    """
    if not directory.exists():
        return None
    if not directory.is_dir():
        raise GalleryMismatchError(f"{directory} is not a directory")
    names = sorted(path.name for path in directory.iterdir() if path.name not in _NOT_OURS)
    if RESTORING in names:
        return (directory / RESTORING).read_text("utf-8", "replace")
    if names:
        raise GalleryMismatchError(
            f"{directory} is not empty, it holds {names[0]}: restore into a new directory"
        )
    return None


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a directory, which is made; it goes again if nothing came of it."""
    made = not directory.exists()
    make_directory(directory)
    with storage_errors(directory):
        lock = DirectoryLock(directory)
    try:
        yield
    except BaseException:
        if made and {path.name for path in directory.iterdir()} == {"lock"}:
            shutil.rmtree(directory)
        raise
    finally:
        lock.release()


def _clear(directory: Path) -> None:
    """Remove what a restore has written, but for the note that says so."""
    with storage_errors(directory):
        for path in directory.iterdir():
            if path.is_dir() and path.name not in _NOT_OURS:
                shutil.rmtree(path)
            elif path.name not in (RESTORING, *_NOT_OURS):
                path.unlink()


def _some_at_a_time(entries: Iterable[KeptEntry]) -> Iterator[list[KeptEntry]]:
    """Yield lists of some hundred entries, and of some megabytes where crops are large."""
    some: list[KeptEntry] = []
    size = 0
    for entry in entries:
        some.append(entry)
        size += len(entry.crop)
        if len(some) == _ENTRIES_A_WRITE or size >= _BYTES_A_WRITE:
            yield some
            some, size = [], 0
    if some:
        yield some


def _adjacent(entries: list[KeptEntry]) -> Iterator[list[KeptEntry]]:
    """Split ascending entries where rows are missing between them."""
    start = 0
    for place in range(1, len(entries) + 1):
        ends = place == len(entries)
        if ends or entries[place].record.row != entries[place - 1].record.row + 1:
            yield entries[start:place]
            start = place
