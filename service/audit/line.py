"""One line of the log: what a record carries beside its event, and the chain it is a link of.

A line is a JSON object that begins with `sequence`, `time` and `previous`: the SHA-256 of the bytes
of the line before, without its newline. The first line of all has 64 zeros there.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

FIRST_PREVIOUS: Final = "0" * 64


class Link(NamedTuple):
    """A line as the chain sees it: its number from 1 on, and its hash in hex."""

    sequence: int
    hash: str


BEGINNING: Final = Link(0, FIRST_PREVIOUS)


class LineError(ValueError):
    """Bytes that are no line of the log; the message says what was expected."""


def chained(last: Link, time: datetime, bodies: Sequence[bytes]) -> tuple[bytes, Link]:
    """Return the lines of JSON objects that follow `last`, and the link of the last of them."""
    written = f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"
    lines = []
    for body in bodies:
        head = f'{{"sequence":{last.sequence + 1},"time":"{written}","previous":"{last.hash}",'
        line = head.encode() + body[1:]
        last = Link(last.sequence + 1, hash_of(line))
        lines.append(line + b"\n")
    return b"".join(lines), last


def hash_of(line: bytes) -> str:
    """Return the hash of a line without its newline, in hex."""
    return hashlib.sha256(line).hexdigest()


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the values of a line without its newline. Raises: LineError."""
    try:
        values = json.loads(line)
    except ValueError as error:
        raise LineError(f"expected a JSON object in UTF-8: {error}") from None
    if not isinstance(values, dict):
        raise LineError("expected a JSON object")
    for name, type_ in (("sequence", int), ("time", str), ("previous", str), ("kind", str)):
        if type(values.get(name)) is not type_:
            raise LineError(f"expected `{name}` as {type_.__name__}")
    return values


def time_of(values: dict[str, Any]) -> datetime:
    """Return when a line was written. Raises: LineError."""
    try:
        time = datetime.fromisoformat(values["time"])
    except ValueError:
        raise LineError(f"expected a time, came {values['time']!r}") from None
    if time.tzinfo is None:
        raise LineError(f"expected a time with its offset, came {values['time']!r}")
    return time
