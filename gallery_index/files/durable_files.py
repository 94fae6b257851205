"""Writes that either reach the disk or raise: the only place that calls write, fsync and rename.

Owns partial writes and the meaning of errno. Knows nothing of what is written.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gallery_index.errors import GalleryError, StorageFullError

# EFBIG is a file size limit (ulimit -f, a quota of some file systems): as full as full.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

# Python has no fallocate(2) with a mode.
_LIBC = ctypes.CDLL(None, use_errno=True)
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_NO_HOLES = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError while writing `path` into StorageFullError or GalleryError."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFullError(f"no room to write {path}: {error.strerror}") from error
        raise GalleryError(f"cannot write {path}: {error.strerror or error}") from error


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`; a short write goes on where it stopped."""
    rest = memoryview(data).cast("B")
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest = rest[written:]
        offset += written


def sync_data(descriptor: int) -> None:
    """Return once the written bytes, and the size needed to read them, are on the disk."""
    os.fdatasync(descriptor)


def punch_hole(descriptor: int, offset: int, length: int) -> None:
    """Give the whole blocks of a range back to the file system; the range then reads as zeros.

    Where the file system cannot, the range keeps what is in it: overwrite it first.
    """
    status = _LIBC.fallocate(
        descriptor, _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_longlong(offset), ctypes.c_longlong(length)
    )
    if status and (number := ctypes.get_errno()) not in _NO_HOLES:
        raise OSError(number, os.strerror(number))


def sync_directory(directory: Path) -> None:
    """Return once the names in `directory` are on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Create or overwrite `path` with `data` and fsync it; its name is not yet durable."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        write_at(descriptor, data, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Make `path` hold `data`, whole or not at all, whatever happens meanwhile.

    Raises: StorageFullError, GalleryError; the temporary file is gone then.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    with storage_errors(path):
        try:
            write_synced(temporary, data)
            temporary.replace(path)
            sync_directory(path.parent)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def make_directory(path: Path) -> None:
    """Create a directory and its parents, durably."""
    if path.is_dir():
        return
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        sync_directory(path.parent)
