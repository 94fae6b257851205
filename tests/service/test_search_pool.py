"""Searches off the event loop, and their deadline."""

import asyncio
import threading
import time

import pytest

from service.engine.search_pool import SEARCH_THREADS, SearchPool
from service.errors import DeadlineExceededError

LONG_S = 60.0


def test_a_search_runs_in_another_thread_and_answers() -> None:
    async def scenario() -> int:
        return await pool.run(threading.get_ident, time.monotonic() + LONG_S)

    pool = SearchPool()
    assert asyncio.run(scenario()) != threading.get_ident()
    pool.close()


def test_a_search_past_its_deadline_is_answered_and_one_that_waits_is_never_begun() -> None:
    let = threading.Event()
    begun = []

    def search(name: str) -> None:
        begun.append(name)
        assert let.wait(LONG_S)

    async def scenario() -> None:
        soon = time.monotonic() + 0.1
        running = [pool.run(lambda: search("held"), soon) for _ in range(SEARCH_THREADS)]
        waiting = pool.run(lambda: search("late"), soon)
        outcomes = await asyncio.gather(*running, waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DeadlineExceededError] * 5

    pool = SearchPool()
    asyncio.run(scenario())
    let.set()
    pool.close()
    assert begun == ["held"] * SEARCH_THREADS


def test_what_a_search_raises_is_what_its_caller_gets() -> None:
    async def scenario() -> None:
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0, time.monotonic() + LONG_S)

    pool = SearchPool()
    asyncio.run(scenario())
    pool.close()


def test_what_searches_take_is_learned_and_told_while_some_are_under_way() -> None:
    let = threading.Event()

    async def scenario() -> None:
        deadline = time.monotonic() + LONG_S
        await pool.run(lambda: time.sleep(0.05), deadline)
        assert pool.expected_wait_s() == 0
        running = [asyncio.create_task(pool.run(let.wait, deadline)) for _ in range(8)]
        await asyncio.sleep(0)
        assert pool.expected_wait_s() >= 8 * 0.05 / SEARCH_THREADS
        let.set()
        await asyncio.gather(*running)
        assert pool.expected_wait_s() == 0

    pool = SearchPool()
    asyncio.run(scenario())
    pool.close()
