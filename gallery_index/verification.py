"""Reads everything a gallery holds and says what disagrees. Changes nothing."""

import hashlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import GalleryCorruptError
from gallery_index.files.vector_file import RowBlock, VectorFile
from gallery_index.index.local_index import LocalIndex, damaged_entries
from gallery_index.index.recall_measure import measured
from gallery_index.opening import GalleryFiles, open_existing
from gallery_index.records import GalleryEntry, VerificationReport
from gallery_index.recovery import replayed, table_of
from gallery_index.snapshots.data import SnapshotData
from gallery_index.table.entry_table import EntryTable

OnStep = Callable[[int], object]


def _ignore(steps: int) -> None:
    """Take no notice of progress."""


def verify_directory(
    directory: Path, *, redis_url: str | None = None, on_step: OnStep = _ignore
) -> VerificationReport:
    """Verify a gallery that nobody has open.

    `on_step` is told of every row and crop read.
    Raises: GalleryLockedError while it is served, GalleryMismatchError if there is none or its
    records are elsewhere, GalleryCorruptError if it cannot be opened at all, StoreUnavailableError.
    """
    with closing(open_existing(directory, redis_url=redis_url)) as files:
        return verify_files(files, on_step=on_step)


def verify_files(
    files: GalleryFiles, index: LocalIndex | None = None, *, on_step: OnStep = _ignore
) -> VerificationReport:
    """Compare every row, crop, record, snapshot and index position, and measure recall@10.

    Without an index the newest sound snapshot stands for it. Raises: StoreUnavailableError.
    """
    problems = files.store.check()
    table, pending, half_erased = EntryTable(), dict[int, str](), list[str]()
    try:
        files.store.head()
        pending = files.store.pending()
        table = table_of(files)
        snapshot_problems, newest = _check_snapshots(files)
        # Whoever was killed while it overwrote a snapshot left it so; the next start removes it.
        (half_erased if pending else problems).extend(snapshot_problems)
        index = index if index is not None else newest
        problems += _check_rows(files, table, pending, index, on_step)
        if files.other is not None:
            problems += _check_erasures(files.other.vectors, table, pending)
    except GalleryCorruptError as error:
        problems.append(str(error))
    crops = 0
    for entry in table.entries():
        found = _check_crop(files, entry)
        crops += entry.has_crop and not found
        problems += found
        on_step(1)
    return VerificationReport(
        entries=len(table),
        rows=table.rows,
        crops=crops,
        index_positions=0 if index is None else len(index.stage),
        recall_at_10=None if index is None or problems else measured(index).value,
        problems=problems,
        unfinished=[*half_erased, *_unfinished(files, table, pending)]
        if len(table) or not problems
        else [],
    )


def _check_rows(
    files: GalleryFiles,
    table: EntryTable,
    pending: dict[int, str],
    index: LocalIndex | None,
    on_step: OnStep,
) -> list[str]:
    problems: list[str] = []
    for block in files.vectors.scan(0, table.rows):
        damaged = damaged_entries(block, table)
        problems += [f"{files.vectors.path}: {text}" for text in damaged.values()]
        live = table.positions_of(block.rows) >= 0
        problems += _unerased(files.vectors, block.rows[~live], pending)
        if index is not None:
            sound = live & ~np.isin(block.rows, [*damaged, *table.left_out])
            problems += _check_positions(block, sound, table, index)
        on_step(len(block.rows))
    return problems


def _check_erasures(file: VectorFile, table: EntryTable, pending: dict[int, str]) -> list[str]:
    """Look for deleted entries in the vectors of the other generation; it may lack live ones."""
    rows = np.arange(min(table.rows, file.whole_rows()), dtype=np.int64)
    return _unerased(file, rows[table.positions_of(rows) < 0], pending)


def _unerased(file: VectorFile, dead: NDArray[np.int64], pending: dict[int, str]) -> list[str]:
    return [
        f"{file.path}: row {row} was deleted, but not erased"
        for row in dead.tolist()
        if row not in pending and not file.is_erased(row)
    ]


def _check_positions(
    block: RowBlock, sound: NDArray[np.bool_], table: EntryTable, index: LocalIndex
) -> list[str]:
    """Compare what the index has of rows with their records and vectors."""
    rows = block.rows[sound]
    positions = index.table.positions_of(rows)
    held = positions >= 0
    codes = index.stage.codes_at(positions[held])
    differs = ~index.stage.quantizer.could_be(codes, block.vectors[sound][held])
    return [
        *(
            f"index position of row {row} differs from the vector file"
            for row in rows[held][differs]
        ),
        *(f"row {row} is missing from the index" for row in rows[~held]),
        *(
            f"row {row} in memory differs from its record"
            for row in rows[held].tolist()
            if index.table.find(row) != table.find(row)
        ),
    ]


def _check_crop(files: GalleryFiles, entry: GalleryEntry) -> list[str]:
    if not entry.has_crop:
        return []
    place = files.crops.place(entry.row)
    try:
        found = hashlib.sha256(files.crops.read(entry.row)).hexdigest()
    except OSError as error:
        return [f"{place}: the crop of entry {entry.entry_id!r} cannot be read: {error.strerror}"]
    if found != entry.crop_sha256:
        return [f"{place}: the crop of entry {entry.entry_id!r} fails its checksum"]
    return []


def _check_snapshots(files: GalleryFiles) -> tuple[list[str], LocalIndex | None]:
    """Return what is wrong with the snapshots, and the newest as a start would have it."""
    problems: list[str] = []
    newest: LocalIndex | None = None
    for manifest in files.snapshots.manifests():
        try:
            snapshot = files.snapshots.read(manifest)
            with closing(SnapshotData(snapshot)) as data:
                if damaged := data.damaged_blocks():
                    problems.append(f"{snapshot.data_path}: {damaged} blocks fail their checksum")
                elif newest is None:
                    newest = replayed(files, snapshot, data)
        except GalleryCorruptError as error:
            problems.append(str(error))
    return problems, newest


def _unfinished(files: GalleryFiles, table: EntryTable, pending: dict[int, str]) -> list[str]:
    found: list[str] = []
    tail = files.vectors.whole_rows() - table.rows
    if tail > 0:
        found.append(f"{files.vectors.path}: {tail} rows that were never committed")
    live = {entry.row for entry in table.entries()}
    strays = files.crops.rows() - live - pending.keys()
    if strays:
        found.append(f"{len(strays)} crops without a record, of rows {sorted(strays)[:5]}")
    if pending:
        found.append(f"{len(pending)} deletions still to be carried out in the files")
    return found
