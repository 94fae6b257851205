"""How an enrolment reaches a shared gallery: row handed out -> crop -> point -> record.

A row is handed out by Redis and belongs to nobody else. Whatever stops an enrolment before its
record leaves a row that is on a list, and is cleared away by whoever comes next.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from gallery_index import validation
from gallery_index.backup.parts import KeptEntry
from gallery_index.errors import EntryConflictError, GalleryError, StoreUnavailableError
from gallery_index.records import Added, GalleryEntry, GalleryIdentity, NewEntry
from gallery_index.search_index import Put
from gallery_index.shared.crops import SharedCrops
from gallery_index.shared.qdrant_index import QdrantIndex
from gallery_index.shared.records import SharedRecords
from gallery_index.shared.upkeep import Upkeep
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
        self._identity = identity
        self._records = records
        self._index = index
        self._crops = crops
        self._upkeep = upkeep

    def add(self, entries: Sequence[NewEntry]) -> list[Added | GalleryError]:
        """Enrol crops, each for itself; the result of each, in order.

        Raises: StoreUnavailableError (some may be enrolled then), StorageFullError.
        """
        prepared = [self._prepare(entry) for entry in entries]
        sound = [item for item in prepared if isinstance(item, PreparedEntry)]
        known = self._records.by_id([item.entry_id for item in sound])
        fresh: dict[str, PreparedEntry] = {}
        for item in sound:
            if item.entry_id not in known:
                fresh.setdefault(item.entry_id, item)
        ours = self._enrol(list(fresh.values())) if fresh else {}
        known |= ours | self._records.by_id([each for each in fresh if each not in ours])
        first = {id(fresh[entry_id]) for entry_id in ours}
        return [
            _acknowledged(item, known.get(item.entry_id), replayed=id(item) not in first)
            if isinstance(item, PreparedEntry)
            else item
            for item in prepared
        ]

    def take_in(self, kept: Sequence[KeptEntry]) -> int:
        """Enrol entries as they were in another gallery; returns how many were not there yet.

        Raises: EntryConflictError for an id that another crop has, and nothing is enrolled then.
        """
        known = self._records.by_id([one.record.entry_id for one in kept])
        for one in kept:
            there = known.get(one.record.entry_id)
            if there is not None:
                validation.check_same(there, one.record.crop_sha256, one.record.modality)
        fresh = [one for one in kept if one.record.entry_id not in known]
        if not fresh:
            return 0
        reservation = self._records.reserve(len(fresh))
        placed = [
            replace(one, record=replace(one.record, row=row))
            for row, one in enumerate(fresh, reservation.first_row)
        ]
        return len(self._commit(placed, reservation.seq))

    def _prepare(self, entry: NewEntry) -> PreparedEntry | GalleryError:
        try:
            return validation.prepare(entry, self._identity.embedding_dim)
        except GalleryError as error:
            return error

    def _enrol(self, items: Sequence[PreparedEntry]) -> dict[str, GalleryEntry]:
        """Enrol entries of different ids; returns, by id, those whose id nobody took meanwhile."""
        reservation = self._records.reserve(len(items))
        entries = validation.entries_of(items, reservation.first_row, self._identity.model_id)
        kept = [
            KeptEntry(entry, item.vector, item.source.crop)
            for entry, item in zip(entries, items, strict=True)
        ]
        return self._commit(kept, reservation.seq)

    def _commit(self, kept: Sequence[KeptEntry], seq: int) -> dict[str, GalleryEntry]:
        entries = [one.record for one in kept]
        try:
            self._crops.write({one.record.row: one.crop for one in kept if one.record.has_crop})
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


def _acknowledged(
    item: PreparedEntry, entry: GalleryEntry | None, *, replayed: bool
) -> Added | GalleryError:
    if entry is None:  # taken by another, and deleted since
        raise keeps_changing(item.entry_id)
    try:
        validation.check_same(entry, item.crop_sha256, item.source.modality)
    except EntryConflictError as error:
        return error
    return Added(entry, replayed)


def keeps_changing(entry_id: str) -> StoreUnavailableError:
    """The error for an entry that others change faster than this can be done."""
    return StoreUnavailableError(f"entry {entry_id!r} is being changed by others: try again")
