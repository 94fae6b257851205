"""What is wrong with the files of a dataset, gathered so that it is all said at once.

Owns the words of a report, not the checks: readers and `checks` find, this counts and shows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import DatasetError

SHOWN = 3


@dataclass(frozen=True)
class Problem:
    """One kind of fault, in words that hold its count, and everything that shows it."""

    what: str
    where: tuple[str, ...] = ()

    def describe(self, shown: int = SHOWN) -> str:
        """One line: the fault and the first `shown` places, whatever their names hold."""
        if not self.where:
            return printable(self.what)
        places = ", ".join(self.where[:shown])
        more = f" and {len(self.where) - shown:,} more" if len(self.where) > shown else ""
        return printable(f"{self.what}: {places}{more}")

    def __str__(self) -> str:
        return self.describe()


@dataclass
class Findings:
    """Errors (training does not start) and remarks (it does) in the order they were found."""

    errors: list[Problem] = field(default_factory=list)
    remarks: list[Problem] = field(default_factory=list)

    def error(self, where: Iterable[object], one: str, many: str) -> None:
        """Add an error that shows at these places; more places to one of the same words."""
        _add(self.errors, where, one, many)

    def remark(self, where: Iterable[object], one: str, many: str) -> None:
        """Add a remark that shows at these places; more places to one of the same words."""
        _add(self.remarks, where, one, many)


def unreadable(where: Iterable[str]) -> list[Problem]:
    """Images that cannot be read as one problem; none without a place."""
    return _counted(tuple(where), "unreadable image", "unreadable images")


def raise_for(root: Path, problems: Sequence[Problem]) -> None:
    """Raise one DatasetError, one line, that lists every problem; nothing where there is none."""
    if problems:
        raise DatasetError(
            f"{printable(str(root))}: " + "; ".join(problem.describe() for problem in problems)
        )


def _add(problems: list[Problem], where: Iterable[object], one: str, many: str) -> None:
    places = tuple(str(place) for place in where)
    for position, known in enumerate(problems):
        if known.where and known.what == _count(len(known.where), one, many):
            problems[position : position + 1] = _counted((*known.where, *places), one, many)
            return
    problems += _counted(places, one, many)


def _counted(places: tuple[str, ...], one: str, many: str) -> list[Problem]:
    return [Problem(_count(len(places), one, many), places)] if places else []


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def printable(text: str) -> str:
    """Escape what would break a line or cannot be encoded: names of files are anything."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )
