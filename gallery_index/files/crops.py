"""The crop files: the bytes of every enrolled image, as they came.

The crop of a row lies at `crops/<row // 1000>/<row>`: rows are never used twice, so what a killed
process left lies at or beyond the first row that was not committed, and is found without a listing
of everything. Owns writing, reading and unlinking; which crops belong there is the metadata store's
to say. A crop is written in place: until its record is committed nobody looks for it.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from gallery_index.errors import CropNotKeptError, GalleryCorruptError
from gallery_index.files.durable_files import (
    make_directory,
    storage_errors,
    sync_directory,
    write_synced,
)
from gallery_index.records import GalleryEntry

# Files synced side by side share a commit of the file system's journal: 64 crops took 110 ms,
# one after another 450 ms.
_THREADS = 8
_ROWS_A_SHARD = 1000


class CropStore(Protocol):
    """Where the crops of a gallery are kept, by row."""

    def write(self, crops: Mapping[int, bytes]) -> None:
        """Write crops, all of them durably or none."""

    def read(self, row: int) -> bytes:
        """Return a crop's bytes. Raises: FileNotFoundError."""

    def unlink(self, rows: Iterable[int]) -> int:
        """Remove crops durably; returns how many were there."""

    def place(self, row: int) -> str:
        """Where a crop is, for messages."""

    def beyond(self, first_row: int) -> list[int]:
        """Return the rows from `first_row` on that have a crop."""

    def rows(self) -> set[int]:
        """Return every row that has a crop."""

    def close(self) -> None:
        """End the threads that write."""


def read_checked(crops: CropStore, entry: GalleryEntry) -> bytes:
    """Return the bytes of an entry's crop as enrolled.

    Raises: CropNotKeptError, GalleryCorruptError if it is missing or is not what was enrolled.
    """
    if not entry.has_crop:
        raise CropNotKeptError(entry.entry_id)
    what = f"{crops.place(entry.row)}, the crop of {entry.entry_id!r},"
    try:
        data = crops.read(entry.row)
    except FileNotFoundError:
        raise GalleryCorruptError(f"{what} is missing") from None
    if hashlib.sha256(data).hexdigest() != entry.crop_sha256:
        raise GalleryCorruptError(f"{what} fails its checksum")
    return data


class CropFiles:
    """The crops of one gallery directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        make_directory(directory)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="crops")
        self._durable: set[Path] = set()

    def path(self, row: int) -> Path:
        """Where the crop of a row lies."""
        return self._shard(row // _ROWS_A_SHARD) / f"{row:010d}"

    def place(self, row: int) -> str:
        """Where a crop is, for messages."""
        return str(self.path(row))

    def write(self, crops: Mapping[int, bytes]) -> None:
        """Write crops by row, all of them durably or none.

        Raises: StorageFullError, GalleryError; no crop of the call is left then.
        """
        paths = [self.path(row) for row in crops]
        shards = sorted({path.parent for path in paths})
        for shard in shards:
            self._make_shard(shard)
        futures = [
            self._threads.submit(write_synced, path, crop)
            for path, crop in zip(paths, crops.values(), strict=True)
        ]
        failures = [error for future in futures if (error := future.exception()) is not None]
        try:
            with storage_errors(self.directory):
                if failures:
                    raise failures[0]
                for shard in shards:
                    sync_directory(shard)
        except BaseException:
            for path in paths:
                with suppress(OSError):  # the failure itself is what to tell
                    path.unlink(missing_ok=True)
            raise

    def read(self, row: int) -> bytes:
        """Return a crop's bytes. Raises: FileNotFoundError."""
        return self.path(row).read_bytes()

    def unlink(self, rows: Iterable[int]) -> int:
        """Remove crops durably; returns how many were there."""
        found = 0
        parents = set()
        with storage_errors(self.directory):
            for row in rows:
                path = self.path(row)
                if path.exists():
                    path.unlink()
                    parents.add(path.parent)
                    found += 1
            for parent in parents:
                sync_directory(parent)
        return found

    def beyond(self, first_row: int) -> list[int]:
        """Return the rows from `first_row` on that have a crop; reads few directories."""
        first_shard = first_row // _ROWS_A_SHARD
        shards = [shard for shard in self._shards() if shard >= first_shard]
        return [row for shard in shards for row in self._rows_of(shard) if row >= first_row]

    def rows(self) -> set[int]:
        """Return every row that has a crop."""
        return {row for shard in self._shards() for row in self._rows_of(shard)}

    def close(self) -> None:
        """End the threads that write."""
        self._threads.shutdown()

    def _make_shard(self, shard: Path) -> None:
        """Make a shard durably; one that is there may be of a process that did not live to sync."""
        if shard in self._durable:
            return
        if shard.is_dir():
            with storage_errors(shard):
                sync_directory(self.directory)
        else:
            make_directory(shard)
        self._durable.add(shard)

    def _shard(self, number: int) -> Path:
        return self.directory / f"{number:07d}"

    def _shards(self) -> list[int]:
        return sorted(int(name) for name in os.listdir(self.directory) if name.isdecimal())  # noqa: PTH208

    def _rows_of(self, shard: int) -> list[int]:
        return sorted(int(name) for name in os.listdir(self._shard(shard)) if name.isdecimal())  # noqa: PTH208
