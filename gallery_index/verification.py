"""Reads everything a gallery holds and says what disagrees. Changes nothing."""

import hashlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from gallery_index.entry_table import EntryTable
from gallery_index.errors import GalleryCorruptError
from gallery_index.exact_search import Ask, exact_search
from gallery_index.local_index import (
    LocalIndex,
    damaged_entries,
    live_positions,
    row_blocks,
)
from gallery_index.opening import GalleryFiles, open_files, read_identity
from gallery_index.records import EntryFilter, GalleryEntry, VerificationReport
from gallery_index.recovery import as_it_was, replayed, table_of
from gallery_index.snapshots import SnapshotData
from gallery_index.vector_file import RowBlock

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
    identity = read_identity(directory)
    files = open_files(
        directory,
        model_id=identity.model_id,
        embedding_dim=identity.embedding_dim,
        redis_url=redis_url,
        create=False,
    )
    try:
        return verify_files(files, on_step=on_step)
    finally:
        files.close()


def verify_files(
    files: GalleryFiles, index: LocalIndex | None = None, *, on_step: OnStep = _ignore
) -> VerificationReport:
    """Compare every row, crop, record, snapshot and index position.

    Without an index the newest sound snapshot stands for it. Raises: StoreUnavailableError.
    """
    problems = files.store.check()
    table, pending, recall = EntryTable(), dict[int, str](), None
    try:
        files.store.head()
        pending = files.store.pending()
        table = table_of(files)
        snapshot_problems, newest = _check_snapshots(files)
        problems += snapshot_problems
        index = index if index is not None else newest
        measure = None if index is None else RecallMeasure.of(index)
        problems += _check_rows(files, table, pending, index, on_step)
    except GalleryCorruptError as error:
        problems.append(str(error))
    crops = 0
    for entry in table.entries():
        found = _check_crop(files, entry)
        crops += not found
        problems += found
        on_step(1)
    return VerificationReport(
        entries=len(table),
        rows=table.rows,
        crops=crops,
        index_positions=0 if index is None else len(index.stage),
        problems=problems,
        unfinished=_unfinished(files, table, pending) if len(table) or not problems else [],
    )


def _check_crop(files: GalleryFiles, entry: GalleryEntry) -> list[str]:
    path = files.crops.path(entry.entry_id)
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return [f"{path}: the crop of entry {entry.entry_id!r} cannot be read: {error.strerror}"]
    if found != entry.crop_sha256:
        return [f"{path}: the crop of entry {entry.entry_id!r} fails its checksum"]
    return []


def _check_snapshots(files: GalleryFiles, rows: int) -> tuple[list[str], VectorIndex | None]:
    problems: list[str] = []
    newest: VectorIndex | None = None
    for manifest in files.snapshots.manifests():
        try:
            if newest is None:
                newest = files.snapshots.load(manifest, rows)
            else:
                files.snapshots.check(manifest, rows)
        except GalleryCorruptError as error:
            problems.append(str(error))
    return problems, newest


def _unfinished(files: GalleryFiles, state: StoreState) -> list[str]:
    found: list[str] = []
    tail = files.vectors.whole_rows() - state.next_row
    if tail > 0:
        found.append(f"{files.vectors.path}: {tail} rows that were never committed")
    strays = files.crops.strays(entry.entry_id for entry in state.entries)
    if strays:
        found.append(f"{files.crops.directory}: {len(strays)} crops without a record")
    if state.pending:
        found.append(f"{len(state.pending)} deletions still to be carried out in the files")
    return found
