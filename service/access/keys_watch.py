"""Follows the keys file while the service runs, so that a revocation needs no restart."""

import logging
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from service.access.keys import KeysFileError, read_keys

LOOK_EVERY_S: Final = 1.0
_FOR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_Version: TypeAlias = tuple[int, int, int, int, int]
_ABSENT: Final[_Version] = (0, 0, 0, 0, 0)

log = logging.getLogger(__name__)


class KeysWatch:
    """The keys of a file as it is now or, while that cannot be read, as it was."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file. Raises: KeysFileError."""
        self._path = path
        self._clock = clock
        self._version = _version(path)
        self.keys = read_keys(path)
        self._complaint = ""
        self._next_look_s = clock() + LOOK_EVERY_S
        self._warn_of_readers()

    def refresh(self) -> bool:
        """Look at the file, at most once a second; return whether its keys were read anew."""
        now_s = self._clock()
        if now_s < self._next_look_s:
            return False
        self._next_look_s = now_s + LOOK_EVERY_S
        try:
            changed = self._look()
        except KeysFileError as error:
            self._complain(str(error))
            return False
        self._complaint = ""
        return changed

    def _look(self) -> bool:
        version = _version(self._path)  # before reading: what changes meanwhile is seen next time
        if version == self._version:
            return False
        keys = read_keys(self._path)
        if version == _ABSENT and self.keys:
            raise KeysFileError(f"the keys file {self._path} is gone")
        self._version, self.keys = version, keys
        log.info("the keys file %s was read anew: %d keys", self._path, len(keys))
        self._warn_of_readers()
        return True

    def _complain(self, complaint: str) -> None:
        """Say once what is wrong, not every second."""
        if complaint != self._complaint:
            log.error("%s; the keys of before stay in force", complaint)
        self._complaint = complaint

    def _warn_of_readers(self) -> None:
        mode = stat.S_IMODE(self._version[0])
        if mode & _FOR_OTHERS:
            log.warning(
                "the keys file %s is open to others: expected mode 600, came %o", self._path, mode
            )


def _version(path: Path) -> _Version:
    """Return what differs whenever the file was replaced or written. Raises: KeysFileError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return _ABSENT
    except OSError as error:
        raise KeysFileError(f"the keys file {path} cannot be read: {error.strerror}") from error
    return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
