"""What keeps an index good: snapshots, compaction, training, and the measure of its own recall.

Owns how each is done while searches go on, and when it is due by the policy.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from threading import Event, Lock, RLock

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import GalleryCorruptError, GalleryError, StoreUnavailableError
from gallery_index.index.first_stage import FirstStage
from gallery_index.index.local_index import (
    add_at,
    damaged_entries,
    encode_positions,
    live_positions,
    row_blocks,
    sample_rows,
    sound_vectors,
    unreadable,
)
from gallery_index.index.quantizer_choice import choose, finer
from gallery_index.index.quantizers import ExactFp16, Quantizer
from gallery_index.index.recall_measure import measured
from gallery_index.index.recall_record import Recall
from gallery_index.opening import GalleryFiles
from gallery_index.recovery import GalleryMemory
from gallery_index.snapshots.directory import KEPT, begin_snapshot
from gallery_index.snapshots.manifest import QUANTIZER, RECALL
from gallery_index.upkeep import UpkeepPolicy

_LOG = logging.getLogger(__name__)
_ROWS_AT_ONCE = 256
_PATIENCE_S = 60.0  # between snapshots that fail while something else is done
_OVERGROWN = 1.25  # times the size from which a compressed first stage is due

Writing = Callable[[], AbstractContextManager[None]]


class IndexCare:
    """Maintains the memory of one gallery and its snapshots.

    `writing` keeps writers away. `shaping` is held by whoever gives the index another form, or
    reads all of its vectors. `erasing` is held by whoever erases: what an erasure overwrites must
    not be on its way into a snapshot.
    """

    def __init__(
        self, files: GalleryFiles, memory: GalleryMemory, policy: UpkeepPolicy, writing: Writing
    ) -> None:
        self._files = files
        self._memory = memory
        self.policy = policy
        self._writing = writing
        self.shaping = RLock()
        self._keeping_up = Lock()
        self._stopping = Event()
        self._worked_since = 0.0
        self._try_again_at = 0.0
        self.erasing = Lock()

    def stop(self) -> None:
        """End training and measuring at their next block of rows, for good."""
        self._stopping.set()

    def run_due(self) -> None:
        """Do what is due. Raises: GalleryError for what could not be done."""
        if self._training_is_due():
            self.train_anew()
        if self._recall_is_due():
            self.reach_recall(gently=True)
        if self._compaction_is_due():
            self.compact()
        if self._snapshot_is_due():
            self.snapshot()

    def keep_up(self) -> None:
        """Train before more is added, where vectors have come faster than upkeep.

        Until then each is held whole in memory.
        """
        if not (self._training_is_due() and self._is_overgrown()):
            return
        with self._keeping_up:
            if self._training_is_due():
                try:
                    self.train_anew()
                except GalleryCorruptError as error:
                    self._memory.stays_exact = True
                    _LOG.error("the first stage stays exact, in memory: %s", error)

    def snapshot(self, kept: int = KEPT) -> None:
        """Write what memory holds beside the vectors, so that the next opening is quick.

        Writes wait while the columns are written, erasures for all of it, searches never. Of the
        snapshots `kept` stay.
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
                writer.add_codes(count, stage.quantizer.code_size, self._codes_of(stage))
                writer.finish()
            except BaseException:
                writer.abandon()
                raise
            self._memory.snapshot_head, self._memory.reshaped = head, False
            self._memory.snapshot_at = time.time()
            oldest = self._files.snapshots.let_go(kept)
        with suppress(StoreUnavailableError), self._writing():
            self._files.store.forget_history(oldest)

    def _codes_of(self, stage: FirstStage) -> Callable[[int, int], NDArray[np.uint8]]:
        """Return a way to copy codes while others write: they move as the first stage grows."""

        def codes(start: int, stop: int) -> NDArray[np.uint8]:
            with self._memory.index.view.reading():
                return stage.codes(start, stop)

        return codes

    def compact(self) -> None:
        """Drop the places of erased entries from memory."""
        with self.shaping, self._writing():
            self._memory.index.compact()
            self._memory.reshaped = True

    def train_anew(self) -> None:
        """Choose the first stage anew, by size and spectrum. Raises: GalleryCorruptError."""
        with self.shaping:
            entries = len(self._memory.index.table)
            chosen = choose(self._sample(), entries, self.policy.exact_below)
            self._memory.stays_exact = isinstance(chosen, ExactFp16)
            self.train(chosen)

    def train(self, quantizer: Quantizer) -> None:
        """Code every vector anew, beside the first stage that is searched, then change over.

        Raises: GalleryCorruptError naming live rows that fail their checksum; nothing changes then.
        """
        with self.shaping:
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

    def reach_recall(self, *, gently: bool = False) -> None:
        """Measure recall@10; below the target, build the first stage finer and measure again.

        `gently` leaves half of a core's time to others while measuring.
        """
        while True:
            recall = self.measure_recall(gently=gently)
            assert recall.value is not None
            _LOG.info("recall@10 %.4f over %d entries", recall.value, recall.entries)
            if recall.value >= self.policy.recall_target:
                return
            with self.shaping:
                quantizer = finer(self._memory.index.stage.quantizer, self._sample())
                if quantizer is None:
                    _LOG.error(
                        "recall@10 %.4f although every entry is scored exactly", recall.value
                    )
                    return
                self._memory.stays_exact = isinstance(quantizer, ExactFp16)
                self.train(quantizer)

    def measure_recall(self, *, gently: bool = False) -> Recall:
        """Measure recall@10 against exact search on a sample of the entries."""
        on_block = self._rest if gently else self.pause
        self._worked_since = time.monotonic()
        with self.shaping:
            recall = measured(self._memory.index, on_block)
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
        self.pause()
        block = self._files.vectors.read(rows)
        if block.damage:
            index = self._memory.index
            with index.view.reading():
                problems = damaged_entries(block, index.table)
            if problems:
                raise unreadable(self._files.vectors, problems, len(rows))
        return quantizer.encode(block.vectors)

    def _rest(self) -> None:
        """Wait as long as the work since the last rest took."""
        self._stopping.wait(time.monotonic() - self._worked_since)
        self.pause()
        self._worked_since = time.monotonic()

    def pause(self) -> None:
        """End what reads all vectors if the gallery closes; else write a snapshot that is due."""
        if self._stopping.is_set():
            raise GalleryError("the gallery is being closed")
        if time.monotonic() >= self._try_again_at and self._snapshot_is_due():
            try:
                self.snapshot()
            except GalleryError as error:
                _LOG.error("no snapshot: %s", error)
                self._try_again_at = time.monotonic() + _PATIENCE_S

    def _sample(self) -> NDArray[np.float16]:
        index = self._memory.index
        with index.view.reading():
            rows = sample_rows(index.table)
        return sound_vectors(self._files.vectors, rows)  # outside the lock: searches would wait

    def _training_is_due(self) -> bool:
        index = self._memory.index
        return (
            isinstance(index.stage.quantizer, ExactFp16)
            and len(index.table) >= self.policy.exact_below
            and not self._memory.stays_exact
        )

    def _is_overgrown(self) -> bool:
        return len(self._memory.index.table) >= _OVERGROWN * self.policy.exact_below

    def _recall_is_due(self) -> bool:
        recall, entries = self._memory.recall, len(self._memory.index.table)
        if not entries:
            return False
        return recall.value is None or entries >= self.policy.recall_growth * recall.entries

    def _compaction_is_due(self) -> bool:
        table = self._memory.index.table
        dead = table.positions - len(table)
        return dead >= max(self.policy.dead_places, self.policy.dead_share * table.positions)

    def _snapshot_is_due(self) -> bool:
        head, last = self._files.store.last_head, self._memory.snapshot_head
        if head == last and not self._memory.reshaped:
            return False
        if (
            last is None
            or self._memory.reshaped
            or head.next_row - last.next_row >= self.policy.snapshot_rows
        ):
            return True
        return time.time() - (self._memory.snapshot_at or 0) >= self.policy.snapshot_age_s
