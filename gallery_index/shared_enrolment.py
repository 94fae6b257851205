"""How an enrolment reaches a shared gallery: row handed out -> crop -> point -> record.

A row is handed out by Redis and belongs to nobody else. Whatever stops an enrolment before its
record leaves a row that is on a list, and is cleared away by whoever comes next.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from gallery_index import validation
from gallery_index.backup_parts import KeptEntry
from gallery_index.errors import GalleryError, StoreUnavailableError
from gallery_index.qdrant_index import QdrantIndex
from gallery_index.records import GalleryEntry, GalleryIdentity
from gallery_index.search_index import Put
from gallery_index.shared_crops import SharedCrops
from gallery_index.shared_records import SharedRecords
from gallery_index.shared_upkeep import Upkeep
from gallery_index.validation import PreparedEntry

_LOG = logging.getLogger(__name__)


class Enrolment:
    """Writes new entries. Safe to call from several threads."""

    def __init__(
        self,
        identity: GalleryIdentity,
        records: SharedRecords,
        index: QdrantIndex,
        crops: SharedCrops,
        upkeep: Upkeep,
    ) -> None:
        self._model_id = identity.model_id
        self._records = records
        self._index = index
        self._crops = crops
        self._upkeep = upkeep

    def enrol(self, items: Sequence[PreparedEntry]) -> dict[str, GalleryEntry]:
        """Enrol entries of different ids; returns, by id, those whose id nobody took meanwhile.

        Raises: StoreUnavailableError (some may be enrolled then), StorageFullError.
        """
        reservation = self._records.reserve(len(items))
        entries = validation.entries_of(items, reservation.first_row, self._model_id)
        return self._commit(
            [
                KeptEntry(entry, item.vector, item.source.crop)
                for entry, item in zip(entries, items, strict=True)
            ],
            reservation.seq,
        )

    def take_in(self, kept: Sequence[KeptEntry]) -> dict[str, GalleryEntry]:
        """Enrol entries as they were in another gallery, at rows of this one; as `enrol`."""
        reservation = self._records.reserve(len(kept))
        return self._commit(
            [
                replace(one, record=replace(one.record, row=row))
                for row, one in enumerate(kept, reservation.first_row)
            ],
            reservation.seq,
        )

    def _commit(self, kept: Sequence[KeptEntry], seq: int) -> dict[str, GalleryEntry]:
        entries = [one.record for one in kept]
        try:
            self._crops.write({one.record.row: one.crop for one in kept})
            self._index.apply([Put(one.record, one.vector) for one in kept], seq)
        except GalleryError:
            self._give_up([entry.row for entry in entries])
            raise
        outcomes = self._records.enrol(entries)
        self._clear_away([e.row for e, done in zip(entries, outcomes, strict=True) if done != 1])
        if -1 in outcomes:
            raise StoreUnavailableError("the enrolment took too long and was taken back: repeat it")
        return {e.entry_id: e for e, done in zip(entries, outcomes, strict=True) if done == 1}

    def _give_up(self, rows: Sequence[int]) -> None:
        try:
            self._records.abandon(rows)
        except GalleryError as error:
            _LOG.warning("an enrolment that failed is taken back later: %s", error)
        else:
            self._clear_away(rows)

    def _clear_away(self, rows: Sequence[int]) -> None:
        try:
            self._upkeep.erase(rows)
        except GalleryError as error:
            _LOG.warning("rows without a record are cleared away later: %s", error)
