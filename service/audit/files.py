"""The files of the log: their names and order, how one is appended to, where the log stood last.

The only place of the package that writes. A file is never changed but at its end, and never
written again once another has been begun.
"""

import ctypes
import errno
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

from gallery_index.files.durable_files import sync_data, sync_directory, write_at
from service.audit.line import Link

HEAD: Final = "head"
RESERVED_BYTES: Final = 4 * 2**20
"""Room on the disk that is taken ahead of what is written, so that the records of calls under way
fit when the disk is full; a call takes up to 350 KB (1,000 matches with the longest ids)."""
LEAST_RESERVED_BYTES: Final = 2 * 2**20

BLOCK_BYTES: Final = 256 * 1024
"""How much is read at once, backwards."""

_NAME = re.compile(r"([0-9]{12})-([0-9]{4}-[0-9]{2}-[0-9]{2})(?:-([0-9]+))?\.jsonl")
_HEAD = re.compile(rb"([0-9]{20}) ([0-9a-f]{64})\n")
_LIBC = ctypes.CDLL(None, use_errno=True)
_KEEP_SIZE = 1
_MARGIN = timedelta(days=1)
_NO_RESERVING = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@dataclass(frozen=True, slots=True, order=True)
class LogName:
    """The name of a file: the number of its first line, the day (UTC) of all its lines.

    `attempt` counts the files begun at this line: those before hold no whole line.
    """

    first: int
    attempt: int
    day: date

    def may_have(self, since: datetime | None, until: datetime | None) -> bool:
        """Return whether lines of a time may be in the file: its day is no more than a hint."""
        return (since is None or self.day >= since.date() - _MARGIN) and (
            until is None or self.day <= until.date() + _MARGIN
        )

    def __str__(self) -> str:
        again = f"-{self.attempt}" if self.attempt > 1 else ""
        return f"{self.first:012}-{self.day.isoformat()}{again}.jsonl"


def log_names(directory: Path) -> list[LogName]:
    """Return the files of a log in the order of their lines; other files are none of ours."""
    names = []
    for path in directory.iterdir():
        if match := _NAME.fullmatch(path.name):
            with suppress(ValueError):  # no such day
                day = date.fromisoformat(match[2])
                names.append(LogName(int(match[1]), int(match[3] or 1), day))
    return sorted(names)


class LogFile:
    """A new file that is written at its end; `size` is what is known to be on the disk."""

    def __init__(self, path: Path) -> None:
        """Raises: OSError, FileExistsError if the name is taken."""
        self.path = path
        self.size = 0
        self._reserved = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        try:
            sync_directory(path.parent)
        except OSError:
            os.close(self._descriptor)
            path.unlink()
            raise

    def append(self, data: bytes) -> None:
        """Return once the bytes are on the disk. Raises: OSError; then none of them count."""
        self._write(data)
        self._sync()
        self.size += len(data)

    def reserve(self) -> None:
        """See to it that there is room for what comes next. Raises: OSError."""
        if self._reserved - self.size >= LEAST_RESERVED_BYTES:
            return
        length = self.size + RESERVED_BYTES
        offset = ctypes.c_longlong(self._reserved)
        more = ctypes.c_longlong(length - self._reserved)
        if _LIBC.fallocate(self._descriptor, _KEEP_SIZE, offset, more) == 0:
            self._reserved = length
            return
        number = ctypes.get_errno()
        if number not in _NO_RESERVING:
            raise OSError(number, os.strerror(number))
        disk = os.fstatvfs(self._descriptor)
        if disk.f_bavail * disk.f_frsize < LEAST_RESERVED_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Give back what was reserved, and drop what is not known to be on the disk.

        A file without a line goes. Raises: OSError; the file is still open then.
        """
        os.ftruncate(self._descriptor, self.size)
        if self.size == 0:
            self.path.unlink(missing_ok=True)
        with suppress(OSError):  # all that counts is synced
            os.close(self._descriptor)

    def _write(self, data: bytes) -> None:
        write_at(self._descriptor, data, self.size)

    def _sync(self) -> None:
        sync_data(self._descriptor)


class Head:
    """A small file beside the log: the last line that was acknowledged.

    Without it nobody could tell that the end of the newest file was cut off. It is written after
    each commit and not synced: after a power cut it may stand behind the log, never before it.
    """

    def __init__(self, directory: Path) -> None:
        """Raises: OSError."""
        self._descriptor = os.open(directory / HEAD, os.O_WRONLY | os.O_CREAT, 0o640)

    def write(self, link: Link) -> None:
        """Say where the log stands. Raises: OSError."""
        write_at(self._descriptor, f"{link.sequence:020} {link.hash}\n".encode(), 0)

    def sync(self) -> None:
        """Return once it is on the disk. Raises: OSError."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def read_head(directory: Path) -> Link | None:
    """Return where a log stood last; None if nothing there says it. Raises: OSError."""
    path = directory / HEAD
    try:
        text = path.read_bytes()
        while (again := path.read_bytes()) != text:  # it was being written
            text = again
    except FileNotFoundError:
        return None
    match = _HEAD.fullmatch(text)
    return Link(int(match[1]), match[2].decode()) if match else None


def last_line(path: Path) -> bytes | None:
    """Return the last whole line of a file without its newline; torn bytes after it do not count.

    Raises: OSError.
    """
    return next((line for _, line in lines_back(path)), None)


def lines_back(path: Path, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines of a file, last first, without their newline, each with its first byte.

    `end` is where the last of them ends at most; None: at the end of the file, where torn bytes do
    not count. Raises: OSError.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        yield from _back(file, size if end is None else min(end, size))


def _back(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    rest = b""  # of a line whose beginning is not read yet; at first of one that was not finished
    torn = True
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        file.seek(start)
        block = file.read(end - start) + rest
        *lines, last = block.split(b"\n")
        if torn:  # `last` is what follows the last newline
            offset = start + len(block) - len(last)
            torn = not lines
        else:
            lines.append(last)
            offset = start + len(block) + 1
        for line in reversed(lines[1:]):
            offset -= len(line) + 1
            yield offset, line
        rest = lines[0] if lines else block
        end = start
    if not torn:
        yield 0, rest
