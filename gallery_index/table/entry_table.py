"""The entries in memory, whole, in columns by position; what searches and filters ask.

Derived from the metadata store and changed after each commit; never the truth itself. Some 130
bytes an entry and no Python object: entries are made when they are asked for. A *position* is an
entry's place in the columns: dense, in the order of rows. The caller sees to it that nothing reads
while the table changes; readers may come together.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gallery_index.records import EntryFilter, GalleryEntry
from gallery_index.table.attribute_texts import AttributeTexts, decode_attributes
from gallery_index.table.entry_columns import (
    COLUMNS,
    ENTRY_ID,
    VOCABULARIES,
    Sections,
    arena_of,
    check_sections,
    empty_sections,
    ends_of,
    record_bytes,
)
from gallery_index.table.entry_filters import captured_before, conditions
from gallery_index.table.entry_values import EPOCH, plain_columns, texts_of, time_of
from gallery_index.table.growing_array import GrowingArray
from gallery_index.table.indexed_texts import IndexedTexts
from gallery_index.table.interned_texts import InternedTexts
from gallery_index.table.text_hash import TextHash


class EntryTable:
    """Live entries by id, row and position; a removed entry's position is dead till `compacted`."""

    def __init__(self, text_hash: TextHash | None = None) -> None:
        """Begin empty; `text_hash` is for tests that want collisions.

        `model_id` is that of the vectors that stand for all entries, `left_out` rows of entries
        that have none: these are listed, and never found.
        """
        self.rows = 0
        self.model_id = ""
        self.left_out: frozenset[int] = frozenset()
        self._text_hash = text_hash or TextHash()
        self._take(empty_sections())

    @classmethod
    def from_sections(cls, sections: Sections, text_hash: TextHash | None = None) -> Self:
        """Return the table of a snapshot; arrays that own their memory are taken over.

        Raises: ValueError naming a section that does not fit the others.
        """
        check_sections(sections)
        table = cls(text_hash)
        table._take(sections)
        return table

    def sections(self) -> dict[str, NDArray[Any]]:
        """Return everything as flat arrays: read-only views, true until the next change."""
        sections = {"rows": np.array([self.rows])}
        sections.update((name, column.values) for name, column in self._columns.items())
        for name, texts in self._texts():
            sections[arena_of(name)], sections[ends_of(name)] = texts.arena, texts.ends
        for section in sections.values():
            section.flags.writeable = False
        return sections

    @staticmethod
    def erase_from(sections: Sections, *rows: int) -> list[tuple[str, int, int]]:
        """Return where in a snapshot the records of rows lie: (section, first byte, last + 1).

        These bytes, overwritten with zeros in this order, leave nothing of the entries, and the
        table without them. A name or attributes that another live entry of the snapshot has stay:
        of rows that go together, ask together, or overwrite before asking again. Rows that are
        not live there have no bytes.
        """
        return record_bytes(sections, rows)

    def __len__(self) -> int:
        """Live entries."""
        return self._live

    @property
    def persons(self) -> int:
        """Number of persons that have an entry."""
        return len(self._vocabularies["person"])

    @property
    def individuals(self) -> int:
        """Persons that have an entry, and live entries without a person."""
        nameless = self._column("alive") & (self._column("person") == 0)
        return self.persons + int(np.count_nonzero(nameless))

    @property
    def positions(self) -> int:
        """Number of positions, dead ones included."""
        return len(self._columns["row"])

    @property
    def bytes_used(self) -> int:
        """Bytes in the columns and texts; indexes over them not counted."""
        return sum(section.nbytes for section in self.sections().values())

    def get(self, entry_id: str) -> GalleryEntry | None:
        """Return a live entry by its id."""
        position = self._ids.find(entry_id.encode(errors="replace"))
        return None if position is None else self.entry_at(position)

    def at(self, row: int) -> GalleryEntry:
        """Return the live entry of a row. Raises: KeyError."""
        return self.entry_at(self._position(row))

    def find(self, row: int) -> GalleryEntry | None:
        """Return the live entry of a row; None for a dead row."""
        try:
            return self.at(row)
        except KeyError:
            return None

    def id_of(self, row: int) -> str | None:
        """Return the entry id of a live row; None for a dead row."""
        position = int(self.positions_of(np.array([row]))[0])
        return None if position < 0 else self._ids.at(position).decode()

    def entry_at(self, position: int) -> GalleryEntry:
        """Return the live entry at a position."""
        value = {name: column.values[position] for name, column in self._columns.items()}
        text = {
            name: vocabulary.text_of(int(value[name]))
            for name, vocabulary in self._vocabularies.items()
        }
        return GalleryEntry(
            entry_id=self._ids.at(position).decode(),
            person_id=text["person"],
            camera_id=text["camera"],
            modality=text["modality"] or "",
            captured_at=time_of(int(value["captured_at"])),
            attributes=decode_attributes(text["attributes"]),
            model_id=self.model_id,
            crop_sha256=value["crop_sha256"].tobytes().hex(),
            media_type=text["media_type"] or "",
            enrolled_at=EPOCH + timedelta(microseconds=int(value["enrolled_at"])),
            row=int(value["row"]),
        )

    def person_codes(self, positions: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return a number for the person of each position, -1 for none; good until a change."""
        codes: NDArray[np.int32] = self._column("person")[positions] - np.int32(1)
        return codes

    def rows_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of positions."""
        rows: NDArray[np.int64] = self._column("row")[positions]
        return rows

    def positions_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of rows; -1 for a dead row."""
        if not self.positions:
            return np.full(len(rows), -1)
        row, alive = self._column("row"), self._column("alive")
        places = np.minimum(row.searchsorted(rows), len(row) - 1)
        return np.where((row[places] == rows) & alive[places], places, -1)

    def entries(self) -> Iterator[GalleryEntry]:
        """Yield every live entry in the order of rows."""
        return map(self.entry_at, np.flatnonzero(self._column("alive")).tolist())

    def after(self, row: int, filter: EntryFilter, limit: int) -> list[GalleryEntry]:
        """Return up to `limit` entries that match, with rows above `row`, in order."""
        first = int(self._column("row").searchsorted(row, "right"))
        mask = self.mask(filter)
        if mask is None:
            found = np.arange(first, min(first + limit, self.positions))
        else:
            found = first + np.flatnonzero(mask[first:])[:limit]
        return [self.entry_at(position) for position in found.tolist()]

    def of_person(self, person_id: str) -> list[GalleryEntry]:
        """Return a person's entries in the order of enrolment."""
        return self.after(-1, EntryFilter(person_id=person_id), len(self))

    def captured_before(self, time: datetime) -> list[int]:
        """Return the rows of entries captured before a time, ascending; not those without one."""
        mask = self._column("alive") & captured_before(self._column("captured_at"), time)
        rows: list[int] = self._column("row")[mask].tolist()
        return rows

    def mask(self, filter: EntryFilter) -> NDArray[np.bool_] | None:
        """Return which positions match, (positions,); None where all are alive and match."""
        columns = {name: column.values for name, column in self._columns.items()}
        met = list(conditions(columns, self._vocabularies, filter))
        if not met and self._live == self.positions:
            return None
        mask: NDArray[np.bool_] = columns["alive"].copy()
        for condition in met:
            mask &= condition
        return mask

    def searchable(self, filter: EntryFilter) -> NDArray[np.bool_] | None:
        """Return which positions match and have a vector; None where all do."""
        mask = self.mask(filter)
        if self.left_out:
            positions = self.positions_of(np.array(sorted(self.left_out), np.int64))
            mask = np.ones(self.positions, np.bool_) if mask is None else mask
            mask[positions[positions >= 0]] = False
        return mask

    def without_crop(self) -> list[GalleryEntry]:
        """Return the live entries whose crop was not kept, in the order of enrolment."""
        mask = self._column("alive") & (self._column("media_type") == 0)
        return [self.entry_at(position) for position in np.flatnonzero(mask).tolist()]

    def live_rows(self, row: int, limit: int) -> NDArray[np.int64]:
        """Return the first `limit` live rows from `row` on."""
        first = int(self._column("row").searchsorted(row))
        rows: NDArray[np.int64] = np.empty(0, np.int64)
        while first < self.positions and len(rows) < limit:
            part = slice(first, first + 2 * limit)
            rows = np.concatenate([rows, self._column("row")[part][self._column("alive")[part]]])
            first += 2 * limit
        return rows[:limit]

    def live_from(self, row: int) -> int:
        """Count the live entries of rows from `row` on."""
        first = int(self._column("row").searchsorted(row))
        return int(np.count_nonzero(self._column("alive")[first:]))

    def extend(self, rows: int) -> None:
        """Count rows up to `rows` as written; those without an entry are dead."""
        self.rows = max(self.rows, rows)

    def put(self, entry: GalleryEntry) -> None:
        """Put one entry, as `put_many` does."""
        self.put_many([entry])

    def put_many(self, entries: Sequence[GalleryEntry]) -> None:
        """Add entries of rows above all before; put changed records in place of what was there.

        Of a changed record nothing is kept that no other entry has.
        Raises: ValueError for a row that is dead, or that belongs to another id.
        """
        last = int(self._column("row")[-1]) if self.positions else -1
        fresh = sorted((entry for entry in entries if entry.row > last), key=attrgetter("row"))
        if fresh:
            self._append(fresh)
        for entry in entries:
            if entry.row <= last:
                self._change(entry)
        self._tidy()

    def remove(self, entry: GalleryEntry) -> None:
        """Overwrite an entry; its position stays, dead. Raises: KeyError for a dead row."""
        position = self._position(entry.row)
        self._ids.erase(position)
        for name, vocabulary in self._vocabularies.items():
            vocabulary.release(int(self._column(name)[position]))
        for name in COLUMNS.keys() - {"row"}:
            self._column(name)[position : position + 1].view(np.uint8).fill(0)
        self._live -= 1
        self._tidy()

    def compacted(self) -> tuple["EntryTable", NDArray[np.int64]]:
        """Return a table without dead positions, and the old position of each of its own."""
        kept = np.flatnonzero(self._column("alive"))
        sections = {"rows": np.array([self.rows])}
        sections.update((name, column.values[kept]) for name, column in self._columns.items())
        sections[arena_of(ENTRY_ID)], sections[ends_of(ENTRY_ID)] = self._ids.kept(kept)
        for name, vocabulary in self._vocabularies.items():
            live, codes = vocabulary.live_codes()
            sections[arena_of(name)], sections[ends_of(name)] = vocabulary.texts.kept(live - 1)
            sections[name] = codes[sections[name]].astype(COLUMNS[name])
        table = EntryTable.from_sections(sections, self._text_hash)
        table.model_id, table.left_out = self.model_id, self.left_out
        return table, kept

    def _take(self, sections: Sections) -> None:
        alive = sections["alive"]
        self.rows = int(sections["rows"][0])
        self._live = int(np.count_nonzero(alive))
        self._columns = {name: GrowingArray(sections[name]) for name in COLUMNS}
        ids = sections[arena_of(ENTRY_ID)], sections[ends_of(ENTRY_ID)]
        self._ids = IndexedTexts(self._text_hash, *ids, alive)
        self._vocabularies: dict[str, InternedTexts] = {}
        for name in VOCABULARIES:
            self._column(name)[~self._column("alive")] = 0
            ends = sections[ends_of(name)]
            counts = np.bincount(self._column(name), minlength=len(ends) + 1)[1:]
            texts = IndexedTexts(self._text_hash, sections[arena_of(name)], ends, counts > 0)
            kind = AttributeTexts if name == "attributes" else InternedTexts
            self._vocabularies[name] = kind(self._text_hash, texts, counts)

    def _texts(self) -> Iterator[tuple[str, IndexedTexts]]:
        yield ENTRY_ID, self._ids
        for name, vocabulary in self._vocabularies.items():
            yield name, vocabulary.texts

    def _column(self, name: str) -> NDArray[Any]:
        return self._columns[name].values

    def _position(self, row: int) -> int:
        position = int(self.positions_of(np.array([row]))[0])
        if position < 0:
            raise KeyError(row)
        return position

    def _append(self, entries: Sequence[GalleryEntry]) -> None:
        fresh = plain_columns(entries)
        if not (fresh["row"][1:] > fresh["row"][:-1]).all():
            raise ValueError("expected one record a row, got two of the same row")
        self._ids.extend([entry.entry_id.encode() for entry in entries])
        for name, vocabulary in self._vocabularies.items():
            fresh[name] = vocabulary.acquire(texts_of(name, entries))
            assert vocabulary.codes <= np.iinfo(COLUMNS[name]).max
        for name, column in self._columns.items():
            column.extend(fresh[name])
        self._live += len(entries)
        self.extend(entries[-1].row + 1)

    def _change(self, entry: GalleryEntry) -> None:
        position = int(self.positions_of(np.array([entry.row]))[0])
        if position < 0 or self._ids.at(position) != entry.entry_id.encode():
            raise ValueError(f"row {entry.row} is not that of entry {entry.entry_id!r}")
        changed = plain_columns([entry])
        for name, vocabulary in self._vocabularies.items():
            # Acquired first: a text that stays is not dropped in between.
            changed[name] = vocabulary.acquire(texts_of(name, [entry]))
            vocabulary.release(int(self._column(name)[position]))
        for name, value in changed.items():
            self._column(name)[position] = value[0]

    def _tidy(self) -> None:
        for name, vocabulary in self._vocabularies.items():
            if vocabulary.wasteful:
                self._vocabularies[name], codes = vocabulary.renumbered()
                self._column(name)[:] = codes[self._column(name)]
