"""Whether a log is as it was written: every line counted, and vouched for by the line after it.

The last line is vouched for by the `head` beside the files. Whoever can write to the directory
could write all of it anew; against that, keep the hash of the last line somewhere else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from service.audit.files import LogName, log_names, read_head
from service.audit.line import FIRST_PREVIOUS, LineError, Link, hash_of, parse_line
from service.audit.reader import Line, lines_of


@dataclass(slots=True)
class Verification:
    """What was found: sound lines and files up to the first damage; `notes` are no damage.

    `first` is the number of the first line, `last` the last sound one; None in an empty log.
    """

    lines: int = 0
    files: int = 0
    first: int | None = None
    last: Link | None = None
    damage: str | None = None
    notes: list[str] = field(default_factory=list)


class _DamageError(Exception):
    """The chain does not hold; the message says where."""


def verify(directory: Path) -> Verification:
    """Read a whole log, also while it is being written. Raises: OSError."""
    chain = _Chain(read_head(directory))  # before the files: it then says no more than they hold
    try:
        for name in log_names(directory):
            chain.take_file(name, lines_of(directory / str(name)))
        chain.end()
    except _DamageError as error:
        chain.found.damage = str(error)
    return chain.found


class _Chain:
    """The chain so far."""

    def __init__(self, head: Link | None) -> None:
        self._head = head
        self._start = ("", FIRST_PREVIOUS)
        self._expired: set[str] = set()
        self._before = ""
        self.found = Verification()

    def take_file(self, name: LogName, lines: Iterator[Line]) -> None:
        """Check the next file. Raises: _DamageError."""
        for line in lines:
            where = f"{line.file}, line {line.number}"
            if not line.whole:
                self.found.notes.append(
                    f"{where}: {len(line.raw)} bytes of a line that was never finished"
                )
            else:
                self._take(line, where, name.first if line.number == 1 else None)
        self.found.files += 1

    def end(self) -> None:
        """Check where the chain begins and ends. Raises: _DamageError."""
        found, head = self.found, self._head
        if found.last is None:
            if head is not None and head.sequence:
                raise _DamageError(f"no line is there, {head.sequence} were written")
            return
        where, previous = self._start
        if previous != FIRST_PREVIOUS and previous not in self._expired:
            raise _DamageError(
                f"{where}: the lines before {found.first} are gone, and no line says they expired"
            )
        if head is None:
            raise _DamageError("the file `head`, which says where the log ends, is missing")
        if head.sequence > found.last.sequence:
            raise _DamageError(
                f"{self._before}: the log ends with {found.last.sequence},"
                f" {head.sequence} lines were written"
            )

    def _take(self, line: Line, where: str, named: int | None) -> None:
        try:
            values = parse_line(line.raw)
        except LineError as error:
            raise _DamageError(f"{where}: {error}") from None
        sequence, last = values["sequence"], self.found.last
        expected = named if last is None else last.sequence + 1
        for wanted in (expected, named):
            if wanted is not None and sequence != wanted:
                raise _DamageError(f"{where}: expected sequence {wanted}, came {sequence}")
        if last is None:
            self._start = (where, values["previous"])
            self.found.first = sequence
            if (sequence == 1) != (values["previous"] == FIRST_PREVIOUS):
                raise _DamageError(f"{where}: sequence {sequence} cannot follow on nothing")
        elif values["previous"] != last.hash:
            raise _DamageError(
                f"{self._before}: not what was written, by its hash in the line after it"
            )
        if values["kind"] == "expired" and isinstance(values.get("last_hash"), str):
            self._expired.add(values["last_hash"])
        self._close(Link(sequence, hash_of(line.raw)), where)

    def _close(self, link: Link, where: str) -> None:
        head = self._head
        if head is not None and head.sequence == link.sequence and head.hash != link.hash:
            raise _DamageError(f"{where}: not what was written, by its hash in `head`")
        self.found.last = link
        self.found.lines += 1
        self._before = where
