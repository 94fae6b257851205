"""Reads everything a gallery holds and says what disagrees. Changes nothing."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gallery_index.errors import GalleryCorruptError
from gallery_index.opening import (
    GalleryFiles,
    damaged_rows,
    open_files,
    read_identity,
    table_of,
)
from gallery_index.records import GalleryEntry, VerificationReport
from gallery_index.store import StoreState
from gallery_index.vector_file import RowBlock
from gallery_index.vector_index import VectorIndex

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
    files: GalleryFiles, index: VectorIndex | None = None, *, on_step: OnStep = _ignore
) -> VerificationReport:
    """Compare every row, crop, record, snapshot and index position.

    Without an index the newest sound snapshot stands for it. Raises: StoreUnavailableError.
    """
    problems = files.store.check()
    state = StoreState([], 0, {})
    try:
        state = files.store.load()
        snapshot_problems, newest = _check_snapshots(files, state.next_row)
        index = index if index is not None else newest
        problems += snapshot_problems
        problems += _check_rows(files, state, index, on_step)
    except GalleryCorruptError as error:
        problems.append(str(error))
    for entry in state.entries:
        problems += _check_crop(files, entry)
        on_step(1)
    return VerificationReport(
        entries=len(state.entries),
        rows=state.next_row,
        crops=sum(files.crops.path(entry.entry_id).exists() for entry in state.entries),
        index_positions=0 if index is None else len(index),
        problems=problems,
        unfinished=_unfinished(files, state) if state.entries or not problems else [],
    )


def _check_rows(
    files: GalleryFiles, state: StoreState, index: VectorIndex | None, on_step: OnStep
) -> list[str]:
    table = table_of(state, files.identity)
    problems: list[str] = []
    for block in files.vectors.scan(0, state.next_row):
        damaged = damaged_rows(block, table)
        problems += [f"{files.vectors.path}: {text}" for text in damaged.values()]
        problems += [
            f"{files.vectors.path}: row {row} was deleted, but not erased"
            for row in block.rows.tolist()
            if table.find(row) is None and row not in state.pending
            if not files.vectors.is_erased(row)
        ]
        if index is not None:
            problems += _check_positions(block, state, damaged, index)
        on_step(len(block.rows))
    return problems


def _check_positions(
    block: RowBlock, state: StoreState, damaged: dict[int, str], index: VectorIndex
) -> list[str]:
    held = block.rows < len(index)
    in_index = index.vectors(block.rows[held]).view(np.uint16)
    in_file = block.vectors[held].view(np.uint16)
    differs = block.rows[held][(in_index != in_file).any(axis=1)].tolist()
    return [
        f"index position {row} differs from row {row} of the vector file"
        for row in differs
        if row not in damaged and row not in state.pending
    ]


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
