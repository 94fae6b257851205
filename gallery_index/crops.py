"""The crop files: the bytes of every enrolled image, as they came.

A crop lies at `crops/ab/<sha256 of the entry id>`, so that no id can name a path. Owns writing,
reading and unlinking; which crops belong there is the metadata store's to say.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from gallery_index.durable_files import (
    make_directory,
    storage_errors,
    sync_directory,
    write_synced,
)


class CropFiles:
    """The crops of one gallery directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        make_directory(directory)

    def path(self, entry_id: str) -> Path:
        """Where the crop of an entry lies."""
        name = hashlib.sha256(entry_id.encode()).hexdigest()
        return self.directory / name[:2] / name

    def write(self, crops: Mapping[str, bytes]) -> None:
        """Write crops by entry id, all of them durably or none.

        Raises: StorageFullError, GalleryError; no crop of the call is left then.
        """
        paths = {self.path(entry_id): crop for entry_id, crop in crops.items()}
        parents = {path.parent for path in paths}
        with storage_errors(self.directory):
            try:
                for parent in parents:
                    make_directory(parent)
                for path, crop in paths.items():
                    write_synced(path.with_suffix(".tmp"), crop)
                for path in paths:
                    path.with_suffix(".tmp").replace(path)
                for parent in parents:
                    sync_directory(parent)
            except OSError:
                for path in paths:
                    path.with_suffix(".tmp").unlink(missing_ok=True)
                    path.unlink(missing_ok=True)
                raise

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

    def strays(self, entry_ids: Iterable[str]) -> list[Path]:
        """Return the files that are the crop of none of these entries."""
        expected = {self.path(entry_id) for entry_id in entry_ids}
        return sorted(
            path for path in self.directory.rglob("*") if path.is_file() and path not in expected
        )
