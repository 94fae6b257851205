"""How fast something goes, and when it will be done: by what was done in the last half minute."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

WINDOW_S: Final = 30.0
LEAST_S: Final = 1.0


class Pace:
    """Counts what is done. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._done = 0

    def count(self, done: int) -> None:
        """Count what was done just now."""
        self._done += done
        now = self._clock()
        self._seen.append((now, self._done))
        while len(self._seen) > 2 and self._seen[0][0] < now - WINDOW_S:
            self._seen.popleft()

    def per_s(self) -> float | None:
        """Return how many a second; None while little is known."""
        (first_at, first), (last_at, last) = self._seen[0], self._seen[-1]
        if last_at - first_at < LEAST_S or last == first:
            return None
        return (last - first) / (last_at - first_at)

    def seconds_left(self, left: int) -> float | None:
        """Return how long what is left will take; None while little is known."""
        rate = self.per_s()
        return None if rate is None else left / rate
