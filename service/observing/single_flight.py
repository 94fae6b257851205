"""One run of something for all who ask for it at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Shares the run that is under way. Its methods belong to one event loop."""

    def __init__(self) -> None:
        self._running: asyncio.Future[T] | None = None

    async def run(self, work: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        """Return what the run under way returns, or that of a new one.

        Who loses patience leaves it running. Raises: TimeoutError, and what the run raises.
        """
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(work())
            self._running.add_done_callback(_seen)
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(self._running)


def _seen(future: "asyncio.Future[T]") -> None:
    """Take note of its error: all who asked may have left."""
    if not future.cancelled():
        future.exception()
