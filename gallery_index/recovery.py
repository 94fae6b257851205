"""From files to memory: what a killed process left half done is finished, the index is built.

From the newest snapshot that agrees, and what the store and the vector file hold since; without
one, from everything they hold.
"""

import logging
import time
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import GalleryCorruptError, GalleryError
from gallery_index.generations.pointer import remove_others
from gallery_index.index.first_stage import FirstStage
from gallery_index.index.local_index import (
    LocalIndex,
    encode_positions,
    live_positions,
    row_blocks,
    sample_rows,
    sound_vectors,
)
from gallery_index.index.quantizer_choice import choose
from gallery_index.index.quantizers import from_bytes
from gallery_index.index.recall_record import Recall, unpacked
from gallery_index.opening import GalleryFiles
from gallery_index.records import GalleryEntry
from gallery_index.search_index import Change, Erase, Operation
from gallery_index.snapshots.data import SnapshotData
from gallery_index.snapshots.directory import Snapshots
from gallery_index.snapshots.manifest import CODES, QUANTIZER, RECALL, Sections, Snapshot
from gallery_index.stores.record_codec import StoreHead
from gallery_index.stores.store import Transaction
from gallery_index.table.entry_table import EntryTable

_LOG = logging.getLogger(__name__)
_RECORDS_AT_ONCE = 4096


@dataclass(slots=True)
class GalleryMemory:
    """What is derived from the files: what is searched, and erasures to finish.

    `snapshot_head` is the head that the newest sound snapshot stands on, `snapshot_at` when it was
    written (seconds of the epoch); `reshaped` since then: a start would have to do it again.
    """

    index: LocalIndex
    pending: dict[int, str] = field(default_factory=dict)
    snapshot_head: StoreHead | None = None
    snapshot_at: float | None = None
    recall: Recall = field(default_factory=Recall)
    stays_exact: bool = False
    reshaped: bool = False

    @property
    def snapshot_age_s(self) -> float | None:
        """Age of the newest sound snapshot."""
        return None if self.snapshot_at is None else time.time() - self.snapshot_at

    @property
    def rows_since_snapshot(self) -> int:
        """Rows that a start would add to the newest sound snapshot."""
        covered = 0 if self.snapshot_head is None else self.snapshot_head.next_row
        return self.index.table.rows - covered


def recover(files: GalleryFiles, exact_below: int) -> GalleryMemory:
    """Finish what a killed process began, and build the table and the first stage.

    Raises: GalleryCorruptError naming the rows and entries that cannot be read.
    """
    head = files.store.head()
    pending = files.store.pending()
    cut = files.vectors.truncate(head.next_row)
    if files.other is not None:
        files.other.vectors.truncate(head.next_row)
    strays = files.crops.beyond(head.next_row)
    files.crops.unlink(strays)
    if cut or strays or pending:
        _LOG.info(
            "recovered: %d bytes of uncommitted rows, %d crops without a record, %d erasures",
            cut, len(strays), len(pending),
        )  # fmt: skip
    remove_others(files.directory, files.pointer.now)
    if files.other is not None:
        files.other.snapshots.clear()
    files.snapshots.remove_unfinished()
    erase_in_files(files, list(pending), scrub=True, again=True)
    if pending:
        files.store.commit(Transaction(head.next_row, head.entries, erased_rows=sorted(pending)))
    return _from_snapshots(files) or _from_records(files, exact_below)


def erase_in_files(
    files: GalleryFiles, rows: list[int], *, scrub: bool, again: bool = False
) -> int:
    """Carry committed deletions out in every file; returns how many crops were there.

    With `scrub` also in the store's logs; `again` if it was begun before.
    """
    if not rows:
        return 0
    files.vectors.erase(rows)
    crops = files.crops.unlink(rows)
    erase_in_snapshots(files.snapshots, rows, again=again)
    if files.other is not None:
        files.other.vectors.erase(rows)
        erase_in_snapshots(files.other.snapshots, rows, again=again)
    if scrub and not files.store.scrub():
        _LOG.warning("%s is being read: its log keeps erased names for now", files.store.location)
    return crops


def erase_in_snapshots(snapshots: Snapshots, rows: list[int], *, again: bool = False) -> None:
    """Overwrite entries in every snapshot; one that cannot be read is removed.

    `again`: what was cut short may have overwritten what says where the rest lies; a snapshot whose
    columns fail their checksums is removed then.
    """
    snapshots.settle()
    for manifest in snapshots.manifests():
        try:
            snapshot = snapshots.read(manifest)
            with closing(SnapshotData(snapshot)) as data:
                _erase_in(snapshot, data, rows, data.columns() if again else data.mapped())
        except GalleryError as error:  # an fsync that failed cannot be made up for: Linux forgets
            _LOG.error("snapshot removed, entries of it had to be erased: %s", error)
            snapshots.remove(manifest)


def _erase_in(snapshot: Snapshot, data: SnapshotData, rows: list[int], sections: Sections) -> None:
    held = data.array("row")
    width = snapshot.section(CODES).shape[1]
    places = np.searchsorted(held, rows)
    here = [
        place for place, row in zip(places.tolist(), rows, strict=True) if _has(held, place, row)
    ]
    if not here:
        return
    try:
        spans = EntryTable.erase_from(sections, *(int(held[place]) for place in here))
    except (ValueError, IndexError) as error:
        raise GalleryCorruptError(f"{snapshot.path}: {error}") from error
    data.overwrite([*((CODES, place * width, (place + 1) * width) for place in here), *spans])


def _has(values: NDArray[np.int64], place: int, value: int) -> bool:
    return place < len(values) and int(values[place]) == value


def _from_snapshots(files: GalleryFiles) -> GalleryMemory | None:
    for manifest in files.snapshots.manifests():
        try:
            snapshot = files.snapshots.read(manifest)
            with closing(SnapshotData(snapshot)) as data:
                recall = unpacked(data.array(RECALL))
                index = replayed(files, snapshot, data)
        except GalleryCorruptError as error:
            # It stays where it is for `verify` to name, until newer ones replace it.
            _LOG.error("snapshot not used: %s", error)
            continue
        if index is not None:
            written_at = manifest.stat().st_mtime
            return GalleryMemory(index, {}, snapshot.head, written_at, recall)
        _LOG.warning("snapshot not used: %s is not of this history of the store", manifest)
    return None


def replayed(files: GalleryFiles, snapshot: Snapshot, data: SnapshotData) -> LocalIndex | None:
    """Return the index of a snapshot and what has happened since; None if the store cannot tell.

    Raises: GalleryCorruptError naming what does not agree.
    """
    changes = files.store.changes_since(snapshot.head)
    if changes is None:
        return None
    index, unsound = _as_it_was(files, snapshot, data)
    table = index.table
    table.model_id, table.left_out = files.identity.model_id, files.left_out
    known = snapshot.head.next_row
    erased: list[Operation] = [Erase(row) for row in changes.gone]
    changed: list[Operation] = [Change(entry) for entry in changes.put if entry.row < known]
    index.apply([*erased, *changed], files.store.last_head.commit)
    table.put_many([entry for entry in changes.put if entry.row >= known])
    table.extend(files.store.last_head.next_row)
    _check_table(files, table)
    _encode_again(index, unsound)
    encode_positions(table, files.vectors, index.stage)
    return index


def _as_it_was(
    files: GalleryFiles, snapshot: Snapshot, data: SnapshotData
) -> tuple[LocalIndex, NDArray[np.int64]]:
    """Return the index of a snapshot, and the positions whose codes fail their checksum."""
    try:
        table = EntryTable.from_sections(data.columns())
        packed = data.array(QUANTIZER).tobytes()
        stage = FirstStage(from_bytes(packed, files.identity.embedding_dim))
    except ValueError as error:
        raise GalleryCorruptError(f"{snapshot.path}: {error}") from error
    unsound = [np.empty(0, np.int64)]
    for codes, sound in data.codes():
        unsound.append(np.flatnonzero(~sound) + len(stage))
        stage.add_codes(codes)
    if len(stage) != table.positions:
        raise GalleryCorruptError(
            f"{snapshot.path} has {table.positions} entries and {len(stage)} codes"
        )
    return LocalIndex(table, stage, files.vectors), np.concatenate(unsound)


def _encode_again(index: LocalIndex, unsound: NDArray[np.int64]) -> None:
    """Read the vectors of codes that failed their checksum; the other codes stay."""
    wanted = np.intersect1d(unsound, live_positions(index.table))
    if not len(wanted):
        return
    _LOG.error("%d codes of the snapshot fail their checksum: read anew", len(wanted))
    for some, block in row_blocks(index.table, index.file, wanted):
        if block.damage:
            raise GalleryCorruptError(
                f"rows {[int(block.rows[place]) for place in block.damage]} of {index.file.path}"
                " and their codes in the snapshot fail their checksum"
            )
        index.stage.replace(some, index.stage.quantizer.encode(block.vectors))


def _from_records(files: GalleryFiles, exact_below: int) -> GalleryMemory:
    table = table_of(files)
    sample = sound_vectors(files.vectors, sample_rows(table))
    stage = FirstStage(choose(sample, len(table), exact_below))
    encode_positions(table, files.vectors, stage)
    return GalleryMemory(LocalIndex(table, stage, files.vectors))


def table_of(files: GalleryFiles) -> EntryTable:
    """Return the table of a store's records. Raises: GalleryCorruptError if they disagree."""
    table = EntryTable()
    table.model_id, table.left_out = files.identity.model_id, files.left_out
    next_row = files.store.last_head.next_row
    records = files.store.records()
    while batch := list(islice(records, _RECORDS_AT_ONCE)):
        for entry in batch:
            _check_record(entry, next_row)
        table.put_many(batch)
    table.extend(next_row)
    _check_table(files, table)
    return table


def _check_record(entry: GalleryEntry, next_row: int) -> None:
    if not 0 <= entry.row < next_row:
        raise GalleryCorruptError(
            f"the record of entry {entry.entry_id!r} claims row {entry.row} of {next_row}"
        )


def _check_table(files: GalleryFiles, table: EntryTable) -> None:
    expected = files.store.last_head.entries
    if len(table) != expected:
        raise GalleryCorruptError(
            f"{files.store.location} should have {expected} entries, {len(table)} were found"
        )
