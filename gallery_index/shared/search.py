"""Looking for entries that others write: what the index offers, held against the records.

The index may offer rows whose record is gone or not there yet, and may have stale fields of a row
that is just being changed. So rows marked as stale take part whatever the filter, and an entry is
in an answer only if its record says so.
"""

import numpy as np
from numpy.typing import NDArray

from gallery_index.candidates import Ask, Candidates, Found, StoredVectors
from gallery_index.exact_search import exact_search
from gallery_index.records import EntryFilter, GalleryEntry
from gallery_index.search_index import person_number
from gallery_index.shared.qdrant_index import QdrantIndex
from gallery_index.shared.record_filters import passes
from gallery_index.shared.records import SharedRecords

_ANY = EntryFilter()
_ROWS_AT_ONCE = 1024
_RECORDS_AT_ONCE = 64
_SPARE = 44
_GROWTH = 4


class Sighting:
    """One query's view of a shared gallery: records and vectors are read once."""

    def __init__(
        self,
        records: SharedRecords,
        index: QdrantIndex,
        query: NDArray[np.float32],
        filter: EntryFilter,
        ask: Ask,
    ) -> None:
        self.entries: dict[int, GalleryEntry] = {}
        self.damaged: set[int] = set()
        self._records = records
        self._index = index
        self._query = query
        self._filter = filter
        self._ask = ask
        self._stale = records.stale()
        self._vectors: dict[int, tuple[NDArray[np.float16], bool]] = {}

    def find(self, n: int) -> Candidates:
        """Return the entries among `n` that could belong to the answer, the most similar first.

        Qdrant's estimates are right to their margin on both sides, so it is asked for few at first
        (each costs it reads from its disks), and of these only what could belong is fetched.
        """
        limit = min(n, 2 * self._ask.top_k + _SPARE)
        while True:
            offered = self._index.candidates(self._query, limit, self._filter, self._stale)
            kept, rest_is_out = self._kept(offered)
            is_all = rest_is_out or offered.total <= len(offered.rows)
            if is_all or (kept and limit >= n):
                break
            limit *= _GROWTH
        return Candidates(
            rows=offered.rows[kept],
            estimates=offered.estimates[kept],
            persons=self._persons(offered.rows[kept]),
            total=len(kept) if is_all else len(kept) + 1,
            margin=offered.margin,
        )

    def _kept(self, offered: Candidates) -> tuple[list[int], bool]:
        """Return the places of live entries that match, down to the bar; whether that was met."""
        kept: list[int] = []
        bar = -np.inf
        for start in range(0, len(offered.rows), _RECORDS_AT_ONCE):
            places = range(start, min(start + _RECORDS_AT_ONCE, len(offered.rows)))
            if offered.estimates[start] < bar:
                break
            rows = offered.rows[places].tolist()
            self._read([row for row in rows if row not in self.entries])
            kept += [place for place, row in zip(places, rows, strict=True) if row in self.entries]
            bar = self._bar(offered, kept)
        reachable = [place for place in kept if offered.estimates[place] >= bar]
        return reachable, len(offered.rows) > 0 and bool(offered.estimates[-1] < bar)

    def _bar(self, offered: Candidates, kept: list[int]) -> float:
        """The least estimate with which an entry could belong to the answer."""
        persons = self._persons(offered.rows[kept])
        firsts = np.ones(len(kept), np.bool_)
        if self._ask.group_by == "person":
            firsts[:] = persons < 0
            firsts[np.unique(persons, return_index=True)[1]] = True
        best = offered.estimates[kept][firsts]
        if len(best) < self._ask.top_k:
            return -np.inf
        return float(best[self._ask.top_k - 1]) - 2 * offered.margin

    def _persons(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        persons = [person_number(self.entries[row].person_id) for row in rows.tolist()]
        return np.array(persons, np.int64)

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
    sighting = Sighting(records, index, query, filter, ask)
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
