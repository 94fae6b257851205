"""Group commit: what several threads want to enrol at once goes to the disk together.

Whoever gets to write takes along everything that waits; the others find their part done. So
many clients with one crop each cost little more than one client with many.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST_TOGETHER = 1024


@dataclass(slots=True, eq=False)
class _Part(Generic[Item, Result]):
    items: Sequence[Item]
    results: list[Result] | None = None
    error: Exception | None = field(default=None)


class GroupCommit(Generic[Item, Result]):
    """Runs `write` over the items of all who wait, under a lock that one thread holds at a time.

    `write` returns a result for each item, in order; its error is everybody's whose items it had.
    """

    def __init__(
        self,
        lock: Callable[[], AbstractContextManager[None]],
        write: Callable[[Sequence[Item]], list[Result]],
    ) -> None:
        self._lock = lock
        self._write = write
        self._waiting: deque[_Part[Item, Result]] = deque()

    def submit(self, items: Sequence[Item]) -> list[Result]:
        """Return the results of these items once they are written."""
        part = _Part[Item, Result](items)
        self._waiting.append(part)
        try:
            with self._lock():
                if part.results is None and part.error is None:
                    self._run(part)
        except Exception:
            self._forget(part)
            raise
        if part.error is not None:
            raise part.error
        assert part.results is not None
        return part.results

    def _run(self, own: _Part[Item, Result]) -> None:
        parts = [own]
        self._waiting.remove(own)
        count = len(own.items)
        while self._waiting and count + len(self._waiting[0].items) <= MOST_TOGETHER:
            parts.append(self._waiting.popleft())
            count += len(parts[-1].items)
        try:
            results = self._write([item for part in parts for item in part.items])
        except Exception as error:
            for part in parts:
                part.error = error
            return
        start = 0
        for part in parts:
            part.results = results[start : start + len(part.items)]
            start += len(part.items)

    def _forget(self, part: _Part[Item, Result]) -> None:
        if part in self._waiting:
            self._waiting.remove(part)
