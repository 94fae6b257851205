"""The crop files: the bytes of every enrolled image, as they came.

A crop lies at `crops/ab/<sha256 of the entry id>`, so that no id can name a path. Owns writing,
reading and unlinking; which crops belong there is the metadata store's to say. A crop is written
in place: until its record is committed nobody looks for it.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from gallery_index.durable_files import storage_errors, sync_directory, write_synced

# Files synced side by side share a commit of the file system's journal: 64 crops took 110 ms,
# one after another 450 ms.
_THREADS = 8


class CropFiles:
    """The crops of one gallery directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with storage_errors(directory):
            _make_shards(directory)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="crops")

    def path(self, entry_id: str) -> Path:
        """Where the crop of an entry lies."""
        name = hashlib.sha256(entry_id.encode()).hexdigest()
        return self.directory / name[:2] / name

    def write(self, crops: Mapping[str, bytes]) -> None:
        """Write crops by entry id, all of them durably or none.

        Raises: StorageFullError, GalleryError; no crop of the call is left then.
        """
        paths = [self.path(entry_id) for entry_id in crops]
        futures = [
            self._threads.submit(_write_crop, path, crop)
            for path, crop in zip(paths, crops.values(), strict=True)
        ]
        failures = [error for future in futures if (error := future.exception()) is not None]
        if failures:
            for path in paths:
                with suppress(OSError):  # the failure itself is what to tell
                    path.unlink(missing_ok=True)
            with storage_errors(self.directory):
                raise failures[0]

    def read(self, entry_id: str) -> bytes:
        """Return a crop's bytes. Raises: FileNotFoundError."""
        return self.path(entry_id).read_bytes()

    def unlink(self, entry_ids: Iterable[str]) -> int:
        """Remove crops durably; returns how many were there."""
        found = 0
        parents = set()
        with storage_errors(self.directory):
            for entry_id in entry_ids:
                path = self.path(entry_id)
                if path.exists():
                    path.unlink()
                    parents.add(path.parent)
                    found += 1
            for parent in parents:
                sync_directory(parent)
        return found

    def close(self) -> None:
        """End the threads that write."""
        self._threads.shutdown()

    def strays(self, entry_ids: Iterable[str]) -> list[Path]:
        """Return the files that are the crop of none of these entries."""
        expected = {hashlib.sha256(entry_id.encode()).hexdigest() for entry_id in entry_ids}
        strays: list[Path] = []
        for shard in os.scandir(self.directory):
            if not shard.is_dir():
                continue
            for name in os.listdir(shard):  # noqa: PTH208  a million names: no Path each
                if name not in expected or name[:2] != shard.name:
                    strays.append(Path(shard.path, name))
        return sorted(strays)


def _write_crop(path: Path, crop: bytes) -> None:
    write_synced(path, crop)
    sync_directory(path.parent)


def _make_shards(directory: Path) -> None:
    if not (directory / "ff").is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        for shard in range(256):
            (directory / f"{shard:02x}").mkdir(exist_ok=True)
        sync_directory(directory)
        sync_directory(directory.parent)
