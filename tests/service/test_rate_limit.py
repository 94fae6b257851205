"""How often a key may call. Expected values by hand: a bucket of N fills in a minute."""

import pytest

from service.access.rate_limit import SWEEP_ABOVE, RateLimiter
from service.errors import RateLimitedError
from tests.service.clock import Clock


def taken(limiter: RateLimiter, key: str, per_minute: int, tries: int) -> int:
    """Return how many of several requests at once are let in."""
    count = 0
    for _ in range(tries):
        try:
            limiter.take(key, per_minute)
        except RateLimitedError:
            continue
        count += 1
    return count


def test_a_minute_of_requests_may_come_at_once_and_no_more() -> None:
    limiter = RateLimiter(Clock())
    assert taken(limiter, "a", 30, 100) == 30
    assert taken(limiter, "b", 7, 100) == 7


def test_the_bucket_fills_evenly() -> None:
    clock = Clock()
    limiter = RateLimiter(clock)
    assert taken(limiter, "a", 30, 100) == 30
    clock.advance(10)
    assert taken(limiter, "a", 30, 100) == 5
    clock.advance(1.9)
    assert taken(limiter, "a", 30, 100) == 0
    clock.advance(0.1)
    assert taken(limiter, "a", 30, 100) == 1
    clock.advance(3600)
    assert taken(limiter, "a", 30, 100) == 30


@pytest.mark.parametrize(("per_minute", "wait_s"), [(1, 60.0), (7, 60 / 7), (6000, 0.01)])
def test_who_waits_as_long_as_told_is_let_in(per_minute: int, wait_s: float) -> None:
    clock = Clock(123456.789)
    limiter = RateLimiter(clock)
    taken(limiter, "a", per_minute, per_minute)
    for _ in range(20):
        with pytest.raises(RateLimitedError, match=f"at most {per_minute} requests") as caught:
            limiter.take("a", per_minute)
        assert caught.value.retry_after_s == pytest.approx(wait_s, abs=1e-6)
        clock.advance(caught.value.retry_after_s)
        limiter.take("a", per_minute)


def test_refusals_cost_nothing() -> None:
    clock = Clock()
    limiter = RateLimiter(clock)
    taken(limiter, "a", 6, 1000)
    clock.advance(10)
    assert taken(limiter, "a", 6, 100) == 1


def test_keys_that_are_quiet_again_are_forgotten() -> None:
    clock = Clock()
    limiter = RateLimiter(clock)
    for number in range(20 * SWEEP_ABOVE):
        limiter.take(f"key-{number}", 60)
        clock.advance(0.01)
    assert len(limiter) <= SWEEP_ABOVE
