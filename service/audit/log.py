"""`AuditLog`: what the event loop has of the log. One thread writes; who waits shares its commits.

Owns who waits for what. How lines get to the disk is `chain_writer`.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gallery_index.files.directory_lock import DirectoryLock
from gallery_index.files.durable_files import make_directory
from service.audit.chain_writer import ChainWriter, utc_now
from service.audit.errors import unavailable
from service.audit.event import AuditEvent, body_of
from service.audit.files import LogFile
from service.errors import AuditUnavailableError

MAX_FILE_BYTES = 64 * 2**20
MOST_TOGETHER = 1024
UPKEEP_S = 3600.0
"""How often an idle log looks whether a file has expired."""

log = logging.getLogger(__name__)

_Future = asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Wish:
    """An event to write (None: only see whether one could be), and who waits for it."""

    body: bytes | None
    waiter: _Future | None


class AuditLog:
    """An append-only log in a directory of its own; its coroutines may be of any event loop."""

    def __init__(self, writer: ChainWriter, lock: DirectoryLock) -> None:
        """Use `open`."""
        self._writer = writer
        self._lock = lock
        self._wishes: deque[_Wish] = deque()
        self._owed: list[bytes] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        keep_days: int,
        max_file_bytes: int = MAX_FILE_BYTES,
        clock: Callable[[], datetime] = utc_now,
        new_file: Callable[[Path], LogFile] = LogFile,
    ) -> "AuditLog":
        """Open the log of a directory, which is made if need be.

        A file is kept for `keep_days` after the day of its lines, and left for a new one when it
        has `max_file_bytes`. Raises: AuditUnavailableError, GalleryError.
        """
        try:
            make_directory(directory)
            lock = DirectoryLock(directory)
        except OSError as error:
            raise unavailable(directory, error) from error
        try:
            writer = ChainWriter(
                directory,
                keep_days=keep_days,
                max_file_bytes=max_file_bytes,
                clock=clock,
                new_file=new_file,
            )
        except (OSError, AuditUnavailableError) as error:
            lock.release()
            if isinstance(error, OSError):
                raise unavailable(directory, error) from error
            raise
        return cls(writer, lock)

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._writer.directory

    @property
    def ready(self) -> bool:
        """Whether the last attempt went well; false before the first one."""
        return self._writer.ready

    async def check(self) -> None:
        """Return if an event can be written now; costs nothing while all is well.

        Raises: AuditUnavailableError, also where the disk is nearly full.
        """
        if not self._writer.ready:
            await self._written(None)

    async def record(self, event: AuditEvent) -> None:
        """Return once the event is on the disk. Raises: AuditUnavailableError; it is not then."""
        await self._written(body_of(event))

    def owe(self, event: AuditEvent) -> None:
        """Write an event as soon as that is possible; nobody waits for it."""
        self._put(_Wish(body_of(event), None))

    def close(self) -> None:
        """Write what is left and give the directory free."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._writer.close()
        self._lock.release()

    async def _written(self, body: bytes | None) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._put(_Wish(body, waiter))
        await waiter

    def _put(self, wish: _Wish) -> None:
        with self._changed:
            if self._closing:
                raise AuditUnavailableError("the audit log is closed")
            self._wishes.append(wish)
            self._changed.notify()

    def _run(self) -> None:
        try:
            self._serve()
        finally:
            with self._changed:
                self._closing = True
                left = [wish.waiter for wish in self._wishes if wish.waiter is not None]
            _settle(left, AuditUnavailableError("the audit log is closed"))

    def _serve(self) -> None:
        self._writer.expire()
        while True:
            wishes, closing = self._take()
            if wishes or self._owed:
                self._write(wishes)
            self._writer.expire()
            if closing and not wishes:
                break
        if self._owed:
            log.critical("%d events are in no audit log: no room or no disk", len(self._owed))

    def _take(self) -> tuple[list[_Wish], bool]:
        with self._changed:
            if not self._wishes and not self._closing:
                self._changed.wait(UPKEEP_S)
            count = min(len(self._wishes), MOST_TOGETHER)
            return [self._wishes.popleft() for _ in range(count)], self._closing

    def _write(self, wishes: Sequence[_Wish]) -> None:
        error: AuditUnavailableError | None = AuditUnavailableError("the audit log broke down")
        try:
            bodies = (wish.body for wish in wishes if wish.body is not None)
            self._writer.write([*self._owed, *bodies])
            self._owed, error = [], None
        except AuditUnavailableError as failure:
            error = failure
            self._owed += [wish.body for wish in wishes if wish.body and wish.waiter is None]
        finally:
            _settle([wish.waiter for wish in wishes if wish.waiter is not None], error)


def _settle(waiters: Sequence[_Future], error: AuditUnavailableError | None) -> None:
    """Let all waiters go on; those of one loop at once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Future]] = {}
    for waiter in waiters:
        by_loop.setdefault(waiter.get_loop(), []).append(waiter)
    for loop, its in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_release, its, error)


def _release(waiters: Sequence[_Future], error: AuditUnavailableError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(type(error)(str(error)))
