"""How many requests a key may make: a token bucket each.

A bucket holds a minute's worth of requests and fills evenly; it is kept as the one number that
says all, the time at which it will be full again.
"""

import time
from collections.abc import Callable
from typing import Final

from service.errors import RateLimitedError

WINDOW_S: Final = 60.0
SWEEP_ABOVE: Final = 1024
_ROUNDING_S: Final = 1e-6
"""Who waits exactly as long as told is let in, whatever the sums were rounded to."""


class RateLimiter:
    """Counts requests by key. Remembers no key whose bucket is full: it is as if never seen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._full_at)

    def take(self, key_id: str, per_minute: int) -> None:
        """Count one request. Raises: RateLimitedError, which says when the next one may come."""
        now = self._clock()
        full_at = max(now, self._full_at.get(key_id, now)) + WINDOW_S / per_minute
        wait_s = full_at - now - WINDOW_S
        if wait_s > _ROUNDING_S:
            raise RateLimitedError(
                f"expected at most {per_minute} requests a minute of the API key {key_id}",
                retry_after_s=wait_s,
            )
        if key_id not in self._full_at and len(self) >= SWEEP_ABOVE:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        self._full_at[key_id] = full_at
