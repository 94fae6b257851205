"""The parts of a backup: some thousand entries each, in three files of the same order.

    records-000000.txt  row and sealed record, a line each, ascending
    vectors-000000.f16  their embeddings, dense fp16 (n, D), little-endian
    crops-000000.tar    their crops, named by row

Entries pass one by one, so that a part of any size takes little memory. Owns the format; which
entries they are is `backup`'s to say, where they go `restore`'s.
"""

import hashlib
import os
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_index.backup.manifest import (
    BackupManifest,
    FileSum,
    Part,
    check_size,
    names_of_part,
)
from gallery_index.errors import GalleryCorruptError
from gallery_index.files.durable_files import storage_errors, sync_data, write_at
from gallery_index.records import GalleryEntry
from gallery_index.stores.record_codec import decode_entry, encode_entry

_READ_BYTES = 4 << 20
_VECTOR = np.dtype("<f2")


@dataclass(frozen=True, slots=True, eq=False)
class KeptEntry:
    """An entry with everything that belongs to it; `vector` is fp16 (D,)."""

    record: GalleryEntry
    vector: NDArray[np.float16]
    crop: bytes


class PartWriter:
    """Writes the three files of one part, over an earlier attempt if there was one.

    Use as a context manager; `finish` makes them durable. Raises: StorageFullError, GalleryError.
    """

    def __init__(self, directory: Path, number: int) -> None:
        with ExitStack() as opened:
            self._records, self._vectors, self._crops = (
                opened.enter_context(_SummedFile(directory / name))
                for name in names_of_part(number)
            )
            self._opened = opened.pop_all()
        self._entries = 0

    def add(self, entry: KeptEntry) -> None:
        """Append an entry; its row is beyond those that came before."""
        line = f"{entry.record.row} {encode_entry(entry.record)}\n"
        self._records.write(line.encode("ascii"))
        self._vectors.write(entry.vector.astype(_VECTOR).tobytes())
        self._crops.write(_tar_member(entry))
        self._entries += 1

    def finish(self) -> Part:
        """Return once the files are on the disk."""
        self._crops.write(bytes(2 * tarfile.BLOCKSIZE))  # the end of a tar
        return Part(
            self._entries, self._records.finish(), self._vectors.finish(), self._crops.finish()
        )

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def check_part(directory: Path, part: Part) -> None:
    """Read the files of a part and compare their checksums. Raises: GalleryCorruptError."""
    for file in part.files:
        path = directory / file.name
        check_size(path, file)
        digest = hashlib.sha256()
        with _readable(path), path.open("rb") as opened:
            while data := opened.read(_READ_BYTES):
                digest.update(data)
        if digest.hexdigest() != file.sha256:
            raise GalleryCorruptError(f"{path} fails its checksum")


def read_records(directory: Path, manifest: BackupManifest, part: Part) -> Iterator[GalleryEntry]:
    """Yield the records of a part, each checked. Raises: GalleryCorruptError."""
    path = directory / part.records.name
    last_row, count = -1, 0
    with _readable(path), path.open(encoding="ascii") as lines:
        for line in lines:
            record = _decode_line(path, line.rstrip("\n"))
            if not last_row < record.row < manifest.next_row:
                raise GalleryCorruptError(
                    f"{path}: row {record.row} follows row {last_row} of {manifest.next_row}"
                )
            if record.model_id != manifest.model_id:
                raise GalleryCorruptError(
                    f"{path}: entry {record.entry_id!r} is of model {record.model_id!r},"
                    f" the backup of model {manifest.model_id!r}"
                )
            last_row, count = record.row, count + 1
            yield record
    if count != part.entries:
        raise GalleryCorruptError(f"{path} holds {count} records, expected {part.entries}")


def read_part(directory: Path, manifest: BackupManifest, part: Part) -> Iterator[KeptEntry]:
    """Yield the entries of a part, each checked. Raises: GalleryCorruptError."""
    vectors_path, crops_path = directory / part.vectors.name, directory / part.crops.name
    width = manifest.embedding_dim * _VECTOR.itemsize
    if part.vectors.bytes != part.entries * width:
        raise GalleryCorruptError(
            f"{vectors_path} has {part.vectors.bytes} bytes, expected {part.entries} x {width}"
        )
    with (
        _readable(vectors_path, crops_path),
        vectors_path.open("rb") as vectors,
        tarfile.open(crops_path, "r|") as crops,
    ):
        for record in read_records(directory, manifest, part):
            vector = np.frombuffer(vectors.read(width), _VECTOR)
            yield KeptEntry(record, vector, _read_crop(crops, crops_path, record))


class _SummedFile:
    """A file that is written from its beginning to its end, and summed on the way."""

    def __init__(self, path: Path) -> None:
        self._path, self._size, self._digest = path, 0, hashlib.sha256()
        with storage_errors(path):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)

    def write(self, data: bytes) -> None:
        with storage_errors(self._path):
            write_at(self._descriptor, data, self._size)
        self._digest.update(data)
        self._size += len(data)

    def finish(self) -> FileSum:
        with storage_errors(self._path):
            sync_data(self._descriptor)
        # Nobody reads it soon, and a gallery that is being served needs the memory.
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return FileSum(self._path.name, self._size, self._digest.hexdigest())

    def __enter__(self) -> "_SummedFile":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


@contextmanager
def _readable(*paths: Path) -> Iterator[None]:
    """Turn what reading a damaged file raises into GalleryCorruptError."""
    try:
        yield
    except (OSError, tarfile.TarError, UnicodeDecodeError) as error:
        names = " or ".join(map(str, paths))
        raise GalleryCorruptError(f"{names} cannot be read: {error}") from error


def _decode_line(path: Path, line: str) -> GalleryEntry:
    try:
        row, record = line.split(" ", 1)
        return decode_entry(record, row=int(row))
    except (GalleryCorruptError, ValueError) as error:
        raise GalleryCorruptError(f"{path}: {error}") from error


def _tar_member(entry: KeptEntry) -> bytes:
    member = tarfile.TarInfo(_member_name(entry.record))
    member.size = len(entry.crop)
    member.mtime = int(entry.record.enrolled_at.timestamp())
    padding = bytes(-len(entry.crop) % tarfile.BLOCKSIZE)
    return member.tobuf(tarfile.USTAR_FORMAT) + entry.crop + padding


def _member_name(record: GalleryEntry) -> str:
    return f"{record.row:012d}"


def _read_crop(crops: tarfile.TarFile, path: Path, record: GalleryEntry) -> bytes:
    member = crops.next()
    opened = None if member is None else crops.extractfile(member)
    if member is None or opened is None or member.name != _member_name(record):
        raise GalleryCorruptError(f"{path}: the crop of row {record.row} is not in its place")
    crop = opened.read()
    if not record.has_crop and not crop:
        return crop
    if hashlib.sha256(crop).hexdigest() != record.crop_sha256:
        raise GalleryCorruptError(
            f"{path}: the crop of entry {record.entry_id!r} fails its checksum"
        )
    return crop
