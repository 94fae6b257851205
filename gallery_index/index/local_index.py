"""What is searched, in this process: the table, the first stage, and the vectors they stand for.

Positions of table and first stage are the same. Everything here is derived from the metadata store
and the vector file. One thread at a time changes it.
"""

import logging
import random
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gallery_index.candidates import Candidates, StoredVectors
from gallery_index.errors import GalleryCorruptError
from gallery_index.files.vector_file import RowBlock, VectorFile
from gallery_index.index.first_stage import FirstStage
from gallery_index.index.quantizers import ExactFp16
from gallery_index.read_write_lock import ReadWriteLock
from gallery_index.records import EntryFilter
from gallery_index.search_index import Change, Erase, Operation, Put
from gallery_index.table.entry_table import EntryTable

_LOG = logging.getLogger(__name__)
SAMPLE_ROWS = 2048
_ROWS_AT_ONCE = 256


class LocalIndex:
    """A `SearchIndex` in this process, over one vector file.

    `view` is held by whoever reads several things that must belong together. `beside` is a first
    stage over vectors of another model: codes of the first positions of the table, ready to be
    searched when it has all of them.
    """

    def __init__(self, table: EntryTable, stage: FirstStage, file: VectorFile) -> None:
        self.table = table
        self.stage = stage
        self.file = file
        self.beside: FirstStage | None = None
        self.view = ReadWriteLock()
        self.damaged: set[int] = set()

    def apply(self, operations: Sequence[Operation], seq: int) -> None:
        """Take in changes that are committed; searches wait, but for no disk and no arithmetic."""
        new = [operation for operation in operations if isinstance(operation, Put)]
        codes = self.stage.quantizer.encode(np.stack([put.vector for put in new])) if new else None
        with self.view.writing():
            self._erase([op.row for op in operations if isinstance(op, Erase)])
            for operation in operations:
                if isinstance(operation, Change):
                    self.table.put(operation.entry)
            if codes is not None:
                self.table.put_many([put.entry for put in new])
                self.stage.add_codes(codes)

    def _erase(self, rows: Sequence[int]) -> None:
        """Forget entries; nothing of them stays in memory but their places."""
        positions = self.table.positions_of(np.array(rows, np.int64))
        positions = positions[positions >= 0]
        self.stage.erase(positions)
        if self.beside is not None:
            self.beside.erase(positions[positions < len(self.beside)])
        for row in rows:
            if (entry := self.table.find(row)) is not None:
                self.table.remove(entry)
            self.damaged.discard(row)

    def compact(self) -> None:
        """Drop dead positions; the caller keeps writers away."""
        table, kept = self.table.compacted()
        stage, beside = self.stage.kept(kept), self.beside
        if beside is not None:
            beside = beside.kept(kept[kept < len(beside)])
        with self.view.writing():
            self.table, self.stage, self.beside = table, stage, beside

    def swap_stage(self, stage: FirstStage) -> None:
        """Search another first stage from now on; it has the positions of the table."""
        assert len(stage) == self.table.positions
        with self.view.writing():
            self.stage = stage

    def candidates(
        self, query: NDArray[np.float32], n: int, filter: EntryFilter, *, before: int | None = None
    ) -> Candidates:
        """Return up to `n` entries that match, the most similar first by their codes.

        `before` leaves out the positions from there on.
        """
        mask = self.table.searchable(filter)
        if before is not None and before < self.table.positions:
            mask = np.ones(self.table.positions, np.bool_) if mask is None else mask
            mask[before:] = False
        total = self.table.positions if mask is None else int(np.count_nonzero(mask))
        positions, estimates = self.stage.candidates(query, min(n, total), mask)
        return Candidates(
            rows=self.table.rows_of(positions),
            estimates=estimates,
            persons=self.table.person_codes(positions).astype(np.int64),
            total=total,
            margin=self.stage.margin(query),
        )

    def random_rows(self, n: int) -> NDArray[np.int64]:
        """Return the rows of the live entries with a vector at `n` random places, ascending."""
        draw = random.sample(range(self.table.positions), min(n, self.table.positions))
        rows = self.table.rows_of(np.array(sorted(draw), np.int64))
        live = self.table.positions_of(rows) >= 0
        return rows[live & ~np.isin(rows, list(self.table.left_out))]

    def vectors(self, rows: NDArray[np.int64]) -> StoredVectors:
        """Read rows. What fails its checksum is remembered and logged once.

        It is answered from memory while that has the very vectors, and else not trusted.
        """
        block = self.file.read(rows)
        sound = np.ones(len(rows), np.bool_)
        for place, damage in block.damage.items():
            row = int(rows[place])
            if row not in self.damaged:
                self.damaged.add(row)
                _LOG.error("%s: row %d %s; ranked by its code", self.file.path, row, damage)
            if isinstance(self.stage.quantizer, ExactFp16):
                position = self.table.positions_of(rows[place : place + 1])
                block.vectors[place] = self.stage.codes_at(position).view(np.float16)[0]
            else:
                sound[place] = False
        return StoredVectors(block.vectors, sound)

    def live_vectors(self, rows: NDArray[np.int64]) -> StoredVectors:
        """Read rows that may have been deleted meanwhile, or left out: these are not sound."""
        table = self.table
        searched = table.positions_of(rows) >= 0
        searched &= ~np.isin(rows, np.array(sorted(table.left_out), np.int64))
        block = self.vectors(rows[searched])
        values = np.zeros((len(rows), block.values.shape[1]), np.float16)
        values[searched] = block.values
        sound = np.zeros(len(rows), np.bool_)
        sound[searched] = block.sound
        return StoredVectors(values, sound)


def live_positions(table: EntryTable, start: int = 0) -> NDArray[np.int64]:
    """Return the live positions of a table that have a vector, from `start` on, ascending."""
    mask = table.searchable(EntryFilter())
    if mask is None:
        return np.arange(start, table.positions)
    return np.flatnonzero(mask[start:]) + start


def row_blocks(
    table: EntryTable, file: VectorFile, positions: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], RowBlock]]:
    """Read the rows of live positions (ascending), some megabytes at a time."""
    for start in range(0, len(positions), _ROWS_AT_ONCE):
        some = positions[start : start + _ROWS_AT_ONCE]
        yield some, file.read(table.rows_of(some))


def sample_rows(table: EntryTable) -> NDArray[np.int64]:
    """Return the rows of up to `SAMPLE_ROWS` live entries, drawn at random, ascending."""
    positions = live_positions(table)
    if len(positions) > SAMPLE_ROWS:
        draw = np.random.default_rng(len(positions))
        positions = np.sort(draw.choice(positions, SAMPLE_ROWS, replace=False))
    return table.rows_of(positions)


def sound_vectors(file: VectorFile, rows: NDArray[np.int64]) -> NDArray[np.float16]:
    """Return the vectors (n, D) of those rows that can be read; not of rows erased meanwhile."""
    block = file.read(rows)
    return block.vectors[block.sound]


def encode_positions(table: EntryTable, file: VectorFile, stage: FirstStage) -> None:
    """Extend a first stage to all positions of a table, from the vector file.

    Raises: GalleryCorruptError naming the live rows that fail their checksum.
    """
    for positions, block in row_blocks(table, file, live_positions(table, len(stage))):
        problems = damaged_entries(block, table)
        if problems:
            raise unreadable(file, problems, len(block.rows))
        add_at(stage, positions, stage.quantizer.encode(block.vectors))
    pad(stage, table.positions)


def add_at(stage: FirstStage, positions: NDArray[np.int64], codes: NDArray[np.uint8]) -> None:
    """Add codes at these ascending positions, all at or beyond the end; dead ones between are 0."""
    if not len(positions):
        return
    first = len(stage)
    spread = np.zeros((int(positions[-1]) + 1 - first, codes.shape[1]), np.uint8)
    spread[positions - first] = codes
    stage.add_codes(spread)


def pad(stage: FirstStage, end: int) -> None:
    """Add dead positions up to `end`."""
    if len(stage) < end:
        stage.add_codes(np.zeros((end - len(stage), stage.quantizer.code_size), np.uint8))


def damaged_entries(block: RowBlock, table: EntryTable) -> dict[int, str]:
    """Return what is wrong with the live rows of a block, by row."""
    problems = {}
    ids = block.entry_ids()
    for place, row in enumerate(block.rows.tolist()):
        entry_id = table.id_of(row)
        if entry_id is None or row in table.left_out:
            continue
        damage = block.damage.get(place)
        if damage is None and ids[place] != entry_id:
            damage = f"holds entry {ids[place]!r}"
        if damage is not None:
            problems[row] = f"row {row} (entry {entry_id!r}) {damage}"
    return problems


def unreadable(file: VectorFile, problems: dict[int, str], read: int) -> GalleryCorruptError:
    """Return the error that names rows which cannot be read."""
    return GalleryCorruptError(
        f"{file.path}: {'; '.join(list(problems.values())[:5])}"
        f" ({len(problems)} of {read} rows read): restore the file from a backup;"
        " `mpanet gallery verify` lists them all"
    )
