"""Where a log that is there already is taken up again, whatever happened to its end."""

import logging
from pathlib import Path

from service.audit.files import last_line, log_names, read_head
from service.audit.line import BEGINNING, LineError, Link, hash_of, parse_line
from service.errors import AuditUnavailableError

log = logging.getLogger(__name__)


def resume(directory: Path) -> tuple[Link, str | None]:
    """Return the last line that was acknowledged, and what is wrong with the end of the log.

    Lines that are gone stay missed: the chain goes on behind them, so that `verify` finds the gap.

    Raises: OSError; AuditUnavailableError where nothing tells how many lines there were.
    """
    for name in log_names(directory):
        if not (directory / str(name)).stat().st_size:  # begun, and killed before its first line
            (directory / str(name)).unlink()
    head = read_head(directory)
    end = _end(directory)
    link, note = _taken_up(directory, head, end)
    if note is not None:
        log.error("audit log: %s; `mpanet audit --verify` says more", note)
    return link, note


def _taken_up(directory: Path, head: Link | None, end: Link | None) -> tuple[Link, str | None]:
    if head is None:
        if end is None:
            return BEGINNING, None
        if end.sequence == 0:
            raise AuditUnavailableError(
                f"the last line of the audit log in {directory} cannot be read, and there is no"
                " `head` beside it: move the directory elsewhere, a new log is begun then"
            )
        return end, "the head of the log was missing"
    if end is None:
        if head == BEGINNING:
            return head, None
        return head, f"{head.sequence} lines were written and none is there"
    if end.sequence > head.sequence or end == head:
        return end, None
    return head, f"line {head.sequence} was the last and is not what is there now"


def _end(directory: Path) -> Link | None:
    """Return the last whole line; its sequence is 0 where it cannot be read."""
    for name in reversed(log_names(directory)):
        line = last_line(directory / str(name))
        if line is not None:
            try:
                return Link(parse_line(line)["sequence"], hash_of(line))
            except LineError:
                return Link(0, hash_of(line))
    return None
