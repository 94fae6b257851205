"""Writing a snapshot: sections one after another, with a checksum of each block; manifest last."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_index.files.durable_files import replace_file, storage_errors, sync_directory, write_at
from gallery_index.records import GalleryIdentity
from gallery_index.snapshots.manifest import (
    AT_ONCE,
    BLOCK,
    CODES,
    Section,
    encode_manifest,
    seal,
)
from gallery_index.stores.record_codec import StoreHead

_ALIGNED = 64


class SnapshotWriter:
    """Writes one snapshot: sections one after another, then `finish`, or `abandon`."""

    def __init__(self, manifest: Path, identity: GalleryIdentity, head: StoreHead) -> None:
        self._manifest = manifest
        self._identity, self._head = identity, head
        self._sections: list[Section] = []
        self._sums: list[int] = []
        self._rest = bytearray()
        self._size = 0
        self._temporary = manifest.with_suffix(".tmp")
        with storage_errors(self._temporary):
            self._descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)

    def add(self, name: str, array: NDArray[Any]) -> None:
        """Write an array. Raises: StorageFullError, GalleryError."""
        self._begin(name, array.dtype, list(array.shape))
        self._write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def add_codes(
        self, count: int, width: int, codes: Callable[[int, int], NDArray[np.uint8]]
    ) -> None:
        """Write the codes of positions 0 to `count`, asked for in pieces of a few megabytes."""
        self._begin(CODES, np.dtype(np.uint8), [count, width])
        step = max(1, AT_ONCE // max(1, width))
        for start in range(0, count, step):
            piece = codes(start, min(start + step, count))
            self._write(np.ascontiguousarray(piece).reshape(-1).data)

    def finish(self) -> Path:
        """Make it a snapshot: data synced and named, manifest last. Returns the manifest."""
        data = self._manifest.with_suffix(".data")
        with storage_errors(data):
            self._flush(everything=True)
            sums = np.array(self._sums, np.uint32).tobytes()
            write_at(self._descriptor, sums + seal(sums), self._size)
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            self._temporary.replace(data)
            sync_directory(data.parent)
        replace_file(
            self._manifest,
            encode_manifest(self._identity, self._head, self._sections, len(self._sums)),
        )
        return self._manifest

    def abandon(self) -> None:
        """Leave nothing of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        for path in (self._temporary, self._manifest.with_suffix(".data"), self._manifest):
            path.unlink(missing_ok=True)

    def _begin(self, name: str, dtype: "np.dtype[Any]", shape: list[int]) -> None:
        self._rest += bytes(-(self._size + len(self._rest)) % _ALIGNED)
        self._sections.append(Section(name, dtype.str, shape, self._size + len(self._rest)))

    def _write(self, data: memoryview) -> None:
        with storage_errors(self._temporary):
            for start in range(0, len(data), AT_ONCE):
                self._rest += data[start : start + AT_ONCE]
                self._flush(everything=False)

    def _flush(self, *, everything: bool) -> None:
        whole = len(self._rest) if everything else len(self._rest) // BLOCK * BLOCK
        if not whole:
            return
        with memoryview(self._rest)[:whole] as data:
            write_at(self._descriptor, data, self._size)
            self._sums += [
                zlib.crc32(data[start : start + BLOCK]) for start in range(0, whole, BLOCK)
            ]
        self._size += whole
        del self._rest[:whole]
