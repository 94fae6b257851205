"""One process a directory: an exclusive `flock`, and who holds it.

The kernel drops the lock with the process, so a file left by a killed one is no obstacle.
"""

import fcntl
import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from gallery_index.errors import GalleryLockedError


class DirectoryLock:
    """Holds `directory/lock` from construction to `release`.

    Raises: GalleryLockedError, naming the process, the host and since when.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _describe_holder(self._path)
            os.close(self._descriptor)
            raise GalleryLockedError(f"{directory} is in use by {holder}") from None
        # The lock is what excludes; on a full disk it holds without a name in it.
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, _describe_self(), 0)

    def release(self) -> None:
        """Let another process have the directory."""
        os.close(self._descriptor)


def _describe_self() -> bytes:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode()


def _describe_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_bytes())
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
