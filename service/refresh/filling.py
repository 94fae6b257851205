"""Giving the other generation its vectors: crops read ahead, embedded, written, all side by side.

Owns the pipeline, so that the encoder waits for neither the disk nor the store. What becomes of
entries that cannot be embedded is the caller's to say.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import EntryNotFoundError, GalleryCorruptError
from gallery_index.records import GalleryEntry
from gallery_index.refreshable import RefreshableGallery
from model.errors import ImageError
from service.engine.crop_encoder import CropEncoder
from service.engine.crop_jobs import EmbeddedCrop, Outcome
from service.engine.embedding import CropEmbedder
from service.errors import CropUnusableError

CROPS_A_BATCH: Final = 16
BATCHES_AHEAD: Final = 4
LOOK_AHEAD: Final = 512


@dataclass(slots=True)
class Filled:
    """What came of one pass: vectors given, and entries whose crop is not what was enrolled."""

    given: int = 0
    unsound: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch:
    entries: list[GalleryEntry]
    outcomes: "Future[list[Outcome]]"


class Filler:
    """Fills the other generation with what one encoder makes of the crops."""

    def __init__(
        self,
        gallery: RefreshableGallery,
        embedder: CropEmbedder,
        encoder: CropEncoder,
        *,
        on_filled: Callable[[int], None],
        check: Callable[[], None],
    ) -> None:
        """`on_filled` is told how many were filled; `check` may end the pass by an error."""
        self._gallery = gallery
        self._embedder = embedder
        self._encoder = encoder
        self._on_filled = on_filled
        self._check = check

    def fill(self) -> Filled:
        """Embed every entry that is missing, once.

        Raises: CropUnusableError for a crop that is as enrolled, yet cannot be embedded;
        EncoderFailedError, ShuttingDownError, StoreUnavailableError, StorageFullError, and what
        `check` raises.
        """
        filled = Filled()
        ahead: deque[_Batch] = deque()
        entries = self._missing()
        while True:
            while len(ahead) < BATCHES_AHEAD and (batch := self._begun(entries, filled)):
                ahead.append(batch)
            if not ahead:
                return filled
            self._check()
            self._finish(ahead.popleft(), filled)

    def _missing(self) -> Iterator[GalleryEntry]:
        """Yield what is missing, each entry once, in the order of rows."""
        last = -1
        while found := [entry for entry in self._gallery.missing(LOOK_AHEAD) if entry.row > last]:
            yield from found
            last = found[-1].row

    def _begun(self, entries: Iterator[GalleryEntry], filled: Filled) -> _Batch | None:
        """Read crops and send them to the encoder; None: there are no more."""
        taken: list[GalleryEntry] = []
        crops: list[bytes] = []
        for entry in entries:
            crop = self._read(entry, filled)
            if crop is not None:
                taken.append(entry)
                crops.append(crop)
            if len(crops) == CROPS_A_BATCH:
                break
        if not crops:
            return None
        return _Batch(taken, self._embedder.begin_in_thread(crops, encoder=self._encoder))

    def _read(self, entry: GalleryEntry, filled: Filled) -> bytes | None:
        try:
            return self._gallery.crop(entry.entry_id)[0]
        except EntryNotFoundError:  # deleted meanwhile
            return None
        except GalleryCorruptError:
            filled.unsound[entry.row] = entry.entry_id
            return None

    def _finish(self, batch: _Batch, filled: Filled) -> None:
        vectors: dict[int, NDArray[np.float32]] = {}
        for entry, outcome in zip(batch.entries, batch.outcomes.result(), strict=True):
            if isinstance(outcome, EmbeddedCrop):
                vectors[entry.row] = outcome.embedding
            elif isinstance(outcome, ImageError):
                raise CropUnusableError(
                    f"the crop of entry {entry.entry_id!r} cannot be embedded: {outcome}"
                )
            else:
                raise outcome
        filled.given += self._gallery.fill(vectors, model_id=self._encoder.model_id)
        self._on_filled(len(vectors))
