"""Listing cursors: opaque text that names a gallery and the last row handed out."""

import base64
import binascii
import re

from gallery_index.errors import CursorError

_PLAIN = re.compile(r"([0-9a-f]{32}):([0-9]{1,18})")


def encode_cursor(gallery_id: str, row: int) -> str:
    """Return the cursor that goes on after `row`."""
    return base64.urlsafe_b64encode(f"{gallery_id}:{row}".encode()).decode().rstrip("=")


def decode_cursor(gallery_id: str, cursor: str) -> int:
    """Return the row after which to go on. Raises: CursorError."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        plain = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (UnicodeError, binascii.Error, ValueError):
        plain = ""
    match = _PLAIN.fullmatch(plain)
    if match is None:
        raise CursorError(f"cursor: expected one from an earlier page, got {cursor[:80]!r}")
    if match[1] != gallery_id:
        raise CursorError("cursor: this one belongs to another gallery")
    return int(match[2])
