"""Reads everything that a shared gallery holds and says what disagrees.

Others write meanwhile: what seems wrong is looked at again before it is reported. What belongs to
nothing is marked and cleared away.
"""

import hashlib

import numpy as np

from gallery_index.errors import GalleryCorruptError
from gallery_index.qdrant_index import QdrantIndex
from gallery_index.records import EntryFilter, GalleryEntry, VerificationReport
from gallery_index.shared_crops import SharedCrops
from gallery_index.shared_records import SharedRecords
from gallery_index.shared_upkeep import Upkeep

_ROWS_AT_ONCE = 256


def verify_shared(
    records: SharedRecords, index: QdrantIndex, crops: SharedCrops, upkeep: Upkeep
) -> VerificationReport:
    """Compare every record, point and crop. Raises: StoreUnavailableError."""
    upkeep.once()
    rows = records.counts().rows
    problems: list[str] = []
    entries = sound_crops = 0
    for start in range(0, rows, _ROWS_AT_ONCE):
        some = list(range(start, min(start + _ROWS_AT_ONCE, rows)))
        try:
            found = records.at(some)
        except GalleryCorruptError as error:
            problems.append(str(error))
            continue
        wrong_crops = _wrong_crops(found, crops)
        wrong = _wrong_points(found, index) | wrong_crops
        still = records.at(list({row for row, _ in wrong}))
        stale = records.stale()
        problems += [
            text for row, text in sorted(wrong) if still.get(row) == found[row] and row not in stale
        ]
        entries += len(found)
        sound_crops += len(found) - len(wrong_crops)
    points = _all_rows(index)
    strays = records.adopt(sorted(set(points) | crops.rows()))
    upkeep.erase_pending()
    return VerificationReport(
        entries=entries,
        rows=rows,
        crops=sound_crops,
        index_positions=len(points),
        problems=problems,
        unfinished=[f"{len(strays)} points or crops without a record: cleared away"]
        if strays
        else [],
    )


def _wrong_points(entries: dict[int, GalleryEntry], index: QdrantIndex) -> set[tuple[int, str]]:
    rows = sorted(entries)
    if not rows:
        return set()
    stored = index.vectors(np.array(rows, np.int64))
    is_current = index.is_current([entries[row] for row in rows])
    wrong = set()
    for row, is_sound in zip(rows, stored.sound.tolist(), strict=True):
        what = f"{index.location}: the point of row {row} (entry {entries[row].entry_id!r})"
        if row not in is_current:
            wrong.add((row, f"{what} is missing"))
        elif not is_sound:
            wrong.add((row, f"{what} fails its checksum"))
        elif not is_current[row]:
            wrong.add((row, f"{what} has other fields than its record"))
    return wrong


def _wrong_crops(entries: dict[int, GalleryEntry], crops: SharedCrops) -> set[tuple[int, str]]:
    wrong = set()
    for row, entry in entries.items():
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
    while some := index.rows_after(found[-1] if found else -1, EntryFilter(), 1024):
        found += some
    return found
