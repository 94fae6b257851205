"""The threads that search: few, because more of them are no faster, and no search that is too late.

Its methods belong to one event loop.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from service.errors import DeadlineExceededError

T = TypeVar("T")

SEARCH_THREADS: Final = 4
"""At 119,000 entries one thread made 139 searches a second, two 156, eight 145."""

NEWEST: Final = 0.1
"""What the newest search counts for in what one is expected to take."""


class SearchPool:
    """Runs searches off the event loop; none begins after its deadline."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(SEARCH_THREADS, "search")
        self._under_way = 0
        self._seconds = 0.0

    def expected_wait_s(self) -> float:
        """Return how long the searches under way will take; 0 without any."""
        return self._under_way * self._seconds / SEARCH_THREADS

    async def run(self, work: Callable[[], T], deadline: float) -> T:
        """Run a search that is of use until `deadline`, a time of `time.monotonic`.

        Raises: DeadlineExceededError, and what the search raises.
        """
        loop = asyncio.get_running_loop()
        self._under_way += 1
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await loop.run_in_executor(self._threads, self._in_time, work, deadline)
        except TimeoutError:
            raise _too_late() from None
        finally:
            self._under_way -= 1

    def _in_time(self, work: Callable[[], T], deadline: float) -> T:
        """Search in one of the threads, and learn what that takes."""
        began = time.monotonic()
        if began > deadline:
            raise _too_late()
        try:
            return work()
        finally:
            taken = time.monotonic() - began
            self._seconds += NEWEST * (taken - self._seconds) if self._seconds else taken

    def close(self) -> None:
        """Finish what runs; what waits is dropped."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def _too_late() -> DeadlineExceededError:
    return DeadlineExceededError("the search did not end within the deadline of the query")
