"""The order of every write: crop, vector row, commit, memory; and for an erasure commit first.

Owns what happens when a step fails. One thread at a time, which `Gallery` sees to.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import GalleryError, StorageFullError, StoreUnavailableError
from gallery_index.opening import GalleryFiles
from gallery_index.records import GalleryEntry
from gallery_index.recovery import GalleryMemory, erase_in_files
from gallery_index.search_index import Change, Erase, Operation, Put
from gallery_index.stores.store import Transaction
from gallery_index.validation import PreparedEntry, entries_of

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Erased:
    """How many vectors were overwritten and crop files unlinked."""

    vectors: int
    crops: int


class Writer:
    """Applies writes to the files, the store and the memory of a gallery."""

    def __init__(self, files: GalleryFiles, memory: GalleryMemory) -> None:
        self._files = files
        self._memory = memory
        self._in_doubt: Transaction | None = None

    def settle(self) -> None:
        """Bring an unanswered transaction and unfinished erasures to their end.

        Raises: StoreUnavailableError while the store does not answer.
        """
        self._files.pointer.settle()
        if self._in_doubt is not None:
            transaction = self._in_doubt
            applied = self._files.store.settle()
            self._in_doubt = None
            _LOG.info("a transaction in doubt was %s", "applied" if applied else "not applied")
            if applied:
                self._apply(transaction)
            else:
                self._abandon(transaction)
        if self._memory.pending:
            self._finish_erasures(scrub=True, again=True)

    def enrol(self, prepared: Sequence[PreparedEntry]) -> list[GalleryEntry]:
        """Store new entries in one group commit.

        Raises: StorageFullError, StoreUnavailableError; nothing is enrolled then, or it is in
        doubt until the store answers again.
        """
        table = self._memory.index.table
        entries = entries_of(prepared, table.rows, self._files.identity.model_id)
        transaction = Transaction(
            next_row=table.rows + len(entries), entries=len(table) + len(entries), put=entries
        )
        vectors = np.stack([item.vector for item in prepared])
        ids = [entry.entry_id for entry in entries]
        crops = {
            entry.row: item.source.crop
            for entry, item in zip(entries, prepared, strict=True)
            if entry.has_crop
        }
        try:
            self._files.crops.write(crops)
            self._files.vectors.append(table.rows, ids, vectors)
            self._append_beside(entries, prepared)
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
        table = self._memory.index.table
        transaction = Transaction(table.rows, len(table), put=[entry])
        self._commit(transaction)
        self._apply(transaction)

    def erase(self, entries: Sequence[GalleryEntry], *, scrub: bool) -> Erased:
        """Delete entries, overwrite their vectors and what snapshots hold, unlink their crops.

        With `scrub` also what the store's logs keep of them. Raises: GalleryError if they are gone
        from the gallery, but not yet from the disk; the next write tries again.
        """
        table = self._memory.index.table
        transaction = Transaction(table.rows, len(table) - len(entries), delete=entries)
        self._commit(transaction)
        self._apply(transaction)
        crops = 0
        # Without an answer everything is gone from the files; the note that it had to go remains.
        with suppress(StoreUnavailableError):
            try:
                crops = self._finish_erasures(scrub=scrub)
            except StorageFullError as error:  # whose name says that nothing has changed
                raise GalleryError(f"deleted, but not yet overwritten: {error}") from error
        return Erased(vectors=len(entries), crops=crops)

    def _append_beside(
        self, entries: Sequence[GalleryEntry], prepared: Sequence[PreparedEntry]
    ) -> None:
        """Write the vectors that came for the other generation; the refresh finds them there."""
        other = self._files.other
        if other is None:
            return
        given = [
            (entry.row, entry.entry_id, item.other_vector)
            for entry, item in zip(entries, prepared, strict=True)
            if item.other_vector is not None
            and item.source.other_model_id == other.vectors.identity.model_id
        ]
        if given:
            rows, ids, vectors = zip(*given, strict=True)
            other.vectors.put(np.array(rows, np.int64), ids, np.stack(vectors))

    def _finish_erasures(self, *, scrub: bool, again: bool = False) -> int:
        """Carry out committed erasures, and only then note that they are."""
        rows = sorted(self._memory.pending)
        table = self._memory.index.table
        crops = erase_in_files(self._files, rows, scrub=scrub, again=again)
        transaction = Transaction(table.rows, len(table), erased_rows=rows)
        self._commit(transaction)
        self._apply(transaction)
        return crops

    def _commit(self, transaction: Transaction) -> None:
        try:
            self._files.store.commit(transaction)
        except StoreUnavailableError:
            self._in_doubt = transaction
            raise

    def _apply(self, transaction: Transaction, vectors: NDArray[np.float16] | None = None) -> None:
        """Bring memory up to a committed transaction."""
        memory, table = self._memory, self._memory.index.table
        new = [entry for entry in transaction.put if entry.row >= table.rows]
        if new and vectors is None:
            vectors = self._files.vectors.read(np.array([e.row for e in new], np.int64)).vectors
        operations: list[Operation] = [Erase(entry.row) for entry in transaction.delete]
        operations += [Change(entry) for entry in transaction.put if entry.row < table.rows]
        if vectors is not None:
            operations += [Put(entry, v) for entry, v in zip(new, vectors, strict=True)]
        memory.index.apply(operations, self._files.store.last_head.commit)
        table.extend(transaction.next_row)
        if self._files.other is not None and transaction.delete:
            self._files.other.forget({entry.row for entry in transaction.delete})
        memory.pending.update((entry.row, entry.entry_id) for entry in transaction.delete)
        for row in transaction.erased_rows:
            memory.pending.pop(row, None)

    def _abandon(self, transaction: Transaction) -> None:
        """Take away what a transaction that was not applied left in the files."""
        rows = self._memory.index.table.rows
        # What cannot be removed now has no record and goes at the next opening.
        with suppress(GalleryError):
            self._files.crops.unlink([entry.row for entry in transaction.put if entry.row >= rows])
        with suppress(GalleryError):
            self._files.vectors.truncate(rows)
        if self._files.other is not None:
            with suppress(GalleryError):
                self._files.other.vectors.truncate(rows)
