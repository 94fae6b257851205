"""Making the other generation, switching to it, going back, dropping it.

Owns the order in which files and memory change, and who is kept away meanwhile. Locks are taken in
this order: the generations, the shape of the index, snapshots and erasures, writes, the view of
searches. What embeds and when is the caller's.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from gallery_index.candidates import StoredVectors
from gallery_index.errors import (
    GalleryCorruptError,
    GalleryError,
    ModelChangedError,
    RefreshIncompleteError,
    RefreshStateError,
)
from gallery_index.files.crops import read_checked
from gallery_index.generations.generation import Generation
from gallery_index.generations.pointer import (
    Generations,
    new_folder,
    remove_others,
)
from gallery_index.index.first_stage import FirstStage
from gallery_index.index.local_index import add_at, pad, sample_rows, sound_vectors
from gallery_index.index.quantizer_choice import choose
from gallery_index.index.recall_record import Recall
from gallery_index.index_care import IndexCare
from gallery_index.opening import GalleryFiles
from gallery_index.records import EntryFilter, GalleryEntry, OtherGeneration
from gallery_index.recovery import GalleryMemory
from gallery_index.refreshable import Check, EmbedCrops, nothing
from gallery_index.table.entry_table import EntryTable
from gallery_index.validation import check_model_id, normalised

_LOG = logging.getLogger(__name__)
_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class _Look:
    """Live rows up to before `end`, as the other generation has them."""

    end: int
    filled: set[int]
    empty: set[int]


Writing = Callable[[], AbstractContextManager[None]]


class Refresh:
    """The generations of one open gallery. Safe to call from several threads."""

    def __init__(
        self, files: GalleryFiles, memory: GalleryMemory, care: IndexCare, writing: Writing
    ) -> None:
        """`writing` keeps writers away."""
        self._files = files
        self._memory = memory
        self._care = care
        self._writing = writing
        self._using = RLock()

    def other(self) -> OtherGeneration | None:
        """Return what there is beside the generation that is searched."""
        other, table = self._files.other, self._memory.index.table
        if other is None:
            return None
        with self._memory.index.view.reading():
            unfilled = table.live_from(other.filled) - other.ahead
            return OtherGeneration(
                model_id=other.vectors.identity.model_id,
                embedding_dim=other.vectors.identity.embedding_dim,
                kept=self._files.pointer.now.kept,
                missing=max(0, unfilled) + len(other.holes),
                left_out=len(other.left_out),
                bytes=other.bytes,
            )

    def begin(self, model_id: str, embedding_dim: int) -> None:
        """Make the other generation of this model, or go on with it. Raises: RefreshStateError."""
        check_model_id(model_id)
        with self._using, self._writing():
            files = self._files
            if model_id == files.identity.model_id:
                raise RefreshStateError(f"the gallery is of model {model_id} already")
            if files.other is not None:
                self._check_same(files.other, model_id, embedding_dim)
                return
            identity = replace(files.identity, model_id=model_id, embedding_dim=embedding_dim)
            folder = new_folder(files.directory)
            generation = Generation.create(files.directory / folder, identity)
            try:
                files.pointer.write(Generations(files.pointer.now.active, folder))
            except BaseException:
                generation.close()
                raise
            files.other = generation

    def missing(self, limit: int) -> list[GalleryEntry]:
        """Return the first live entries with a crop that have no vector in the other generation."""
        with self._using:
            found: list[GalleryEntry] = []
            start = self._required().filled
            while len(found) < limit:
                look = self._look(start, min(limit, _ROWS_AT_ONCE))
                if look is None:
                    break
                with self._writing():
                    found += self._take_in(look)
                start = look.end
            return found[:limit]

    def _look(self, start: int, count: int) -> "_Look | None":
        """Read live rows from `start` on; None: there are no more."""
        other, index = self._required(), self._memory.index
        with index.view.reading():
            rows = index.table.live_rows(start, count)
            if not len(rows):
                return None
            unknown = np.setdiff1d(rows, list(other.left_out), assume_unique=True)
            ids = [index.table.id_of(row) for row in unknown.tolist()]
        empty = other.empty(unknown, ids)
        return _Look(int(rows[-1]) + 1, set(unknown.tolist()) - empty, empty)

    def _take_in(self, look: "_Look") -> list[GalleryEntry]:
        """Remember what was found; returns the entries to embed. Writers are kept away."""
        other, table = self._required(), self._memory.index.table
        empty = [entry for row in sorted(look.empty) if (entry := table.find(row)) is not None]
        other.found(look.filled, {entry.row for entry in empty if not entry.has_crop})
        other.advance(table)
        return [entry for entry in empty if entry.has_crop]

    def lost(self) -> list[GalleryEntry]:
        """Return the entries that were found to have no vector there, and no crop."""
        with self._using, self._memory.index.view.reading():
            table = self._memory.index.table
            found = map(table.find, sorted(self._required().holes))
            return [entry for entry in found if entry is not None]

    def fill(self, vectors: Mapping[int, NDArray[np.float32]], model_id: str | None = None) -> int:
        """Give the other generation vectors (D,) by row; returns how many rows were alive."""
        with self._using, self._writing():
            found = self._required().vectors.identity.model_id
            if model_id not in (None, found):
                raise RefreshStateError(f"the other generation is of {found}, not {model_id}")
            return self._fill(vectors)

    def _fill(self, vectors: Mapping[int, NDArray[np.float32]]) -> int:
        other, index = self._required(), self._memory.index
        dim = other.vectors.identity.embedding_dim
        alive = {
            row: normalised(vector, dim, f"vector of row {row}").astype(np.float16)
            for row, vector in vectors.items()
            if index.table.id_of(row) is not None
        }
        if alive:
            other.put(alive, index.table)
            self._renew(alive)
            self._extend(other)
        return len(alive)

    def _renew(self, vectors: Mapping[int, NDArray[np.float16]]) -> None:
        """Put the codes of rows that were passed over before into the stage beside."""
        table, stage = self._memory.index.table, self._memory.index.beside
        if stage is None:
            return
        rows = np.array(sorted(vectors), np.int64)
        positions = table.positions_of(rows)
        there = (positions >= 0) & (positions < len(stage))
        if there.any():
            given = np.stack([vectors[row] for row in rows[there].tolist()])
            stage.replace(positions[there], stage.quantizer.encode(given))

    def vectors(self, rows: NDArray[np.int64], model_id: str) -> StoredVectors:
        """Read vectors of the other generation. Raises: ModelChangedError: it is of another."""
        with self._memory.index.view.reading():
            other = self._files.other
            if other is None or other.vectors.identity.model_id != model_id:
                raise ModelChangedError(model_id, self._files.identity.model_id)
            block = other.vectors.read(rows)
            return StoredVectors(block.vectors, block.sound)

    def leave_out(self, rows: Sequence[int]) -> int:
        """Leave entries without a vector in the other generation; returns how many there were."""
        with self._using, self._writing():
            other, table = self._required(), self._memory.index.table
            alive = {row for row in rows if table.id_of(row) is not None}
            if alive:
                other.leave_out(alive)
                other.advance(table)
            return len(alive)

    def prepare_switch(self, check: Check = nothing) -> None:
        """Build the other generation's first stage, if it has none; go on while others write."""
        with self._using:
            if self._memory.index.beside is None:
                with self._care.shaping:
                    self._build(self._required(), check)

    def _build(self, other: Generation, check: Check) -> None:
        index, file = self._memory.index, other.vectors
        with index.view.reading():
            table = index.table
            positions = _alive(table)
            positions = positions[table.rows_of(positions) < other.filled]
            rows = table.rows_of(positions)
            sample = sample_rows(table)
        stage = FirstStage(
            choose(sound_vectors(file, sample), len(rows), self._care.policy.exact_below)
        )
        holes: set[int] = set()
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            check()
            self._care.pause()
            some = slice(start, start + _ROWS_AT_ONCE)
            block = file.read(rows[some])
            damaged = {int(row) for row in block.rows[~block.sound]} - other.left_out
            codes = stage.quantizer.encode(block.vectors)
            codes[~block.sound] = 0
            add_at(stage, positions[some], codes)
            holes |= damaged
        with self._writing():
            holes = {row for row in holes if table.id_of(row) is not None} - other.holes
            if holes:  # damaged on the disk: to be embedded again before anything is built
                other.reopen(holes)
                return
            pad(stage, len(positions) and int(positions[-1]) + 1)
            stage.erase(np.setdiff1d(positions, _alive(table), assume_unique=True))
            index.beside = stage
            self._extend(other)

    def _extend(self, other: Generation) -> None:
        """Bring the stage beside up to the watermark; writers are kept away."""
        index = self._memory.index
        table, stage = index.table, index.beside
        if stage is None:
            return
        positions = _alive(table, len(stage))
        rows = table.rows_of(positions)
        positions, rows = positions[rows < other.filled], rows[rows < other.filled]
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            block = other.vectors.read(rows[some])
            codes = stage.quantizer.encode(block.vectors)
            codes[~block.sound] = 0
            add_at(stage, positions[some], codes)

    def switch(self, embed: EmbedCrops) -> str:
        """Search the other generation from now on; returns its model id. See `Gallery.switch`."""
        with self._using:
            self.prepare_switch()
            if self._memory.index.beside is None:
                raise RefreshStateError("entries are missing yet: fill what is missing, then again")
            with self._care.shaping, self._care.erasing, self._writing():
                self._complete(self._required(), embed)
                self._swap(self._required())
            return self._files.identity.model_id

    def _complete(self, other: Generation, embed: EmbedCrops) -> None:
        """Embed what came in the last moment. Raises: RefreshIncompleteError."""
        index = self._memory.index
        start = other.filled
        while (look := self._look(start, _ROWS_AT_ONCE)) is not None:
            if entries := self._take_in(look):
                self._fill(self._embedded(entries, embed))
            start = look.end
        lost = [entry_id for row in sorted(other.holes) if (entry_id := index.table.id_of(row))]
        if lost:
            raise RefreshIncompleteError(lost)
        other.advance(index.table)
        self._extend(other)
        assert index.beside is not None
        pad(index.beside, index.table.positions)

    def _embedded(
        self, entries: Sequence[GalleryEntry], embed: EmbedCrops
    ) -> dict[int, NDArray[np.float32]]:
        crops, unsound = {}, []
        for entry in entries:
            try:
                crops[entry.row] = read_checked(self._files.crops, entry)
            except GalleryCorruptError:
                unsound.append(entry.entry_id)
        vectors = dict(zip(crops, embed(list(crops.values())), strict=True)) if crops else {}
        by_row = {entry.row: entry.entry_id for entry in entries}
        unsound += [by_row[row] for row, vector in vectors.items() if vector is None]
        if unsound:
            raise RefreshIncompleteError(unsound)
        return {row: vector for row, vector in vectors.items() if vector is not None}

    def _swap(self, other: Generation) -> None:
        """Change over: on the disk by one rename, then in memory while no search runs."""
        files, index = self._files, self._memory.index
        before = Generation(files.directory / files.pointer.now.active, files.vectors)
        before.left_out = set(files.left_out)
        before.filled = index.table.rows
        before.note()
        other.note()
        files.pointer.write(files.pointer.now.switched())
        stage, beside = index.stage, index.beside
        assert beside is not None
        assert len(beside) == index.table.positions
        with index.view.writing():
            files.vectors, files.snapshots, files.other = other.vectors, other.snapshots, before
            files.left_out = frozenset(other.left_out)
            index.file, index.stage, index.beside = other.vectors, beside, stage
            index.table.model_id, index.table.left_out = files.identity.model_id, files.left_out
            index.damaged.clear()
            memory = self._memory
            memory.snapshot_head, memory.snapshot_at, memory.recall = None, None, Recall()
            memory.reshaped, memory.stays_exact = True, False
        self._remove_snapshots(before)
        _LOG.info("searched from now on: model %s", files.identity.model_id)

    def _remove_snapshots(self, before: Generation) -> None:
        """Nothing keeps them up to date any more."""
        try:
            before.snapshots.clear()
        except GalleryError as error:  # the next start does it
            _LOG.error("snapshots of the generation before: %s", error)

    def drop_other(self) -> int:
        """Remove the other generation; returns the bytes freed."""
        with self._using, self._care.shaping, self._writing():
            other, files = self._required(), self._files
            files.pointer.write(Generations(files.pointer.now.active))
            with self._memory.index.view.writing():
                files.other, self._memory.index.beside = None, None
            other.close()
            return remove_others(files.directory, files.pointer.now)

    def _required(self) -> Generation:
        if self._files.other is None:
            raise RefreshStateError("the gallery has no other generation than the one searched")
        return self._files.other

    def _check_same(self, other: Generation, model_id: str, embedding_dim: int) -> None:
        found = other.vectors.identity
        if (found.model_id, found.embedding_dim) != (model_id, embedding_dim):
            kind = "kept to go back to" if self._files.pointer.now.kept else "being made"
            raise RefreshStateError(
                f"a generation of model {found.model_id} ({found.embedding_dim} dimensions) is"
                f" {kind}: drop it first"
            )


def _alive(table: EntryTable, start: int = 0) -> NDArray[np.int64]:
    """Return the live positions from `start` on, those left out of the one searched too."""
    mask = table.mask(EntryFilter())
    if mask is None:
        return np.arange(start, table.positions)
    return np.flatnonzero(mask[start:]) + start
