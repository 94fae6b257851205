"""What the audit log refuses beyond `AuditUnavailableError`, which the service knows."""

import errno

from gallery_index.errors import StorageFullError
from service.errors import AuditUnavailableError

# EFBIG is a limit on the size of a file: as full as full.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class AuditStorageFullError(StorageFullError, AuditUnavailableError):
    """There is no room for the audit log; nothing is done that it would not show."""


def unavailable(what: object, error: OSError) -> AuditUnavailableError:
    """Return what an error of the system means for the log."""
    kind = AuditStorageFullError if error.errno in _NO_ROOM else AuditUnavailableError
    return kind(f"the audit log cannot be written: {what}: {error.strerror or error}")
