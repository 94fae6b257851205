"""When a call is sent again, and after how long. Neither sends nor sleeps: the shells do."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Generic, TypeVar

import httpx

from service.client_calls import Call
from service.client_errors import ServiceError, refusal, unreachable

T = TypeVar("T")

RETRIED: Final = frozenset({429, 503})
FIRST_WAIT_S: Final = 0.1
JITTER: Final = 0.25
"""Clients that were refused together come back apart: up to this share of the wait is added."""
NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
HOPELESS: Final = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.ProxyError)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long a call is tried.

    `max_wait_s`: a service that asks for a longer wait has its refusal handed on.
    `total_timeout_s`: from the first sending on; nothing is sent and no wait begun beyond it, and
    what is under way then waits no longer for the network.
    """

    connect_timeout_s: float = 5.0
    total_timeout_s: float = 180.0
    max_retries: int = 5
    max_wait_s: float = 30.0
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random


class Tries(Generic[T]):
    """The sendings of one call: takes what came of each, says whether and when to send again."""

    def __init__(self, call: Call[T], patience: Patience, address: str) -> None:
        self._call = call
        self._patience = patience
        self._address = address
        self._until = patience.clock() + patience.total_timeout_s
        self._retries = 0
        self._perhaps_done = False
        self._answer: list[T] = []

    @property
    def done(self) -> bool:
        """Whether the answer is here."""
        return bool(self._answer)

    @property
    def answer(self) -> T:
        """The answer; there is one once `done`."""
        return self._answer[0]

    def timeout(self, timeout_s: float) -> httpx.Timeout:
        """Return how long the next sending waits for the network, where it may be `timeout_s`."""
        left_s = max(self._until - self._patience.clock(), 0.001)
        connect_s = min(self._patience.connect_timeout_s, left_s)
        return httpx.Timeout(min(timeout_s, left_s), connect=connect_s)

    def take(self, outcome: httpx.Response | httpx.TransportError) -> float:
        """Take what came of a sending; returns the seconds to wait before the next one.

        Raises: ServiceError where there is to be no next one.
        """
        if isinstance(outcome, httpx.TransportError):
            return self._after_loss(outcome)
        if outcome.is_success:
            self._answer.append(self._call.read(outcome))
            return 0
        if outcome.status_code == 404 and self._perhaps_done and self._call.if_gone is not None:
            self._answer.append(self._call.if_gone())
            return 0
        asked_s = _asked_s(outcome) if outcome.status_code in RETRIED else None
        if asked_s is None or asked_s > self._patience.max_wait_s:
            raise refusal(outcome)
        return self._wait_s(asked_s * (1 + JITTER * self._patience.jitter()), refusal(outcome))

    def _after_loss(self, error: httpx.TransportError) -> float:
        failure = unreachable(self._address, error)
        if isinstance(error, HOPELESS):
            raise failure from error
        if not isinstance(error, NEVER_SENT):
            if not self._call.repeatable:
                raise failure from error
            self._perhaps_done = True
        wait_s = FIRST_WAIT_S * 2**self._retries * (0.5 + 0.5 * self._patience.jitter())
        try:
            return self._wait_s(wait_s, failure)
        except ServiceError:
            raise failure from error

    def _wait_s(self, wait_s: float, failure: ServiceError) -> float:
        """Allow one more sending after so long, if there is one left and time for it."""
        if self._retries == self._patience.max_retries:
            raise failure
        if self._patience.clock() + wait_s >= self._until:
            raise failure
        self._retries += 1
        return wait_s


def _asked_s(response: httpx.Response) -> float | None:
    """Return for how long the service asks to wait, in seconds or until a date; None: it does not.

    A date is counted from the answer's own `Date` where it has one: clocks differ.
    """
    asked = response.headers.get("Retry-After", "")
    if asked.isascii() and asked.isdecimal():
        return float(asked)
    until = _date(asked)
    if until is None:
        return None
    now = _date(response.headers.get("Date", "")) or datetime.now(UTC)
    return float(max(math.ceil((until - now).total_seconds()), 0))


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
