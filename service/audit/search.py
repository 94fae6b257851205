"""Looks for calls in a log, newest first, a bounded piece at a time, also while it is written.

Files are read backwards from where the page before ended: what is appended meanwhile moves nothing.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from gallery_index.errors import CursorError
from service.audit.files import LogName, lines_back, log_names
from service.audit.line import LineError, parse_line, time_of

MAX_BYTES: Final = 8 * 2**20
"""How much one page reads at most, however little matches."""

_CURSOR = re.compile(r"([0-9]{1,12})\.([0-9]{1,6})\.([0-9]{1,15})")


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which calls are looked for: all that is given holds. `call` is in the method and path;
    `person_id` and `entry_id` are named, shown or changed by the call."""

    caller: str | None = None
    call: str | None = None
    person_id: str | None = None
    entry_id: str | None = None
    request_id: str | None = None
    status: int | None = None
    code: str | None = None
    after: datetime | None = None
    before: datetime | None = None

    def matches(self, values: dict[str, Any]) -> bool:
        """Return whether a line is asked for; the log's own are if nothing is. Raises: LineError,
        if a time is asked for and the line has none."""
        return (
            _same(self.caller, values.get("caller"))
            and (self.call is None or self.call in values.get("call", ""))
            and (self.person_id is None or self.person_id in _ids(values, "person"))
            and (self.entry_id is None or self.entry_id in _ids(values, "entry"))
            and _same(self.request_id, values.get("request_id"))
            and _same(self.status, values.get("status"))
            and _same(self.code, values.get("code"))
            and (self.after is None or time_of(values) >= self.after)
            and (self.before is None or time_of(values) < self.before)
        )

    def needles(self) -> list[bytes]:
        """Return what the bytes of every line that matches have in them."""
        texts = (getattr(self, name.name) for name in fields(self))
        return [to_json(text)[1:-1] for text in texts if isinstance(text, str)]


@dataclass(slots=True)
class AuditPage:
    """What one page found; `searched_to`: all after this time has been looked at, None: everything.

    `damaged` are lines that cannot be read; `cursor` leads on, None at the end.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    searched_to: datetime | None = None
    cursor: str | None = None


class _Place(NamedTuple):
    """The end of the lines that are left to look at: a file, and a byte of it (None: its end)."""

    first: int
    attempt: int
    offset: int | None

    def reaches(self, name: LogName) -> bool:
        return (name.first, name.attempt) <= (self.first, self.attempt)

    def end_in(self, name: LogName) -> int | None:
        return self.offset if (name.first, name.attempt) == (self.first, self.attempt) else None


def find_calls(
    directory: Path,
    wanted: AuditFilter,
    *,
    limit: int,
    cursor: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> AuditPage:
    """Return up to `limit` calls, newest first, from where `cursor` says.

    Raises: CursorError, OSError.
    """
    place = None if cursor is None else _parse(cursor)
    page, read = AuditPage(), 0
    needles = wanted.needles()
    for name in reversed(log_names(directory)):
        if place is not None and not place.reaches(name):
            continue
        if not name.may_have(wanted.after, wanted.before):
            continue
        for offset, raw in _lines_back(directory / str(name), place and place.end_in(name)):
            read += len(raw) + 1
            _look(page, wanted, needles, raw, f"{name}, byte {offset}")
            if len(page.events) == limit or read >= max_bytes:
                page.cursor = f"{name.first}.{name.attempt}.{offset}"
                page.searched_to = _time_or_none(raw)
                return page
    return page


def _look(
    page: AuditPage, wanted: AuditFilter, needles: list[bytes], raw: bytes, where: str
) -> None:
    """Add a line to a page, if it is asked for or damaged."""
    if not all(needle in raw for needle in needles):
        return
    try:
        values = parse_line(raw)
        if values["kind"] == "call" and wanted.matches(values):
            del values["previous"]
            page.events.append(values)
    except LineError as error:
        page.damaged.append(f"{where}: {error}")


def _lines_back(path: Path, end: int | None) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines of a file that end by `end`; none if it is gone. Raises: OSError."""
    with suppress(FileNotFoundError):
        yield from lines_back(path, end)


def _parse(cursor: str) -> _Place:
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise CursorError(f"cursor: expected one from an earlier page, got {cursor[:80]!r}")
    return _Place(int(match[1]), int(match[2]), int(match[3]))


def _time_or_none(raw: bytes) -> datetime | None:
    try:
        return time_of(parse_line(raw))
    except LineError:
        return None


def _same(wanted: object, came: object) -> bool:
    return wanted is None or wanted == came


def _ids(values: dict[str, Any], what: str) -> set[str]:
    shown = {entry.get(f"{what}_id") for entry in values.get("shown", ())}
    return shown.union(values.get(f"{what}_ids", ()))
