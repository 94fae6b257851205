"""Looking for entries that others write: what the index offers, held against the records.

The index may offer rows whose record is gone or not there yet, and may have stale fields of a row
that is just being changed. So rows marked as stale take part whatever the filter, and an entry is
in an answer only if its record says so.
"""

import numpy as np
from numpy.typing import NDArray

from gallery_index.exact_search import Ask, Candidates, Found, StoredVectors, exact_search
from gallery_index.qdrant_index import QdrantIndex
from gallery_index.record_filters import passes
from gallery_index.records import EntryFilter, GalleryEntry
from gallery_index.search_index import person_number
from gallery_index.shared_records import SharedRecords

_ANY = EntryFilter()
_ROWS_AT_ONCE = 1024
_GROWTH = 4


class Sighting:
    """One query's view of a shared gallery: records and vectors are read once."""

    def __init__(
        self,
        records: SharedRecords,
        index: QdrantIndex,
        query: NDArray[np.float32],
        filter: EntryFilter,
    ) -> None:
        self.entries: dict[int, GalleryEntry] = {}
        self.damaged: set[int] = set()
        self._records = records
        self._index = index
        self._query = query
        self._filter = filter
        self._stale = records.stale()
        self._vectors: dict[int, tuple[NDArray[np.float16], bool]] = {}

    def find(self, n: int) -> Candidates:
        """Return up to `n` entries that match by their records, the most similar first."""
        while True:
            offered = self._index.candidates(self._query, n, self._filter, self._stale)
            rows = offered.rows.tolist()
            self._read([row for row in rows if row not in self.entries])
            kept = [place for place, row in enumerate(rows) if row in self.entries]
            is_all = offered.total <= len(rows)
            if kept or is_all:
                break
            n *= _GROWTH
        return Candidates(
            rows=offered.rows[kept],
            estimates=offered.estimates[kept],
            persons=np.array(
                [person_number(self.entries[rows[place]].person_id) for place in kept], np.int64
            ),
            total=len(kept) if is_all else len(kept) + 1,
            margin=offered.margin,
        )

    def vectors(self, rows: NDArray[np.int64]) -> StoredVectors:
        """Return the vectors of rows; each travels once."""
        wanted = rows.tolist()
        missing = np.array([row for row in wanted if row not in self._vectors], np.int64)
        if len(missing):
            stored = self._index.vectors(missing)
            for row, vector, is_sound in zip(
                missing.tolist(), stored.values, stored.sound.tolist(), strict=True
            ):
                self._vectors[row] = vector, is_sound
                if not is_sound:
                    self.damaged.add(row)
        found = [self._vectors[row] for row in wanted]
        return StoredVectors(
            np.array([vector for vector, _ in found], np.float16).reshape(
                len(rows), len(self._query)
            ),
            np.array([is_sound for _, is_sound in found], np.bool_),
        )

    def _read(self, rows: list[int]) -> None:
        self.entries |= {
            row: entry
            for row, entry in self._records.at(rows).items()
            if passes(entry, self._filter)
        }


def nearest(
    records: SharedRecords,
    index: QdrantIndex,
    query: NDArray[np.float32],
    filter: EntryFilter,
    ask: Ask,
) -> tuple[list[Found], Sighting]:
    """Return the best entries for a query (D,) of length one, best first, and what was read."""
    sighting = Sighting(records, index, query, filter)
    found, _ = exact_search(query, ask, find=sighting.find, read_vectors=sighting.vectors)
    return found, sighting


def listed(
    records: SharedRecords, index: QdrantIndex, filter: EntryFilter, row: int, limit: int
) -> list[GalleryEntry]:
    """Return up to `limit` entries that match, with rows above `row`, in order.

    Without a filter the index is not asked.
    """
    stale = records.stale()
    end = records.counts().rows
    found: list[GalleryEntry] = []
    while len(found) < limit:
        if filter == _ANY:
            rows = list(range(row + 1, min(row + 1 + _ROWS_AT_ONCE, end)))
        else:
            rows = index.rows_after(row, filter, _ROWS_AT_ONCE, stale)
        if not rows:
            break
        entries = records.at(rows)
        found += [
            entries[each] for each in rows if each in entries and passes(entries[each], filter)
        ]
        row = rows[-1]
    return found[:limit]
