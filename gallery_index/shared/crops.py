"""The crops of a gallery that several processes serve, in whatever fsspec reaches.

A crop lies at `<store>/<gallery id>/<row // 1000>/<row>`. Rows are never used twice and nobody
reads a crop before its record is committed, so a crop is written once and never changed. The only
module that speaks to fsspec.
"""

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from gallery_index.errors import GalleryError, StoreConfigurationError, StoreUnavailableError
from gallery_index.files.durable_files import (
    make_directory,
    replace_file,
    sync_directory,
)

_ROWS_A_SHARD = 1000


class SharedCrops:
    """A `CropStore` in a directory or an object store."""

    def __init__(self, url: str, gallery_id: str) -> None:
        """Use `url`: file:///DIR, s3://BUCKET/PREFIX, gs://..., as far as its driver is installed.

        Raises: StoreConfigurationError for a URL that nothing here can reach.
        """
        try:
            fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise StoreConfigurationError(f"crop store {_shown(url)}: {error}") from error
        self._fs: Any = fs
        self._root = posixpath.join(str(root), gallery_id)
        self.location = _shown(url)

    def write(self, crops: Mapping[int, bytes]) -> None:
        """Write crops, all of them or none.

        On a directory each is synced to the disk; an object store acknowledges whole objects.
        Raises: StorageFullError, StoreUnavailableError.
        """
        try:
            if isinstance(self._fs, LocalFileSystem):
                for row, crop in crops.items():
                    _write_synced(Path(self._path(row)), crop)
            else:
                with self._reported():
                    self._fs.pipe({self._path(row): crop for row, crop in crops.items()})
        except GalleryError:
            with suppress(GalleryError):  # the failure itself is what to tell
                self.unlink(crops)
            raise

    def read(self, row: int) -> bytes:
        """Return a crop's bytes. Raises: FileNotFoundError, StoreUnavailableError."""
        with self._reported():
            return bytes(self._fs.cat_file(self._path(row)))

    def unlink(self, rows: Iterable[int]) -> int:
        """Remove crops durably; returns how many were there. Raises: StoreUnavailableError."""
        return sum(self._unlink(row) for row in rows)

    def rows(self) -> set[int]:
        """Return every row that has a crop: a listing of everything."""
        with self._reported():
            try:
                paths = self._fs.find(self._root)
            except FileNotFoundError:
                return set()
        names = (posixpath.basename(path) for path in paths)
        return {int(name) for name in names if name.isdigit()}

    def beyond(self, first_row: int) -> list[int]:
        """Return the rows from `first_row` on that have a crop; lists everything."""
        return sorted(row for row in self.rows() if row >= first_row)

    def place(self, row: int) -> str:
        """Where a crop is, for messages."""
        return str(self._fs.unstrip_protocol(self._path(row)))

    def ready(self) -> bool:
        """Whether the store answers now."""
        try:
            with self._reported():
                self._fs.exists(self._root)
        except StoreUnavailableError:
            return False
        return True

    def close(self) -> None:
        """fsspec keeps its connections for the process."""

    def _path(self, row: int) -> str:
        return posixpath.join(self._root, str(row // _ROWS_A_SHARD), f"{row:010d}")

    def _unlink(self, row: int) -> int:
        path = self._path(row)
        with self._reported():
            try:
                self._fs.rm_file(path)
            except FileNotFoundError:
                return 0
            if isinstance(self._fs, LocalFileSystem):
                sync_directory(Path(path).parent)
        return 1

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:  # each driver of fsspec brings errors of its own
            raise StoreUnavailableError(
                f"crop store {self.location} does not answer: {type(error).__name__}: {error}"
            ) from error


def _write_synced(path: Path, crop: bytes) -> None:
    make_directory(path.parent)
    replace_file(path, crop)
    sync_directory(path.parent.parent)  # the folder may be of a process that ended before it could


def _shown(url: str) -> str:
    """A URL without what may be a password."""
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme else rest
