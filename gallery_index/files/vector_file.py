"""The vector file: the exact fp16 copy of every embedding, in fixed-size rows.

    header  4096 bytes: magic, then the gallery's identity as JSON with its checksum
    row     checksum (CRC-32 of the rest), mark, row number, entry id, model id, vector fp16

A row's number is its place. Rows are appended and erased (all zeros, their blocks given back to
the file system), never moved. What counts as committed is not known here: the metadata store says.
"""

import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import GalleryCorruptError
from gallery_index.files.durable_files import (
    punch_hole,
    replace_file,
    storage_errors,
    sync_data,
    write_at,
)
from gallery_index.records import GalleryIdentity
from gallery_index.stores.record_codec import decode_identity, encode_identity

_MAGIC = b"MPAVEC01"
_HEADER_SIZE = 4096
_ROW_MARK = b"ROW1"
_CHECKSUM_SIZE = 4
_SCAN_BYTES = 8 << 20
# Reads wait for the disk side by side. What is cached is read by whoever asks: handing it to other
# threads made two callers slower than one.
_READERS = 8


@dataclass(frozen=True, slots=True, eq=False)
class RowBlock:
    """Rows as read: fp16 vectors (n, D), and what is wrong with a row, by its place in the block.

    An erased row is damaged by this account; the caller knows which rows are alive.
    """

    rows: NDArray[np.int64]
    vectors: NDArray[np.float16]
    damage: dict[int, str]
    data: NDArray[np.void]

    @property
    def sound(self) -> NDArray[np.bool_]:
        """Which rows are not damaged, (n,)."""
        sound = np.ones(len(self.rows), np.bool_)
        sound[list(self.damage)] = False
        return sound

    def entry_ids(self) -> list[str]:
        """Return the entry id that each row carries."""
        return [value.decode("ascii", "replace") for value in self.data["entry_id"].tolist()]


class VectorFile:
    """An open vector file. One writer; reads may run beside it and beside one another."""

    def __init__(self, path: Path) -> None:
        """Open an existing file. Raises: GalleryCorruptError for a header it cannot trust."""
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR)
        try:
            self.identity = _read_header(path, self._descriptor)
        except GalleryCorruptError:
            os.close(self._descriptor)
            raise
        self._model_id = self.identity.model_id.encode()
        self._knows_cached = hasattr(os, "RWF_NOWAIT")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="vectors")
        self._dtype = np.dtype(
            [
                ("checksum", "<u4"),
                ("mark", "S4"),
                ("row", "<u8"),
                ("entry_id", "S128"),
                ("model_id", "S128"),
                ("vector", "<f2", (self.identity.embedding_dim,)),
            ]
        )

    @classmethod
    def create(cls, path: Path, identity: GalleryIdentity) -> "VectorFile":
        """Write an empty vector file, durably, and open it."""
        header = _MAGIC + encode_identity(identity).encode("ascii")
        replace_file(path, header.ljust(_HEADER_SIZE, b"\0"))
        return cls(path)

    @property
    def row_size(self) -> int:
        """Bytes of one row."""
        return self._dtype.itemsize

    def whole_rows(self) -> int:
        """Rows that the file has room for, committed or not."""
        return (os.fstat(self._descriptor).st_size - _HEADER_SIZE) // self.row_size

    def append(
        self, first_row: int, entry_ids: Sequence[str], vectors: NDArray[np.float16]
    ) -> None:
        """Write rows from `first_row` on and return once they are on the disk."""
        self.put(np.arange(first_row, first_row + len(entry_ids)), entry_ids, vectors)

    def put(
        self, rows: NDArray[np.int64], entry_ids: Sequence[str], vectors: NDArray[np.float16]
    ) -> None:
        """Write rows, ascending, wherever they are, and return once they are on the disk."""
        block = np.zeros(len(entry_ids), self._dtype)
        block["mark"] = _ROW_MARK
        block["row"] = rows
        block["entry_id"] = [entry_id.encode() for entry_id in entry_ids]
        block["model_id"] = self._model_id
        block["vector"] = vectors
        for row in block:
            row["checksum"] = zlib.crc32(row.tobytes()[_CHECKSUM_SIZE:])
        with storage_errors(self.path):
            start = 0
            for first, count in _runs(rows.tolist()):
                part = block[start : start + count]
                write_at(self._descriptor, part.tobytes(), self._offset(first))
                start += count
            sync_data(self._descriptor)

    def erase(self, rows: Sequence[int]) -> None:
        """Overwrite rows with zeros, return once that is on the disk, and free their blocks."""
        with storage_errors(self.path):
            for row in sorted(rows):
                write_at(self._descriptor, bytes(self.row_size), self._offset(row))
            sync_data(self._descriptor)
            for first, count in _runs(sorted(rows)):
                punch_hole(self._descriptor, self._offset(first), count * self.row_size)

    def truncate(self, rows: int) -> int:
        """Cut off whatever follows the first `rows` rows; returns the bytes cut."""
        surplus = os.fstat(self._descriptor).st_size - self._offset(rows)
        if surplus > 0:
            with storage_errors(self.path):
                os.ftruncate(self._descriptor, self._offset(rows))
                os.fsync(self._descriptor)
        return max(surplus, 0)

    def read(self, rows: NDArray[np.int64]) -> RowBlock:
        """Read rows, in the order given (ascending is fastest), and check each."""
        data = np.zeros(len(rows), self._dtype)
        sums = np.zeros(len(rows), np.uint32)

        def read_some(places: list[int]) -> None:
            for place in places:
                buffer = _bytes_of(data, place)
                self._read_into(buffer, self._offset(int(rows[place])))
                sums[place] = zlib.crc32(buffer[_CHECKSUM_SIZE:])

        left = []
        for place, row in enumerate(rows.tolist()):
            buffer = _bytes_of(data, place)
            if self._is_cached(buffer, self._offset(row)):
                sums[place] = zlib.crc32(buffer[_CHECKSUM_SIZE:])
            else:
                left.append(place)
        share = max(1, -(-len(left) // _READERS))
        shares = [left[at : at + share] for at in range(0, len(left), share)]
        for _ in self._readers.map(read_some, shares):
            pass
        return RowBlock(rows, data["vector"], self._damage(data, rows, sums), data)

    def scan(self, start: int, stop: int) -> Iterator[RowBlock]:
        """Read the rows from `start` to `stop` in blocks of a few megabytes."""
        step = max(1, _SCAN_BYTES // self.row_size)
        for first in range(start, stop, step):
            yield self.read(np.arange(first, min(first + step, stop), dtype=np.int64))

    def is_erased(self, row: int) -> bool:
        """Whether nothing but zeros is left of a row."""
        data = bytearray(self.row_size)
        self._read_into(memoryview(data), self._offset(row))
        return not any(data)

    def close(self) -> None:
        """Close the file; everything written is already on the disk."""
        self._readers.shutdown()
        os.close(self._descriptor)

    def _offset(self, row: int) -> int:
        return _HEADER_SIZE + row * self.row_size

    def _read_into(self, target: memoryview, offset: int) -> None:
        """Fill the target; what cannot be read stays zero and fails its checksum."""
        while target:
            try:
                got = os.preadv(self._descriptor, [target], offset)
            except OSError:  # a bad sector
                return
            if got == 0:  # past the end
                return
            target = target[got:]
            offset += got

    def _is_cached(self, target: memoryview, offset: int) -> bool:
        """Fill the target if that needs no waiting for the disk."""
        if not self._knows_cached:
            return False
        try:
            return os.preadv(self._descriptor, [target], offset, os.RWF_NOWAIT) == len(target)
        except BlockingIOError:
            return False
        except OSError:  # the file system cannot tell
            self._knows_cached = False
            return False

    def _damage(
        self, data: NDArray[np.void], rows: NDArray[np.int64], sums: NDArray[np.uint32]
    ) -> dict[int, str]:
        sound = (data["checksum"] == sums) & (data["mark"] == _ROW_MARK) & (data["row"] == rows)
        sound &= data["model_id"] == self._model_id
        return {
            int(place): self._what_is_wrong(data[place], int(rows[place]), int(sums[place]))
            for place in np.flatnonzero(~sound)
        }

    def _what_is_wrong(self, data: Any, row: int, checksum: int) -> str:
        if checksum != int(data["checksum"]):
            return "fails its checksum"
        if data["mark"] != _ROW_MARK or int(data["row"]) != row:
            return f"holds row {int(data['row'])}"
        return f"is of model {data['model_id'].decode('ascii', 'replace')!r}"


def _bytes_of(data: NDArray[np.void], place: int) -> memoryview:
    return data[place : place + 1].view(np.uint8).data


def _runs(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield runs of adjacent rows as (first row, how many); `rows` ascend."""
    start = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or rows[place] != rows[place - 1] + 1:
            yield rows[start], place - start
            start = place


def _read_header(path: Path, descriptor: int) -> GalleryIdentity:
    header = os.pread(descriptor, _HEADER_SIZE, 0)
    if len(header) < _HEADER_SIZE or not header.startswith(_MAGIC):
        raise GalleryCorruptError(
            f"{path} does not begin with the header of a vector file ({_MAGIC.decode()})"
        )
    try:
        return decode_identity(header[len(_MAGIC) :].rstrip(b"\0").decode("ascii"))
    except (GalleryCorruptError, UnicodeDecodeError) as error:
        raise GalleryCorruptError(f"the header of {path} fails its checksum") from error
