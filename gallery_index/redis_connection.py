"""A connection to a Redis server, and what the server must promise before it keeps records.

What Redis promises is read at the start and again after every outage: without an append-only file,
or with a policy that evicts our keys, it is refused. Knows nothing of what is stored.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gallery_index.errors import (
    StorageFullError,
    StoreConfigurationError,
    StoreUnavailableError,
)
from gallery_index.records import Durability

_LOADING_WAIT_S = 60.0
_TIMEOUT_S = 3.0


class RedisConnection:
    """A client of one Redis database, reached again by itself after it was away."""

    def __init__(self, url: str) -> None:
        """Connect and check the server's settings; waits while it loads its data.

        Raises: StoreUnavailableError, StoreConfigurationError.
        """
        try:
            self.client = redis.Redis.from_url(
                url,
                decode_responses=True,
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
                health_check_interval=15,
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError as error:
            raise StoreConfigurationError(f"not a Redis URL: {error}") from error
        self.location = _describe(self.client)
        self.was_away = False
        try:
            self._wait_until_loaded()
            self.durability = self.check_configuration()
        except BaseException:
            self.client.close()
            raise

    def recheck(self) -> None:
        """After an outage, see whether the server still promises the same: it may be another.

        Raises: StoreUnavailableError, StoreConfigurationError.
        """
        if self.was_away:
            self.durability = self.check_configuration()
            self.was_away = False

    def check_configuration(self) -> Durability:
        """Return what a commit survives. Raises: StoreConfigurationError if that is nothing."""
        with self.reported():
            persistence = self.client.info("persistence")
            memory = self.client.info("memory")
            appendfsync = self._appendfsync()
        if not int(persistence.get("aof_enabled", 0)):
            raise StoreConfigurationError(
                f"{self.location} keeps nothing over a restart: set appendonly yes"
                " and appendfsync always"
            )
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        if policy.startswith("allkeys-"):
            raise StoreConfigurationError(
                f"{self.location} may evict records (maxmemory-policy {policy}):"
                " set maxmemory-policy noeviction"
            )
        if appendfsync is None:
            return "unknown"
        return "power-loss" if appendfsync == "always" else "process-crash"

    def ready(self) -> bool:
        """Whether the server answers now."""
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            self.was_away = True
            return False

    def scrub(self) -> None:
        """Ask Redis to rewrite its append-only file without what was deleted; it may refuse."""
        with suppress(redis.RedisError):
            self.client.bgrewriteaof()

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Turn what the client raises into this package's errors."""
        try:
            yield
        except redis.AuthenticationError as error:
            raise StoreConfigurationError(f"{self.location} refuses us: {error}") from error
        except redis.ResponseError as error:
            text = str(error)
            if text.startswith("OOM") or "No space left" in text:
                raise StorageFullError(f"{self.location} is full: {text}") from error
            raise StoreUnavailableError(f"{self.location} refuses: {text}") from error
        except redis.RedisError as error:
            self.was_away = True
            raise StoreUnavailableError(f"{self.location} does not answer: {error}") from error

    def _wait_until_loaded(self) -> None:
        deadline = time.monotonic() + _LOADING_WAIT_S
        with self.reported():
            while True:
                try:
                    self.client.ping()
                    return
                except redis.BusyLoadingError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)

    def _appendfsync(self) -> str | None:
        try:
            found = cast("dict[str, str]", self.client.config_get("appendfsync"))
        except redis.ResponseError:  # CONFIG is forbidden on managed servers
            return None
        return found.get("appendfsync")


def _describe(client: Any) -> str:
    options = client.connection_pool.connection_kwargs
    place = options.get("path") or f"{options.get('host')}:{options.get('port')}"
    return f"Redis at {place} (database {options.get('db', 0)})"
