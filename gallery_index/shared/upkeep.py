"""What writes leave to be done in the index and among the crops, and doing it.

Every write notes in the records what remains before it touches anything else. Whoever wrote the
note does the work at once; what a killed process, or one that could not reach the index, left
behind is done by the next one that looks, which every process does now and then.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from gallery_index.records import EntryFilter
from gallery_index.search_index import Change, Erase
from gallery_index.shared.crops import SharedCrops
from gallery_index.shared.qdrant_index import QdrantIndex
from gallery_index.shared.record_filters import passes
from gallery_index.shared.records import SharedRecords, row_of

_LOG = logging.getLogger(__name__)
_AT_ONCE = 256


class Upkeep:
    """The unfinished business of one shared gallery. Safe to call from several threads."""

    def __init__(self, records: SharedRecords, index: QdrantIndex, crops: SharedCrops) -> None:
        self._records = records
        self._index = index
        self._crops = crops

    def erase(self, rows: Sequence[int]) -> int:
        """Erase pending rows from index and crops; returns how many crops were there.

        Raises: StoreUnavailableError; the rows are pending still.
        """
        if not rows:
            return 0
        self._index.apply([Erase(row) for row in rows], 0)
        crops = self._crops.unlink(rows)
        self._records.erased(rows)
        return crops

    def erase_pending(self) -> None:
        """Erase whatever is pending. Raises: StoreUnavailableError."""
        while rows := self._records.pending():
            self.erase(rows)

    def renew(self, mark: str, seq: int = 0) -> None:
        """Bring the fields that the index has of a row up to its record.

        Two processes may change one entry at once: whoever finishes last has read the last record.
        Raises: StoreUnavailableError; the row is marked as stale still.
        """
        row = row_of(mark)
        entry = self._records.at([row]).get(row)
        while entry is not None:
            self._index.apply([Change(entry)], seq)
            current = self._records.at([row]).get(row)
            if current == entry:
                break
            entry = current
        self._records.renewed(mark)

    def once(self) -> None:
        """Do all that is left to be done now. Raises: StoreUnavailableError."""
        while self._records.take_back():
            pass
        self.erase_pending()
        for mark in self._records.overdue_marks():
            self.renew(mark)

    def expire(self, days: int) -> None:
        """Erase entries that were taken more than `days` days ago. Raises: StoreUnavailableError.

        An entry without a capture time never expires.
        """
        old = EntryFilter(captured_before=datetime.now(UTC) - timedelta(days=days))
        row, erased = -1, 0
        while rows := self._index.rows_after(row, old, _AT_ONCE, self._records.stale()):
            entries = [entry for entry in self._records.at(rows).values() if passes(entry, old)]
            gone = self._records.erase(entries)
            done = [entry.row for entry, is_gone in zip(entries, gone, strict=True) if is_gone]
            self.erase(done)
            row, erased = rows[-1], erased + len(done)
        if erased:
            self._records.scrub()
            _LOG.info("%d entries expired", erased)
