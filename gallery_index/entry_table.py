"""The entries in memory, as records and as columns by row, which filters turn into masks.

Built from the metadata store at opening and changed after each commit; never the truth itself.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gallery_index.records import EntryFilter, GalleryEntry, JsonScalar, JsonValue

_NONE = -1
_NEVER = np.iinfo(np.int64).min  # before any time
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EntryTable:
    """Live entries by id and by row; columns have one place a row ever written."""

    def __init__(self) -> None:
        self.rows = 0
        self._by_id: dict[str, GalleryEntry] = {}
        self._by_row: dict[int, GalleryEntry] = {}
        self._alive = np.zeros(0, np.bool_)
        self._person = np.zeros(0, np.int32)
        self._camera = np.zeros(0, np.int32)
        self._modality = np.zeros(0, np.int32)
        self._captured = np.zeros(0, np.int64)
        self._codes: dict[tuple[str, str], int] = {}
        self._next_code = 0
        self._persons: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def persons(self) -> int:
        """Number of persons that have an entry."""
        return len(self._persons)

    def get(self, entry_id: str) -> GalleryEntry | None:
        """Return a live entry by its id."""
        return self._by_id.get(entry_id)

    def at(self, row: int) -> GalleryEntry:
        """Return the live entry of a row."""
        return self._by_row[row]

    def find(self, row: int) -> GalleryEntry | None:
        """Return the live entry of a row; None for a dead row."""
        return self._by_row.get(row)

    def entries(self) -> Iterable[GalleryEntry]:
        """Return every live entry, in no particular order."""
        return self._by_id.values()

    def extend(self, rows: int) -> None:
        """Make room up to `rows`; rows without an entry are dead."""
        if rows > len(self._alive):
            room = max(rows, 2 * len(self._alive), 1024) - len(self._alive)
            self._alive = np.concatenate([self._alive, np.zeros(room, np.bool_)])
            for name in ("_person", "_camera", "_modality"):
                column = getattr(self, name)
                setattr(self, name, np.concatenate([column, np.full(room, _NONE, np.int32)]))
            self._captured = np.concatenate([self._captured, np.full(room, _NEVER, np.int64)])
        self.rows = max(self.rows, rows)

    def put(self, entry: GalleryEntry) -> None:
        """Add an entry, or replace the one of the same id and row.

        An entry that is replaced can be got all the while.
        """
        known = self._by_id.get(entry.entry_id)
        if known is not None:
            self._leave_person(known)
        row = entry.row
        self.extend(row + 1)
        self._by_id[entry.entry_id] = entry
        self._by_row[row] = entry
        self._alive[row] = True
        self._person[row] = self._code("person", entry.person_id)
        self._camera[row] = self._code("camera", entry.camera_id)
        self._modality[row] = self._code("modality", entry.modality)
        self._captured[row] = _microseconds(entry.captured_at)
        if entry.person_id is not None:
            self._persons[entry.person_id] += 1

    def remove(self, entry: GalleryEntry) -> None:
        """Forget an entry; its row stays, dead."""
        del self._by_id[entry.entry_id]
        del self._by_row[entry.row]
        self._alive[entry.row] = False
        self._leave_person(entry)

    def _leave_person(self, entry: GalleryEntry) -> None:
        if entry.person_id is not None:
            self._persons[entry.person_id] -= 1
            if not self._persons[entry.person_id]:
                # Nothing of an erased person stays, its name included.
                del self._persons[entry.person_id]
                del self._codes["person", entry.person_id]

    def of_person(self, person_id: str) -> list[GalleryEntry]:
        """Return a person's entries in the order of enrolment."""
        mask = self.mask(EntryFilter(person_id=person_id))
        return [self._by_row[int(row)] for row in np.flatnonzero(mask)]

    def after(self, row: int, filter: EntryFilter, limit: int) -> list[GalleryEntry]:
        """Return up to `limit` entries that match, with rows above `row`, in order."""
        rows = np.flatnonzero(self.mask(filter)[row + 1 :])[:limit] + (row + 1)
        return [self._by_row[int(found)] for found in rows]

    def mask(self, filter: EntryFilter) -> NDArray[np.bool_]:
        """Return which rows hold an entry that matches, as booleans (rows,)."""
        mask = self._alive[: self.rows].copy()
        for kind, wanted, excluded, column in (
            ("person", filter.person_id, filter.exclude_person_id, self._person),
            ("camera", filter.camera_id, filter.exclude_camera_id, self._camera),
            ("modality", filter.modality, None, self._modality),
        ):
            # An unknown name matches nothing, entries without a name included.
            if wanted is not None:
                mask &= np.isin(column[: self.rows], self._codes_of(kind, wanted))
            if excluded is not None:
                mask &= ~np.isin(column[: self.rows], self._codes_of(kind, excluded))
        if filter.attributes:
            for row in np.flatnonzero(mask).tolist():
                mask[row] = _has(self._by_row[row].attributes, filter.attributes)
        captured = self._captured[: self.rows]
        if filter.captured_after is not None:
            mask &= captured >= _microseconds(filter.captured_after)
        if filter.captured_before is not None:
            mask &= captured < _microseconds(filter.captured_before)
            mask &= captured != _NEVER
        return mask

    def _codes_of(self, kind: str, names: str | tuple[str, ...]) -> list[int]:
        several = (names,) if isinstance(names, str) else names
        return [self._codes.get((kind, name), _NONE - 1) for name in several]

    def _code(self, kind: str, name: str | None) -> int:
        if name is None:
            return _NONE
        code = self._codes.get((kind, name))
        if code is None:
            code = self._codes[kind, name] = self._next_code
            self._next_code += 1
        return code


def _has(attributes: Mapping[str, JsonValue], wanted: Mapping[str, JsonScalar]) -> bool:
    return all(
        key in attributes
        and attributes[key] == value
        and isinstance(attributes[key], bool) == isinstance(value, bool)
        for key, value in wanted.items()
    )


def _microseconds(time: datetime | None) -> int:
    return _NEVER if time is None else (time - _EPOCH) // timedelta(microseconds=1)
