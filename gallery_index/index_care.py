"""What keeps an index good: snapshots, compaction, training, and the measure of its own recall.

Owns how each is done while searches go on. When they are due is `upkeep`'s to say.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import GalleryCorruptError, GalleryError, StoreUnavailableError
from gallery_index.first_stage import FirstStage
from gallery_index.local_index import (
    add_at,
    damaged_entries,
    encode_positions,
    live_positions,
    sample_of,
    unreadable,
)
from gallery_index.opening import GalleryFiles
from gallery_index.quantizers import Quantizer, choose, finer
from gallery_index.recovery import GalleryMemory
from gallery_index.snapshots import write_snapshot

_LOG = logging.getLogger(__name__)
_ROWS_AT_ONCE = 256

Writing = Callable[[], AbstractContextManager[None]]


class IndexCare:
    """Maintains the memory of one gallery and its snapshots.

    `writing` keeps writers away. `erasing` is held by whoever erases: what an erasure overwrites
    must not be on its way into a snapshot.
    """

    def __init__(self, files: GalleryFiles, memory: GalleryMemory, writing: Writing) -> None:
        self._files = files
        self._memory = memory
        self._writing = writing
        self._shaping = Lock()
        self.erasing = Lock()

    def snapshot(self) -> None:
        """Write what memory holds beside the vectors, so that the next opening is quick.

        Writes wait while the columns are written, erasures for all of it, searches never.
        Raises: StorageFullError, StoreUnavailableError.
        """
        with self.erasing:
            with self._writing():
                head = self._files.store.last_head
                if head == self._memory.snapshot_head:
                    return
                index = self._memory.index
                stage, count = index.stage, len(index.stage)
                writer = write_snapshot(
                    self._files.snapshots,
                    head,
                    stage.quantizer.to_bytes(),
                    index.table.sections(),
                )
            try:
                writer.add_codes(count, stage.quantizer.code_size, stage.codes)
                writer.finish()
            except GalleryError:
                writer.abandon()
                raise
            self._memory.snapshot_head = head
            self._memory.snapshot_at = datetime.now(UTC)
            oldest = self._files.snapshots.let_go()
        with suppress(StoreUnavailableError), self._writing():
            self._files.store.forget_history(oldest if oldest is not None else head.commit)

    def compact(self) -> None:
        """Drop the places of erased entries from memory."""
        with self._shaping, self._writing():
            self._memory.index.compact()
            self._memory.snapshot_head = None

    def sample(self) -> NDArray[np.float16]:
        """Return vectors of live entries, for training."""
        index = self._memory.index
        with index.view.reading():
            return sample_of(self._files.vectors, index.table)

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
                self._memory.snapshot_head = None
            _LOG.info("first stage %s over %d entries", quantizer.kind, len(index.table))

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
