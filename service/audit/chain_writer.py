"""Writes the chain: one commit for several events, rotation, expiry, and getting over failures.

Belongs to one thread. Knows nothing of who waits for what.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

from gallery_index.files.durable_files import sync_directory
from service.audit.errors import unavailable
from service.audit.event import FileBegun, FileExpired, body_of
from service.audit.files import Head, LogFile, LogName, last_line, log_names
from service.audit.line import LineError, Link, chained, hash_of, parse_line
from service.audit.resumption import resume
from service.errors import AuditUnavailableError

log = logging.getLogger(__name__)

Reason = Literal["start", "day", "size", "failure"]


def utc_now() -> datetime:
    """Return the time of the system's clock."""
    return datetime.now(UTC)


class ChainWriter:
    """Appends to the newest file of a directory, which nobody else writes.

    Every opening begins a new file, at its first event. `ready` says that the last attempt went
    well and that there is room for more.
    """

    def __init__(
        self,
        directory: Path,
        *,
        keep_days: int,
        max_file_bytes: int,
        clock: Callable[[], datetime] = utc_now,
        new_file: Callable[[Path], LogFile] = LogFile,
    ) -> None:
        """Take up the chain where it ends. Raises: OSError, AuditUnavailableError."""
        self.directory = directory
        self._keep_days = keep_days
        self._max_file_bytes = max_file_bytes
        self._clock = clock
        self._new_file = new_file
        self._last, self._note = resume(directory)
        self._head = Head(directory)
        if self._last.sequence == 0:
            self._head.write(self._last)
            self._head.sync()
            sync_directory(directory)
        self._file: LogFile | None = None
        self._day: date | None = None
        self._reason: Reason = "start"
        self._broken = False
        self._expired_on: date | None = None
        self.ready = False

    @property
    def last(self) -> Link:
        """The last line that is on the disk."""
        return self._last

    def write(self, bodies: Sequence[bytes]) -> None:
        """Append events; they are on the disk when it returns. Without any: see whether it can.

        Raises: AuditUnavailableError; none of the events is in the log then.
        """
        self.ready = False
        try:
            self._append(bodies, self._clock())
        except OSError as error:
            raise unavailable(self.directory, error) from error

    def expire(self) -> None:
        """Once a day, delete the files that are older than the log is kept, oldest first.

        Each is recorded before it goes. A file that cannot be deleted is tried again next day.
        """
        today = self._clock().date()
        if today == self._expired_on:
            return
        self._expired_on = today
        try:
            for name in log_names(self.directory):
                if (today - name.day).days <= self._keep_days:
                    break
                path = self.directory / str(name)
                self.write([body_of(_expiry_of(path))])  # into a file of today
                path.unlink()
                sync_directory(self.directory)
                log.info("audit log: %s is older than %d days", name, self._keep_days)
        except (OSError, AuditUnavailableError) as error:
            log.error("audit log: an old file cannot be deleted: %s", error)

    def close(self) -> None:
        """Leave the files as they are on the disk."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._head.close()
        log.info("audit log: closed at line %d, hash %s", *self._last)

    def _append(self, bodies: Sequence[bytes], now: datetime) -> None:
        file = self._current(now.date())
        shortage = None
        try:
            file.reserve()
        except OSError as error:
            shortage = error
        if bodies:
            begun = FileBegun(self._reason, self._note)
            header = [body_of(begun)] if file.size == 0 else []
            data, last = chained(self._last, now, [*header, *bodies])
            self._broken = True
            file.append(data)  # where the disk is full, into what was reserved before
            self._broken = False
            self._last, self._note = last, None
            with suppress(OSError):  # it then stands behind, which is no damage
                self._head.write(last)
        elif shortage is not None:
            raise shortage
        self.ready = shortage is None

    def _current(self, today: date) -> LogFile:
        """Return the file to write to: of today, sound and not full."""
        file = self._file
        if file is not None:
            reason = self._why_another(file, today)
            if reason is None:
                return file
            file.close()
            log.info("audit log: %s ends at line %d, hash %s", file.path.name, *self._last)
            self._file, self._broken, self._reason = None, False, reason
        self._file = self._begin(today)
        self._day = today
        return self._file

    def _why_another(self, file: LogFile, today: date) -> Reason | None:
        if self._broken:
            return "failure"
        if today != self._day:
            return "day"
        return "size" if file.size >= self._max_file_bytes else None

    def _begin(self, today: date) -> LogFile:
        attempt = 1
        while True:
            name = LogName(self._last.sequence + 1, attempt, today)
            try:
                return self._new_file(self.directory / str(name))
            except FileExistsError:  # it holds the torn bytes of a process that was killed
                attempt += 1


def _expiry_of(path: Path) -> FileExpired:
    line = last_line(path)
    if line is None:
        return FileExpired(path.name, None, None)
    try:
        return FileExpired(path.name, parse_line(line)["sequence"], hash_of(line))
    except LineError:
        return FileExpired(path.name, None, hash_of(line))
