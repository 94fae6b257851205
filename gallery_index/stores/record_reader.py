"""Reading a metadata store: its records in pages, and what changed since a head.

The same for every store, over the few questions that each answers in its own way. Another process
may commit between two of them: counts are compared only where the head stayed what it was.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from gallery_index.errors import GalleryCorruptError
from gallery_index.records import GalleryEntry
from gallery_index.stores.record_codec import StoreHead, decode_entry
from gallery_index.stores.store import Changes

_PAGE_ROWS = 2048


class RecordReader(ABC):
    """The reading half of a metadata store; see `StoreReader` for what each method promises."""

    def __init__(self) -> None:
        self._head = StoreHead(token="", commit=0, next_row=0, entries=0)

    @property
    @abstractmethod
    def location(self) -> str:
        """Where it is, for messages; never with a password."""

    @property
    def last_head(self) -> StoreHead:
        """The head as last read or committed here."""
        return self._head

    def head(self) -> StoreHead:
        """Read the head; the next commit expects it."""
        self._head = self._read_head()
        return self._head

    def records(self) -> Iterator[GalleryEntry]:
        """Read every live record once, ascending by row."""
        head = self._read_head()
        found = 0
        for entry in self._decoded(range(head.next_row)):
            found += 1
            yield entry
        held = self._records_held()
        if self._read_head() != head:
            return
        for count in (found, held):  # they differ where a record stands under no row
            if count != head.entries:
                raise GalleryCorruptError(
                    f"{self.location} has {count} records, its head says {head.entries}"
                )

    def changes_since(self, head: StoreHead) -> Changes | None:
        """Return what happened after `head`; None if this store cannot tell."""
        before = self._read_head()
        # The history first: a row in it is below the `next_row` that is read after it.
        rows = self._rows_changed_since(head)
        if rows is None:
            return None
        current = self._read_head()
        earlier = [row for row in rows if row < head.next_row]
        changed = list(self._decoded(earlier))
        new = list(self._decoded(range(head.next_row, current.next_row)))
        put = changed + new
        gone = sorted(set(rows) - {entry.row for entry in put})
        lost = len(earlier) - len(changed)
        if self._read_head() == before and head.entries - lost + len(new) != current.entries:
            raise GalleryCorruptError(
                f"{self.location} has {current.entries} records by its head, but"
                f" {head.entries} of commit {head.commit}, {len(new)} more and {lost} fewer"
            )
        return Changes(put, gone)

    def _decoded(self, rows: Sequence[int]) -> Iterator[GalleryEntry]:
        for start in range(0, len(rows), _PAGE_ROWS):
            for row, value in self._values(rows[start : start + _PAGE_ROWS]):
                yield decode_entry(value, row=row)

    @abstractmethod
    def _read_head(self) -> StoreHead:
        """Read the head. Raises: GalleryMismatchError if there is none."""

    @abstractmethod
    def _values(self, rows: Sequence[int]) -> Sequence[tuple[int, str]]:
        """Return the rows that have a record, and these, in the ascending order of `rows`."""

    @abstractmethod
    def _records_held(self) -> int:
        """Count every record, wherever it stands."""

    @abstractmethod
    def _rows_changed_since(self, head: StoreHead) -> list[int] | None:
        """Return the rows changed or deleted after `head`, ascending; None if it is unknown."""
