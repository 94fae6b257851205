"""Damaged rows of the vector file, written anew from what their crops are embedded to."""

import hashlib
import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import GalleryCorruptError
from gallery_index.index.local_index import damaged_entries
from gallery_index.opening import GalleryFiles, open_existing
from gallery_index.records import GalleryEntry
from gallery_index.recovery import table_of
from gallery_index.validation import normalised

_LOG = logging.getLogger(__name__)

Embed = Callable[[bytes], NDArray[np.float32]]
"""From the bytes of a crop to its embedding (D,), by the gallery's own model."""


def mend_directory(directory: Path, embed: Embed, *, redis_url: str | None = None) -> int:
    """Mend the rows of a gallery that nobody has open; returns how many.

    Raises: GalleryLockedError, GalleryMismatchError, StorageFullError, StoreUnavailableError;
    GalleryCorruptError naming a row whose crop is damaged too: that and what follows stay.
    """
    with closing(open_existing(directory, redis_url=redis_url)) as files:
        files.store.head()
        table = table_of(files)
        mended = 0
        for block in files.vectors.scan(0, table.rows):
            for row in damaged_entries(block, table):
                _mend(files, table.at(row), embed)
                mended += 1
    return mended


def _mend(files: GalleryFiles, entry: GalleryEntry, embed: Embed) -> None:
    place = files.crops.place(entry.row)
    if not entry.has_crop:
        raise _beyond_repair(files, entry, "it was not kept")
    try:
        crop = files.crops.read(entry.row)
    except OSError as error:
        raise _beyond_repair(files, entry, f"{place} cannot be read: {error.strerror}") from error
    if hashlib.sha256(crop).hexdigest() != entry.crop_sha256:
        raise _beyond_repair(files, entry, f"{place} fails its checksum")
    vector = normalised(embed(crop), files.identity.embedding_dim, "embedding")
    files.vectors.append(entry.row, [entry.entry_id], vector.astype(np.float16)[None])
    _LOG.warning("row %d of %s embedded anew from its crop", entry.row, files.vectors.path)


def _beyond_repair(files: GalleryFiles, entry: GalleryEntry, why: str) -> GalleryCorruptError:
    return GalleryCorruptError(
        f"{files.vectors.path}: row {entry.row} (entry {entry.entry_id!r}) is damaged,"
        f" and so is its crop: {why}; restore either from a backup, or delete the entry"
    )
