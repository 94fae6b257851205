"""Reads a log line by line, also while it is being written. What is sound is `verification`."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from service.audit.files import log_names
from service.audit.line import LineError, parse_line, time_of


@dataclass(frozen=True, slots=True)
class Line:
    """Bytes of a file up to their newline; `whole` is false where none came: torn or unfinished."""

    file: str
    number: int
    raw: bytes
    whole: bool


@dataclass(frozen=True, slots=True)
class Record:
    """A line that can be read, and what it says."""

    line: Line
    values: dict[str, Any]


def lines_of(path: Path) -> Iterator[Line]:
    """Yield the lines of a file; none if it has expired meanwhile. Raises: OSError."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for number, raw in enumerate(file, start=1):
            yield Line(path.name, number, raw.removesuffix(b"\n"), raw.endswith(b"\n"))


def read_records(
    directory: Path, *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[Record | LineError]:
    """Yield what was recorded from `since` on and before `until`, in the order of the log.

    A damaged line comes as the error that it is. Raises: OSError.
    """
    for name in log_names(directory):
        if not name.may_have(since, until):
            continue
        for line in lines_of(directory / str(name)):
            if not line.whole:
                continue
            try:
                values = parse_line(line.raw)
                time = time_of(values)
            except LineError as error:
                yield LineError(f"{line.file}, line {line.number}: {error}")
                continue
            if (since is None or time >= since) and (until is None or time < until):
                yield Record(line, values)
