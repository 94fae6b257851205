"""What keeps an index good: snapshots, compaction, training, and the measure of its own recall.

Owns how each is done while searches go on, and when it is due by the policy.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import GalleryError, StoreUnavailableError
from gallery_index.first_stage import FirstStage
from gallery_index.local_index import (
    add_at,
    damaged_entries,
    encode_positions,
    live_positions,
    row_blocks,
    sample_of,
    unreadable,
)
from gallery_index.opening import GalleryFiles
from gallery_index.quantizer_choice import choose, finer
from gallery_index.quantizers import ExactFp16, Quantizer
from gallery_index.recall_measure import measured
from gallery_index.recall_record import Recall
from gallery_index.recovery import GalleryMemory
from gallery_index.snapshots import QUANTIZER, RECALL, begin_snapshot
from gallery_index.upkeep import UpkeepPolicy

_LOG = logging.getLogger(__name__)
_ROWS_AT_ONCE = 256

Writing = Callable[[], AbstractContextManager[None]]


class IndexCare:
    """Maintains the memory of one gallery and its snapshots.

    `writing` keeps writers away. `erasing` is held by whoever erases: what an erasure overwrites
    must not be on its way into a snapshot.
    """

    def __init__(
        self, files: GalleryFiles, memory: GalleryMemory, policy: UpkeepPolicy, writing: Writing
    ) -> None:
        self._files = files
        self._memory = memory
        self._policy = policy
        self._writing = writing
        self._shaping = Lock()
        self.erasing = Lock()

    def run_due(self) -> None:
        """Do what is due. Raises: GalleryError for what could not be done."""
        if self._training_is_due():
            self.train_anew()
        if self._recall_is_due():
            self.reach_recall()
        if self._compaction_is_due():
            self.compact()
        if self._snapshot_is_due():
            self.snapshot()

    def snapshot(self) -> None:
        """Write what memory holds beside the vectors, so that the next opening is quick.

        Writes wait while the columns are written, erasures for all of it, searches never.
        Raises: StorageFullError, StoreUnavailableError.
        """
        with self.erasing:
            with self._writing():
                head = self._files.store.last_head
                if head == self._memory.snapshot_head and not self._memory.reshaped:
                    return
                index = self._memory.index
                stage, count = index.stage, len(index.stage)
                sections = {
                    **index.table.sections(),
                    QUANTIZER: np.frombuffer(stage.quantizer.to_bytes(), np.uint8),
                    RECALL: self._memory.recall.packed(),
                }
                writer = begin_snapshot(self._files.snapshots, head, sections)
            try:
                writer.add_codes(count, stage.quantizer.code_size, stage.codes)
                writer.finish()
            except GalleryError:
                writer.abandon()
                raise
            self._memory.snapshot_head, self._memory.reshaped = head, False
            self._memory.snapshot_at = time.time()
            oldest = self._files.snapshots.let_go()
        with suppress(StoreUnavailableError), self._writing():
            self._files.store.forget_history(oldest)

    def compact(self) -> None:
        """Drop the places of erased entries from memory."""
        with self._shaping, self._writing():
            self._memory.index.compact()
            self._memory.reshaped = True

    def train_anew(self) -> None:
        """Choose the first stage anew, by size and spectrum. Raises: GalleryCorruptError."""
        entries = len(self._memory.index.table)
        chosen = choose(self._sample(), entries, self._policy.exact_below)
        self._memory.stays_exact = isinstance(chosen, ExactFp16)
        self.train(chosen)

    def train(self, quantizer: Quantizer) -> None:
        """Code every vector anew, beside the first stage that is searched, then change over.

        Raises: GalleryCorruptError naming live rows that fail their checksum; nothing changes then.
        """
        with self._shaping:
            index = self._memory.index
            stage = FirstStage(quantizer)
            with index.view.reading():
                positions = live_positions(index.table)
                rows = index.table.rows_of(positions)
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                some = slice(start, start + _ROWS_AT_ONCE)
                add_at(stage, positions[some], self._codes(quantizer, rows[some]))
            with self._writing():
                encode_positions(index.table, self._files.vectors, stage)
                dead = np.setdiff1d(positions, live_positions(index.table), assume_unique=True)
                stage.erase(dead)
                index.swap_stage(stage)
                self._memory.reshaped = True
                self._memory.recall = Recall()
        _LOG.info("first stage %s over %d entries", quantizer.kind, len(index.table))

    def reach_recall(self) -> None:
        """Measure recall@10; below the target, build the first stage finer and measure again."""
        while True:
            recall = self.measure_recall()
            assert recall.value is not None
            _LOG.info("recall@10 %.4f over %d entries", recall.value, recall.entries)
            if recall.value >= self._policy.recall_target:
                return
            quantizer = finer(self._memory.index.stage.quantizer, self._sample())
            if quantizer is None:
                _LOG.error("recall@10 %.4f although every entry is scored exactly", recall.value)
                return
            self._memory.stays_exact = isinstance(quantizer, ExactFp16)
            self.train(quantizer)

    def measure_recall(self) -> Recall:
        """Measure recall@10 against exact search on a sample of the entries."""
        with self._shaping:
            recall = measured(self._memory.index)
            self._memory.recall = recall
        return recall

    def mend(self) -> int:
        """Write damaged rows anew where memory has them exactly; returns how many.

        Raises: StorageFullError, GalleryError.
        """
        mended = 0
        with self._writing():
            index = self._memory.index
            exact = isinstance(index.stage.quantizer, ExactFp16)
            for positions, block in row_blocks(
                index.table, index.file, live_positions(index.table)
            ):
                problems = damaged_entries(block, index.table)
                if problems and not exact:
                    raise unreadable(index.file, problems, len(block.rows))
                for position, row in zip(positions.tolist(), block.rows.tolist(), strict=True):
                    if row in problems:
                        self._mend_row(position, row)
                        mended += 1
            index.damaged.clear()
        return mended

    def _mend_row(self, position: int, row: int) -> None:
        index = self._memory.index
        vector = index.stage.codes(position, position + 1).view(np.float16)
        index.file.append(row, [index.table.entry_at(position).entry_id], vector)
        _LOG.error("mended row %d of %s", row, index.file.path)

    def _codes(self, quantizer: Quantizer, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the codes of rows; those erased meanwhile are to be erased by the caller."""
        block = self._files.vectors.read(rows)
        if block.damage:
            index = self._memory.index
            with index.view.reading():
                problems = damaged_entries(block, index.table)
            if problems:
                raise unreadable(self._files.vectors, problems, len(rows))
        return quantizer.encode(block.vectors)

    def _sample(self) -> NDArray[np.float16]:
        index = self._memory.index
        with index.view.reading():
            return sample_of(self._files.vectors, index.table)

    def _training_is_due(self) -> bool:
        index = self._memory.index
        return (
            isinstance(index.stage.quantizer, ExactFp16)
            and len(index.table) >= self._policy.exact_below
            and not self._memory.stays_exact
        )

    def _recall_is_due(self) -> bool:
        recall, entries = self._memory.recall, len(self._memory.index.table)
        if not entries:
            return False
        return recall.value is None or entries >= self._policy.recall_growth * recall.entries

    def _compaction_is_due(self) -> bool:
        table = self._memory.index.table
        dead = table.positions - len(table)
        return dead >= max(self._policy.dead_places, self._policy.dead_share * table.positions)

    def _snapshot_is_due(self) -> bool:
        head, last = self._files.store.last_head, self._memory.snapshot_head
        if head == last and not self._memory.reshaped:
            return False
        if (
            last is None
            or self._memory.reshaped
            or head.next_row - last.next_row >= self._policy.snapshot_rows
        ):
            return True
        return time.time() - (self._memory.snapshot_at or 0) >= self._policy.snapshot_age_s
