"""`Gallery`: the one class through which a gallery is used.

Owns who waits for whom and what may be asked. How a write reaches the disk is `writer`'s, how an
opening recovers is `opening`'s, how an answer is made exact is `exact_search`'s.
"""

import builtins
import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from gallery_index import validation
from gallery_index.cursors import decode_cursor, encode_cursor
from gallery_index.errors import (
    EntryConflictError,
    EntryNotFoundError,
    GalleryCorruptError,
    GalleryError,
    PersonNotFoundError,
)
from gallery_index.exact_search import Ask, exact_search
from gallery_index.opening import (
    GalleryFiles,
    GalleryMemory,
    damaged_rows,
    extend_index,
    mend_rows,
    open_files,
    recover,
)
from gallery_index.query_reranking import reranked
from gallery_index.read_write_lock import ReadWriteLock
from gallery_index.records import (
    Added,
    EntryChanges,
    EntryFilter,
    ErasureReceipt,
    GalleryEntry,
    GalleryStats,
    GroupBy,
    Match,
    NewEntry,
    Page,
    VerificationReport,
)
from gallery_index.validation import PreparedEntry
from gallery_index.vector_index import KIND, VectorIndex
from gallery_index.verification import verify_files
from gallery_index.writer import Writer

_LOG = logging.getLogger(__name__)
_ANY = EntryFilter()


class Gallery:
    """Entries, their crops and vectors in one directory, searched by similarity.

    Safe to call from several threads: reads run beside one another and beside the disk work of a
    write. Every write is durable when its method returns (how durable: `stats().durability`).
    """

    def __init__(self, files: GalleryFiles, memory: GalleryMemory) -> None:
        """Take over opened files; use `Gallery.open`."""
        self._files = files
        self._memory = memory
        self._view = ReadWriteLock()
        self._write_lock = Lock()
        self._writer = Writer(files, memory, self._view)
        self._damaged: set[int] = set()
        self._snapshot_is_due = not files.snapshots.manifests()
        self._closed = False

    @classmethod
    def open(
        cls, directory: Path, *, model_id: str, embedding_dim: int, redis_url: str | None = None
    ) -> "Gallery":
        """Open or create the gallery of a directory; the records are in Redis if a URL is given.

        Raises: GalleryLockedError, GalleryMismatchError, GalleryCorruptError,
        StoreUnavailableError, StoreConfigurationError, StorageFullError.
        """
        files = open_files(
            directory,
            model_id=validation.check_model_id(model_id),
            embedding_dim=embedding_dim,
            redis_url=redis_url,
            create=True,
        )
        try:
            return cls(files, recover(files))
        except BaseException:
            files.close()
            raise

    def add(self, entries: Sequence[NewEntry]) -> builtins.list[Added | GalleryError]:
        """Enrol crops in one group commit; a bad item never spoils its neighbours.

        The result of each, in order: `Added`, or the InvalidEntryError or EntryConflictError that
        it would have raised alone. The same id and crop again is the same entry (`replayed`).
        Raises, for the whole call: StorageFullError, StoreUnavailableError.
        """
        prepared = [self._prepare(entry) for entry in entries]
        results: builtins.list[Added | GalleryError] = []
        with self._writing():
            fresh: dict[str, PreparedEntry] = {}
            for item in prepared:
                if isinstance(item, PreparedEntry) and self._is_free(item, fresh):
                    fresh[item.entry_id] = item
            if fresh:
                self._writer.enrol(list(fresh.values()))
                self._snapshot_is_due = True
            for item in prepared:
                if isinstance(item, GalleryError):
                    results.append(item)
                else:
                    replayed = fresh.get(item.entry_id) is not item
                    results.append(self._acknowledge(item, replayed=replayed))
        return results

    def existing(self, entry_id: str, crop: bytes, modality: str) -> Added | None:
        """Answer a repeated enrolment without an embedding; None if the id is free.

        Raises: EntryConflictError if the id belongs to another crop or modality.
        """
        self._check_open()
        entry = self._memory.table.get(validation.check_entry_id(entry_id))
        if entry is None:
            return None
        _check_same(entry, hashlib.sha256(crop).hexdigest(), modality)
        return Added(entry, replayed=True)

    def get(self, entry_id: str) -> GalleryEntry:
        """Return one entry. Raises: EntryNotFoundError."""
        self._check_open()
        entry = self._memory.table.get(entry_id)
        if entry is None:
            raise EntryNotFoundError(entry_id)
        return entry

    def crop(self, entry_id: str) -> tuple[bytes, str]:
        """Return the bytes as enrolled and their media type.

        Raises: EntryNotFoundError, GalleryCorruptError if the file is not what was enrolled.
        """
        entry = self.get(entry_id)
        try:
            data = self._files.crops.read(entry_id)
        except FileNotFoundError:
            self.get(entry_id)  # deleted meanwhile: not found
            path = self._files.crops.path(entry_id)
            raise GalleryCorruptError(f"{path}, the crop of {entry_id!r}, is missing") from None
        if hashlib.sha256(data).hexdigest() != entry.crop_sha256:
            path = self._files.crops.path(entry_id)
            raise GalleryCorruptError(f"{path}, the crop of {entry_id!r}, fails its checksum")
        return data, entry.media_type

    def list(
        self, filter: EntryFilter = _ANY, *, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Return entries in the order of enrolment, a page at a time; stable under writes.

        Raises: CursorError, InvalidEntryError for a filter or a limit (1 to 1000).
        """
        validation.check_filter(filter)
        validation.check_count("limit", limit, validation.MAX_LIMIT)
        gallery_id = self._files.identity.gallery_id
        last_row = -1 if cursor is None else decode_cursor(gallery_id, cursor)
        with self._reading():
            found = self._memory.table.after(last_row, filter, limit + 1)
        entries = found[:limit]
        more = len(found) > limit
        return Page(entries, encode_cursor(gallery_id, entries[-1].row) if more else None)

    def update(self, entry_id: str, changes: EntryChanges) -> GalleryEntry:
        """Change the fields that may change. Raises: EntryNotFoundError, InvalidEntryError."""
        fields = validation.changed_fields(changes)
        with self._writing():
            entry = self.get(entry_id)
            changed = replace(entry, **fields)
            if changed != entry:
                self._writer.change(changed)
        return changed

    def delete(self, entry_id: str) -> None:
        """Erase one entry, its vector and crop. Raises: EntryNotFoundError."""
        with self._writing():
            self._writer.erase([self.get(entry_id)], scrub=False)
            self._snapshot_is_due = True

    def erase_person(self, person_id: str) -> ErasureReceipt:
        """Erase every entry of a person, and what the store's logs keep of them.

        Raises: PersonNotFoundError.
        """
        with self._writing():
            entries = self._memory.table.of_person(person_id)
            if not entries:
                raise PersonNotFoundError(person_id)
            erased = self._writer.erase(entries, scrub=True)
            self._snapshot_is_due = True
        return ErasureReceipt(
            person_id=person_id,
            entry_ids=[entry.entry_id for entry in entries],
            entries=len(entries),
            vectors=erased.vectors,
            crops=erased.crops,
            erased_at=datetime.now(UTC),
        )

    def search(
        self,
        query: NDArray[np.float32],
        *,
        top_k: int,
        filter: EntryFilter = _ANY,
        group_by: GroupBy = "entry",
        min_similarity: float | None = None,
    ) -> builtins.list[Match]:
        """Return the entries most similar to a query (D,), best first; exact.

        Equal similarities come in the order of enrolment. Grouped by person, the best entry of
        each person; an entry without a person stands for itself.
        Raises: InvalidEntryError for a query, filter or `top_k` (1 to 1000) that cannot be.
        """
        vector = validation.normalised(query, self._files.identity.embedding_dim, "query")
        validation.check_filter(filter)
        validation.check_count("top_k", top_k, validation.MAX_TOP_K)
        validation.check_similarity(min_similarity)
        with self._reading():
            table = self._memory.table
            return exact_search(
                vector,
                table.mask(filter),
                Ask(top_k, group_by, min_similarity),
                index=self._memory.index,
                table=table,
                read_vectors=self._read_vectors,
            )

    def reranked(
        self,
        nearest: Sequence[Match],
        *,
        top_k: int,
        group_by: GroupBy = "entry",
        min_similarity: float | None = None,
    ) -> builtins.list[Match]:
        """Return the nearest entries of a query, as `search` gave them, in the order of re-ranking.

        At most `query_reranking.CANDIDATES` change places. Entries deleted since are left out.
        Raises: InvalidEntryError as `search`.
        """
        validation.check_count("top_k", top_k, validation.MAX_TOP_K)
        validation.check_similarity(min_similarity)
        with self._reading():
            table = self._memory.table
            current = [
                replace(match, entry=entry)
                for match in nearest
                if (entry := table.find(match.entry.row)) is not None
            ]
            return reranked(current, Ask(top_k, group_by, min_similarity), self._read_vectors)

    def snapshot(self) -> None:
        """Write the index beside the vectors, so that the next opening need not rebuild it.

        Writes wait meanwhile, searches do not. Raises: StorageFullError.
        """
        with self._write_lock:
            self._check_open()
            if self._snapshot_is_due:
                self._files.snapshots.write(self._memory.index)
                self._snapshot_is_due = False

    def verify(self) -> VerificationReport:
        """Read everything and report whatever disagrees; writes wait meanwhile."""
        with self._writing():
            return verify_files(self._files, self._memory.index)

    def rebuild(self) -> int:
        """Build the index anew from the vector file and replace the snapshots.

        Rows that fail their checksum are first written anew from memory; returns how many.
        """
        with self._writing():
            table, vectors = self._memory.table, self._files.vectors
            damaged = [
                row for block in vectors.scan(0, table.rows) for row in damaged_rows(block, table)
            ]
            mend_rows(self._files, table, self._memory.index, damaged)
            index = VectorIndex(self._files.identity.embedding_dim)
            extend_index(index, vectors, table)
            with self._view.writing():
                self._memory.index = index
                self._damaged.clear()
            self._files.snapshots.discard()
            self._files.snapshots.write(index)
            self._snapshot_is_due = False
        return len(damaged)

    def stats(self) -> GalleryStats:
        """Return counts, durability and readiness; asks the store whether it answers."""
        self._check_open()
        table, identity = self._memory.table, self._files.identity
        return GalleryStats(
            entries=len(table),
            persons=table.persons,
            rows=table.rows,
            store=self._files.store.kind,
            durability=self._files.store.durability(),
            index_kind=KIND,
            ready=self._files.store.ready(),
            model_id=identity.model_id,
            embedding_dim=identity.embedding_dim,
            damaged_rows=len(self._damaged),
        )

    def __len__(self) -> int:
        return len(self._memory.table)

    def close(self) -> None:
        """Write a snapshot if one is due and release the directory; again: does nothing."""
        with self._write_lock:
            if self._closed:
                return
            try:
                if self._snapshot_is_due:
                    self._files.snapshots.write(self._memory.index)
            except GalleryError as error:  # the next opening rebuilds
                _LOG.error("no snapshot at closing: %s", error)
            with self._view.writing():
                self._closed = True
                self._files.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._write_lock:
            self._check_open()
            self._writer.settle()
            yield

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._view.reading():
            self._check_open()
            yield

    def _check_open(self) -> None:
        if self._closed:
            raise GalleryError(f"the gallery in {self._files.directory} is closed")

    def _prepare(self, entry: NewEntry) -> PreparedEntry | GalleryError:
        try:
            return validation.prepare(entry, self._files.identity.embedding_dim)
        except GalleryError as error:
            return error

    def _is_free(self, item: PreparedEntry, fresh: dict[str, PreparedEntry]) -> bool:
        return item.entry_id not in fresh and self._memory.table.get(item.entry_id) is None

    def _acknowledge(self, item: PreparedEntry, *, replayed: bool) -> Added | GalleryError:
        entry = self.get(item.entry_id)
        try:
            _check_same(entry, item.crop_sha256, item.source.modality)
        except EntryConflictError as error:
            return error
        return Added(entry, replayed)

    def _read_vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Read rows from the file; a row that fails its checksum is answered from memory."""
        block = self._files.vectors.read(rows)
        damaged = damaged_rows(block, self._memory.table)
        for row, problem in damaged.items():
            if row not in self._damaged:
                self._damaged.add(row)
                _LOG.error("%s: %s; answered from memory", self._files.vectors.path, problem)
        places = np.flatnonzero(np.isin(rows, list(damaged)))
        block.vectors[places] = self._memory.index.vectors(rows[places])
        return block.vectors


def _check_same(entry: GalleryEntry, crop_sha256: str, modality: str) -> None:
    if entry.crop_sha256 != crop_sha256:
        raise EntryConflictError(f"entry id {entry.entry_id!r} is taken by another crop")
    if entry.modality != modality:
        raise EntryConflictError(
            f"entry id {entry.entry_id!r} is taken by this crop as {entry.modality},"
            f" it came as {modality}"
        )
