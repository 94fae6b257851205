"""Snapshots: what memory holds of a gallery, so that an opening need not read it all anew.

`snapshots/<commit>-<number>.data`, then `.json` beside it: one commit may have several, the last
counts. The data are the table's columns and the first stage's codes, in sections; after them a
CRC-32 of each block of 64 KiB, so that an erased entry can be overwritten in place and a damaged
block of codes costs no more than itself. The manifest is written last: which gallery, model and
dimension, on which head of the metadata store. A snapshot without one was never finished. Two are
kept, and may always go. Anything that does not agree is refused with a reason; it is never trusted.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_index.durable_files import (
    make_directory,
    replace_file,
    storage_errors,
    sync_data,
    sync_directory,
    write_at,
)
from gallery_index.errors import GalleryCorruptError, GalleryError
from gallery_index.record_codec import StoreHead
from gallery_index.records import GalleryIdentity

KEPT = 2
CODES, QUANTIZER, RECALL = "codes", "quantizer", "recall"
_OWN = (CODES, QUANTIZER, RECALL)
_FORMAT = 2
_BLOCK = 1 << 16
_ALIGNED = 64
_WRITTEN_AT_ONCE = 1 << 22

Sections = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Section:
    """Where an array lies in the data file."""

    name: str
    dtype: str
    shape: list[int]
    offset: int

    @property
    def bytes(self) -> int:
        """Its size."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a snapshot claims to be."""

    path: Path
    identity: GalleryIdentity
    head: StoreHead
    sections: list[Section]
    blocks: int

    @property
    def data_path(self) -> Path:
        """Where its arrays are."""
        return self.path.with_suffix(".data")

    def section(self, name: str) -> Section:
        """Return a section by its name."""
        return next(section for section in self.sections if section.name == name)


class Snapshots:
    """The snapshots of one gallery directory."""

    def __init__(self, directory: Path, identity: GalleryIdentity) -> None:
        self.directory = directory
        self._identity = identity
        make_directory(directory)

    def begin(self, head: StoreHead) -> "SnapshotWriter":
        """Start a snapshot of what memory is on this head of the store."""
        taken = [
            number
            for commit, number in map(_place, self.directory.iterdir())
            if commit == head.commit
        ]
        name = f"{head.commit:012d}-{max(taken, default=0) + 1:06d}.json"
        return SnapshotWriter(self.directory / name, self._identity, head)

    def manifests(self) -> list[Path]:
        """Return the manifests there are, newest first."""
        return sorted(self.directory.glob("*.json"), key=_place, reverse=True)

    def read(self, manifest: Path) -> Snapshot:
        """Return what a snapshot claims to be. Raises: GalleryCorruptError."""
        snapshot = _decode(manifest)
        if snapshot.identity != self._identity:
            raise GalleryCorruptError(
                f"{manifest} is of {snapshot.identity}, expected {self._identity}"
            )
        return snapshot

    def let_go(self, kept: int = KEPT) -> int:
        """Remove all but the newest; returns the oldest commit that a kept one stands on."""
        manifests = self.manifests()
        for old in manifests[kept:]:
            self.remove(old)
        return _place(manifests[:kept][-1])[0]

    def remove(self, manifest: Path) -> None:
        """Remove a snapshot, durably."""
        with storage_errors(manifest):
            manifest.unlink(missing_ok=True)
            manifest.with_suffix(".data").unlink(missing_ok=True)
            sync_directory(self.directory)

    def remove_unfinished(self) -> None:
        """Remove what a crash in the middle of writing left."""
        with storage_errors(self.directory):
            for path in list(self.directory.iterdir()):
                if path.suffix != ".json" and not path.with_suffix(".json").exists():
                    path.unlink()
            sync_directory(self.directory)


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
        step = max(1, _WRITTEN_AT_ONCE // max(1, width))
        for start in range(0, count, step):
            piece = codes(start, min(start + step, count))
            self._write(np.ascontiguousarray(piece).reshape(-1).data)

    def finish(self) -> Path:
        """Make it a snapshot: data synced and named, manifest last. Returns the manifest."""
        data = self._manifest.with_suffix(".data")
        with storage_errors(data):
            self._flush(everything=True)
            sums = np.array(self._sums, np.uint32).tobytes()
            write_at(self._descriptor, sums + _crc(sums), self._size)
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            self._temporary.replace(data)
            sync_directory(data.parent)
        replace_file(self._manifest, self._encoded())
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
            for start in range(0, len(data), _WRITTEN_AT_ONCE):
                self._rest += data[start : start + _WRITTEN_AT_ONCE]
                self._flush(everything=False)

    def _flush(self, *, everything: bool) -> None:
        whole = len(self._rest) if everything else len(self._rest) // _BLOCK * _BLOCK
        if not whole:
            return
        with memoryview(self._rest)[:whole] as data:
            write_at(self._descriptor, data, self._size)
            self._sums += [
                zlib.crc32(data[start : start + _BLOCK]) for start in range(0, whole, _BLOCK)
            ]
        self._size += whole
        del self._rest[:whole]

    def _encoded(self) -> bytes:
        body = json.dumps(
            {
                "format": _FORMAT,
                "identity": _fields(self._identity),
                "head": _fields(self._head),
                "sections": [_fields(section) for section in self._sections],
                "blocks": len(self._sums),
            }
        )
        return json.dumps({"manifest": body, "checksum": zlib.crc32(body.encode())}).encode()


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
        if len(table) != 4 * snapshot.blocks + 4 or _crc(table[:-4]) != table[-4:]:
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
        step = max(1, _WRITTEN_AT_ONCE // max(1, width))
        for start in range(0, count, step):
            stop = min(start + step, count)
            begin = section.offset + start * width
            data, damaged = self._read(begin, (stop - start) * width)
            sound = np.ones(stop - start, np.bool_)
            for block in damaged:
                first = (block * _BLOCK - begin) // width
                last = ((block + 1) * _BLOCK - begin - 1) // width
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
            write_at(self._descriptor, sums + _crc(sums), self._size)
            sync_data(self._descriptor)

    def damaged_blocks(self) -> int:
        """Return how many blocks fail their checksum."""
        step = _WRITTEN_AT_ONCE
        return sum(
            len(self._read(start, min(step, self._size - start))[1])
            for start in range(0, self._size, step)
        )

    def _overwrite(self, first: int, stop: int) -> None:
        for block in range(first // _BLOCK, -(-stop // _BLOCK)):
            begin = block * _BLOCK
            data = bytearray(self._pread(begin, min(_BLOCK, self._size - begin)))
            if zlib.crc32(data) != self._sums[block]:
                raise GalleryCorruptError(f"{self._path}: a block to be overwritten is damaged")
            here, there = max(first - begin, 0), min(stop - begin, len(data))
            data[here:there] = bytes(there - here)
            write_at(self._descriptor, bytes(data[here:there]), begin + here)
            self._sums[block] = zlib.crc32(data)

    def _read(self, offset: int, size: int) -> tuple[NDArray[np.uint8], list[int]]:
        """Return bytes and the numbers of the blocks among them that fail their checksum."""
        first, last = offset // _BLOCK, -(-(offset + size) // _BLOCK)
        begin, end = first * _BLOCK, min(last * _BLOCK, self._size)
        data = self._pread(begin, end - begin) if size else b""
        view = memoryview(data)
        damaged = (
            [
                block
                for block in range(first, last)
                if zlib.crc32(view[(block - first) * _BLOCK : (block - first + 1) * _BLOCK])
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


def begin_snapshot(
    snapshots: Snapshots, head: StoreHead, sections: Mapping[str, NDArray[Any]]
) -> SnapshotWriter:
    """Begin a snapshot with all but the codes; these may follow while others write.

    Raises: StorageFullError, GalleryError; nothing of it is left then.
    """
    writer = snapshots.begin(head)
    try:
        for name, array in sections.items():
            writer.add(name, array)
    except GalleryError:
        writer.abandon()
        raise
    return writer


def _place(path: Path) -> tuple[int, int]:
    """Return the commit and number in a file's name, the order of snapshots; -1 for other names."""
    commit, _, number = path.stem.partition("-")
    return (
        int(commit) if commit.isdecimal() else -1,
        int(number) if number.isdecimal() else -1,
    )


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _decode(path: Path) -> Snapshot:
    try:
        outer = json.loads(path.read_bytes())
        if zlib.crc32(outer["manifest"].encode()) != outer["checksum"]:
            raise GalleryCorruptError(f"{path} fails its checksum")
        fields = json.loads(outer["manifest"])
        if fields["format"] != _FORMAT:
            raise GalleryCorruptError(f"{path} is of format {fields['format']}, expected {_FORMAT}")
        return Snapshot(
            path=path,
            identity=GalleryIdentity(**fields["identity"]),
            head=StoreHead(**fields["head"]),
            sections=[Section(**section) for section in fields["sections"]],
            blocks=fields["blocks"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GalleryCorruptError(f"{path} is not a snapshot manifest: {error}") from error
