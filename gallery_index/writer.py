"""The order of every write: crop, vector row, commit, memory; and backwards for an erasure.

Owns what happens when a step fails. One thread at a time, which `Gallery` sees to.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from gallery_index.errors import GalleryError, StoreUnavailableError
from gallery_index.opening import GalleryFiles, GalleryMemory, extend_index, finish_erasures
from gallery_index.read_write_lock import ReadWriteLock
from gallery_index.records import GalleryEntry
from gallery_index.store import Transaction
from gallery_index.validation import PreparedEntry

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Erased:
    """How many vectors were overwritten and crop files unlinked."""

    vectors: int
    crops: int


class Writer:
    """Applies writes to the files, the store and the memory of a gallery."""

    def __init__(self, files: GalleryFiles, memory: GalleryMemory, view: ReadWriteLock) -> None:
        self._files = files
        self._memory = memory
        self._view = view
        self._in_doubt: Transaction | None = None

    def settle(self) -> None:
        """Bring an unanswered transaction and unfinished erasures to their end.

        Raises: StoreUnavailableError while the store does not answer.
        """
        if self._in_doubt is not None:
            transaction = self._in_doubt
            applied = self._files.store.settle()
            self._in_doubt = None
            _LOG.info("a transaction in doubt was %s", "applied" if applied else "not applied")
            if applied:
                self._apply(transaction)
            else:
                self._abandon(transaction)
        try:
            finish_erasures(self._files, self._memory, scrub=True)
        except StoreUnavailableError:
            self._in_doubt = self._erasure_mark()
            raise

    def enrol(self, prepared: Sequence[PreparedEntry]) -> list[GalleryEntry]:
        """Store new entries in one group commit.

        Raises: StorageFullError, StoreUnavailableError; nothing is enrolled then, or it is in
        doubt until the store answers again.
        """
        table = self._memory.table
        entries = self._entries(prepared)
        transaction = Transaction(
            next_row=table.rows + len(entries), entries=len(table) + len(entries), put=entries
        )
        vectors = np.stack([item.vector for item in prepared])
        ids = [entry.entry_id for entry in entries]
        try:
            self._files.crops.write({item.entry_id: item.source.crop for item in prepared})
            self._files.vectors.append(table.rows, ids, vectors)
            self._commit(transaction)
        except StoreUnavailableError:
            raise
        except GalleryError:
            self._abandon(transaction)
            raise
        self._apply(transaction, vectors)
        return entries

    def change(self, entry: GalleryEntry) -> None:
        """Store the new fields of an entry that is there."""
        table = self._memory.table
        transaction = Transaction(table.rows, len(table), put=[entry])
        self._commit(transaction)
        self._apply(transaction)

    def erase(self, entries: Sequence[GalleryEntry], *, scrub: bool) -> Erased:
        """Delete entries, overwrite their vectors, unlink their crops, drop the snapshots.

        With `scrub` also what the store's logs keep of them.
        """
        table = self._memory.table
        transaction = Transaction(table.rows, len(table) - len(entries), delete=entries)
        self._commit(transaction)
        self._apply(transaction)
        crops = sum(self._files.crops.path(entry.entry_id).exists() for entry in entries)
        try:
            finish_erasures(self._files, self._memory, scrub=scrub)
        except StoreUnavailableError:
            # Everything is gone from the files; only the note that it had to go remains.
            self._in_doubt = self._erasure_mark()
        return Erased(vectors=len(entries), crops=crops)

    def _entries(self, prepared: Sequence[PreparedEntry]) -> list[GalleryEntry]:
        now = datetime.now(UTC)
        first_row = self._memory.table.rows
        return [
            GalleryEntry(
                entry_id=item.entry_id,
                person_id=item.source.person_id,
                camera_id=item.source.camera_id,
                modality=item.source.modality,
                captured_at=item.captured_at,
                attributes=item.source.attributes,
                model_id=self._files.identity.model_id,
                crop_sha256=item.crop_sha256,
                media_type=item.source.media_type,
                enrolled_at=now,
                row=first_row + place,
            )
            for place, item in enumerate(prepared)
        ]

    def _commit(self, transaction: Transaction) -> None:
        try:
            self._files.store.commit(transaction)
        except StoreUnavailableError:
            self._in_doubt = transaction
            raise

    def _erasure_mark(self) -> Transaction:
        table = self._memory.table
        return Transaction(table.rows, len(table), erased_rows=list(self._memory.pending))

    def _apply(self, transaction: Transaction, vectors: np.ndarray | None = None) -> None:
        """Bring memory up to a committed transaction; searches wait, but for no disk."""
        memory = self._memory
        with self._view.writing():
            for entry in transaction.delete:
                memory.table.remove(entry)
                memory.pending[entry.row] = entry.entry_id
            memory.index.erase([entry.row for entry in transaction.delete])
            for row in transaction.erased_rows:
                memory.pending.pop(row, None)
            for entry in transaction.put:
                memory.table.put(entry)
            if vectors is not None:
                memory.index.add(vectors)
            extend_index(memory.index, self._files.vectors, memory.table)

    def _abandon(self, transaction: Transaction) -> None:
        """Take away what a transaction that was not applied left in the files."""
        rows = self._memory.table.rows
        ids = [entry.entry_id for entry in transaction.put if entry.row >= rows]
        # What cannot be removed now has no record and goes at the next opening.
        with suppress(GalleryError):
            self._files.crops.unlink(ids)
        with suppress(GalleryError):
            self._files.vectors.truncate(rows)
