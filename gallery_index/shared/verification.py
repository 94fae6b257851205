"""Reads everything that a shared gallery holds, says what disagrees, and measures its recall.

Others write meanwhile: what seems wrong is looked at again before it is reported. What belongs to
nothing is marked and cleared away.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gallery_index.candidates import Ask
from gallery_index.errors import GalleryCorruptError
from gallery_index.index.recall import Block, Probe, draw_probes, measure_recall
from gallery_index.records import EntryFilter, GalleryEntry, VerificationReport
from gallery_index.shared.crops import SharedCrops
from gallery_index.shared.qdrant_index import QdrantIndex
from gallery_index.shared.records import SharedRecords
from gallery_index.shared.search import nearest
from gallery_index.shared.upkeep import Upkeep

_ROWS_AT_ONCE = 256
_PROBES = 64
_ANY = EntryFilter()


def verify_shared(
    records: SharedRecords, index: QdrantIndex, crops: SharedCrops, upkeep: Upkeep
) -> VerificationReport:
    """Compare every record, point and crop, and measure recall@10 on the way.

    Raises: StoreUnavailableError.
    """
    upkeep.once()
    rows = records.counts().rows
    reading = _Reading(records, index, crops)
    recall = measure_recall(
        _probes(records, index, rows), reading.blocks(rows), reading.answer_to, k=10
    )
    points = _all_rows(index)
    strays = records.adopt(sorted(set(points) | crops.rows()))
    upkeep.erase_pending()
    return VerificationReport(
        entries=reading.entries,
        rows=rows,
        crops=reading.crops,
        index_positions=len(points),
        recall_at_10=None if reading.problems else recall,
        problems=reading.problems,
        unfinished=[f"{len(strays)} points or crops without a record: cleared away"]
        if strays
        else [],
    )


class _Reading:
    """One pass over all rows: what is sound, and what is not."""

    def __init__(self, records: SharedRecords, index: QdrantIndex, crops: SharedCrops) -> None:
        self.entries = self.crops = 0
        self.problems: list[str] = []
        self._records = records
        self._index = index
        self._crops = crops

    def blocks(self, rows: int) -> Iterator[Block]:
        """Check all rows, and yield the vectors of those that are sound."""
        for start in range(0, rows, _ROWS_AT_ONCE):
            some = list(range(start, min(start + _ROWS_AT_ONCE, rows)))
            try:
                entries = self._records.at(some)
            except GalleryCorruptError as error:
                self.problems.append(str(error))
                continue
            if entries:
                yield self._checked(entries)

    def answer_to(self, probe: Probe, k: int) -> NDArray[np.int64]:
        """Return the rows that a search finds."""
        ask = Ask(k, "entry", None)
        found, _ = nearest(self._records, self._index, probe.vector, _ANY, ask)
        return np.array([hit.row for hit in found], np.int64)

    def _checked(self, entries: dict[int, GalleryEntry]) -> Block:
        rows = np.array(sorted(entries), np.int64)
        stored = self._index.vectors(rows)
        damaged = set(rows[~stored.sound].tolist())
        wrong_crops = _wrong_crops(entries, self._crops)
        wrong = _wrong_points(entries, damaged, self._index) | wrong_crops
        still = self._records.at(sorted({row for row, _ in wrong}))
        stale = self._records.stale()
        self.problems += [
            text
            for row, text in sorted(wrong)
            if still.get(row) == entries[row] and row not in stale
        ]
        self.entries += len(entries)
        self.crops += len(entries) - len(wrong_crops)
        return rows[stored.sound], stored.values[stored.sound]


def _probes(records: SharedRecords, index: QdrantIndex, rows: int) -> list[Probe]:
    draw = np.random.default_rng(rows)
    chosen = sorted(set(draw.integers(0, rows, _PROBES).tolist())) if rows else []
    live = np.array(sorted(records.at(chosen)), np.int64)
    stored = index.vectors(live)
    return draw_probes(stored.values[stored.sound])


def _wrong_points(
    entries: dict[int, GalleryEntry], damaged: set[int], index: QdrantIndex
) -> set[tuple[int, str]]:
    is_current = index.is_current(list(entries.values()))
    wrong = set()
    for row, entry in entries.items():
        what = f"{index.location}: the point of row {row} (entry {entry.entry_id!r})"
        if row not in is_current:
            wrong.add((row, f"{what} is missing"))
        elif row in damaged:
            wrong.add((row, f"{what} fails its checksum"))
        elif not is_current[row]:
            wrong.add((row, f"{what} has other fields than its record"))
    return wrong


def _wrong_crops(entries: dict[int, GalleryEntry], crops: SharedCrops) -> set[tuple[int, str]]:
    wrong = set()
    for row, entry in entries.items():
        if not entry.has_crop:
            continue
        what = f"{crops.place(row)}: the crop of entry {entry.entry_id!r}"
        try:
            found = hashlib.sha256(crops.read(row)).hexdigest()
        except FileNotFoundError:
            wrong.add((row, f"{what} is missing"))
            continue
        if found != entry.crop_sha256:
            wrong.add((row, f"{what} fails its checksum"))
    return wrong


def _all_rows(index: QdrantIndex) -> list[int]:
    found: list[int] = []
    while some := index.rows_after(found[-1] if found else -1, _ANY, 1024):
        found += some
    return found
