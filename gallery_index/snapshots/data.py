"""The data file of a snapshot: read block by block, and overwritten where an entry is erased."""

import os
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import GalleryCorruptError
from gallery_index.files.durable_files import storage_errors, sync_data, write_at
from gallery_index.snapshots.manifest import (
    AT_ONCE,
    BLOCK,
    CODES,
    QUANTIZER,
    RECALL,
    Section,
    Sections,
    Snapshot,
    seal,
)

_OWN = (CODES, QUANTIZER, RECALL)


class SnapshotData:
    """The data file of a snapshot, open: blocks are checked as they are read."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Open it and read its checksums. Raises: GalleryCorruptError."""
        self._snapshot = snapshot
        self._path = snapshot.data_path
        try:
            self._descriptor = os.open(self._path, os.O_RDWR)
        except FileNotFoundError:
            raise GalleryCorruptError(f"{self._path} is missing") from None
        self._size = max(
            (section.offset + section.bytes for section in snapshot.sections), default=0
        )
        table = os.pread(self._descriptor, 4 * snapshot.blocks + 4, self._size)
        if len(table) != 4 * snapshot.blocks + 4 or seal(table[:-4]) != table[-4:]:
            os.close(self._descriptor)
            raise GalleryCorruptError(
                f"{self._path} fails its checksum: its table of checksums does"
            )
        self._sums = np.frombuffer(bytearray(table[:-4]), np.uint32)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def array(self, name: str) -> NDArray[Any]:
        """Return a section. Raises: GalleryCorruptError if a block of it fails its checksum."""
        section = self._snapshot.section(name)
        data, damaged = self._read(section.offset, section.bytes)
        if damaged:
            raise GalleryCorruptError(
                f"{self._path} fails its checksum: {len(damaged)} blocks of its {name}"
            )
        return data.view(section.dtype).reshape(section.shape)

    def columns(self) -> Sections:
        """Return the columns of the table. Raises: GalleryCorruptError."""
        return {section.name: self.array(section.name) for section in self._columns()}

    def mapped(self) -> Sections:
        """Return the columns of the table, unchecked, read as they are touched, ours to change."""
        return {
            section.name: np.memmap(
                self._path, section.dtype, "c", section.offset, tuple(section.shape)
            )
            if section.bytes
            else np.zeros(section.shape, section.dtype)
            for section in self._columns()
        }

    def _columns(self) -> list[Section]:
        return [section for section in self._snapshot.sections if section.name not in _OWN]

    def codes(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
        """Yield codes (n, width) and which of them are sound (n,), a few megabytes at a time."""
        section = self._snapshot.section(CODES)
        count, width = section.shape
        step = max(1, AT_ONCE // max(1, width))
        for start in range(0, count, step):
            stop = min(start + step, count)
            begin = section.offset + start * width
            data, damaged = self._read(begin, (stop - start) * width)
            sound = np.ones(stop - start, np.bool_)
            for block in damaged:
                first = (block * BLOCK - begin) // width
                last = ((block + 1) * BLOCK - begin - 1) // width
                sound[max(0, first) : max(0, last + 1)] = False
            yield data.reshape(-1, width), sound

    def overwrite(self, spans: list[tuple[str, int, int]]) -> None:
        """Overwrite bytes of sections (name, first, behind the last) with zeros, durably.

        Raises: GalleryCorruptError for a block that fails its checksum, as one does that a killed
        process was overwriting.
        """
        with storage_errors(self._path):
            for name, first, stop in spans:
                offset = self._snapshot.section(name).offset
                self._overwrite(offset + first, offset + stop)
            sums = self._sums.tobytes()
            write_at(self._descriptor, sums + seal(sums), self._size)
            sync_data(self._descriptor)

    def damaged_blocks(self) -> int:
        """Return how many blocks fail their checksum."""
        step = AT_ONCE
        return sum(
            len(self._read(start, min(step, self._size - start))[1])
            for start in range(0, self._size, step)
        )

    def _overwrite(self, first: int, stop: int) -> None:
        for block in range(first // BLOCK, -(-stop // BLOCK)):
            begin = block * BLOCK
            data = bytearray(self._pread(begin, min(BLOCK, self._size - begin)))
            if zlib.crc32(data) != self._sums[block]:
                raise GalleryCorruptError(f"{self._path}: a block to be overwritten is damaged")
            here, there = max(first - begin, 0), min(stop - begin, len(data))
            data[here:there] = bytes(there - here)
            write_at(self._descriptor, bytes(data[here:there]), begin + here)
            self._sums[block] = zlib.crc32(data)

    def _read(self, offset: int, size: int) -> tuple[NDArray[np.uint8], list[int]]:
        """Return bytes and the numbers of the blocks among them that fail their checksum."""
        first, last = offset // BLOCK, -(-(offset + size) // BLOCK)
        begin, end = first * BLOCK, min(last * BLOCK, self._size)
        data = self._pread(begin, end - begin) if size else b""
        view = memoryview(data)
        damaged = (
            [
                block
                for block in range(first, last)
                if zlib.crc32(view[(block - first) * BLOCK : (block - first + 1) * BLOCK])
                != self._sums[block]
            ]
            if size
            else []
        )
        array = np.frombuffer(data, np.uint8)[offset - begin : offset - begin + size]
        return array, damaged

    def _pread(self, offset: int, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            try:
                got = os.preadv(self._descriptor, [view], offset)
            except OSError:  # a bad sector stays zero and fails its checksum
                break
            if not got:
                break
            view, offset = view[got:], offset + got
        return data
