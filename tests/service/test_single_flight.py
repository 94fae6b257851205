"""One run for all who ask at the same time."""

import asyncio

import pytest

from service.observing.single_flight import SingleFlight


class Work:
    """Something that ends when it is told to, and counts how often it began."""

    def __init__(self) -> None:
        self.runs = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.runs += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return self.runs


def test_those_who_ask_meanwhile_share_a_run_and_the_next_one_has_its_own() -> None:
    async def ask() -> None:
        work, flight = Work(), SingleFlight[int]()
        asking = [asyncio.ensure_future(flight.run(work, 60)) for _ in range(5)]
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(*asking) == [1] * 5
        assert await flight.run(work, 60) == 2

    asyncio.run(ask())


def test_who_loses_patience_leaves_the_run_to_the_others() -> None:
    async def ask() -> None:
        work, flight = Work(), SingleFlight[int]()
        patient = asyncio.ensure_future(flight.run(work, 60))
        with pytest.raises(TimeoutError):
            await flight.run(work, 0)
        work.go.set()
        assert await patient == 1

    asyncio.run(ask())


def test_all_get_the_error_and_nobody_is_warned_of_one_that_no_one_waits_for() -> None:
    async def ask() -> None:
        work, flight = Work(), SingleFlight[int]()
        work.error = ZeroDivisionError()
        with pytest.raises(TimeoutError):
            await flight.run(work, 0)
        asking = [asyncio.ensure_future(flight.run(work, 60)) for _ in range(2)]
        await asyncio.sleep(0)
        work.go.set()
        for waiting in asking:
            with pytest.raises(ZeroDivisionError):
                await waiting

    asyncio.run(ask())
