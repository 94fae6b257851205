"""A connection to a Redis database, and what the server must promise before it keeps records.

Owns the client, what its errors mean here, and the settings that would lose records. Knows nothing
of what is stored.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gallery_index.errors import (
    GalleryCorruptError,
    StorageFullError,
    StoreConfigurationError,
    StoreUnavailableError,
)
from gallery_index.records import Durability

_LOADING_WAIT_S = 60.0
_TIMEOUT_S = 3.0
_UNSAFE = "UNSAFE"

REFUSE_UNSAFE: Final = """
local info = redis.pcall('INFO', 'persistence')
if type(info) == 'string' and string.find(info, 'aof_enabled:0', 1, true) then
  return redis.error_reply('UNSAFE appendonly')
end
info = redis.pcall('INFO', 'memory')
if type(info) == 'string' and string.find(info, 'maxmemory_policy:allkeys', 1, true) then
  return redis.error_reply('UNSAFE maxmemory-policy')
end
"""
"""The beginning of a script that writes: an operator may change settings while we are connected."""


class RedisConnection:
    """A client of one Redis database, reached again by itself after it was away."""

    def __init__(self, url: str) -> None:
        """Connect; waits while the server loads its data.

        Raises: StoreUnavailableError, StoreConfigurationError.
        """
        self._connected_anew = False
        self.durability: Durability = "unknown"
        try:
            self.client = redis.Redis.from_url(
                url,
                decode_responses=True,
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
                health_check_interval=15,
                retry=Retry(NoBackoff(), 1),
                redis_connect_func=self._on_connect,
            )
        except ValueError as error:
            raise StoreConfigurationError(f"not a Redis URL: {error}") from error
        self.location = _describe(self.client)
        try:
            self._wait_until_loaded()
        except BaseException:
            self.client.close()
            raise

    def check(self) -> None:
        """Read the settings and what a commit survives by them, into `durability`.

        Raises: StoreConfigurationError if records could be lost, StoreUnavailableError.
        """
        self._connected_anew = False
        with self.reported():
            found: dict[str, Any] = self.client.info()
            appendfsync = self._appendfsync()
        if found.get("role", "master") != "master":
            raise StoreUnavailableError(
                f"{self.location} is a replica of another server and takes no writes"
            )
        if not int(found.get("aof_enabled", 0)):
            raise self.forgets()
        if str(found.get("maxmemory_policy", "noeviction")).startswith("allkeys-"):
            raise self.evicts()
        if appendfsync is None:
            self.durability = "unknown"
        else:
            self.durability = "power-loss" if appendfsync == "always" else "process-crash"

    def check_anew(self) -> None:
        """Look at the settings again if the server was away since: it may be another."""
        if self._connected_anew:
            self.check()

    def ready(self) -> bool:
        """Whether the server answers now, and is set up to keep what it is given."""
        try:
            self.check()
        except (StoreUnavailableError, StoreConfigurationError):
            return False
        return True

    def scrub(self) -> bool:
        """Ask Redis to rewrite its append-only file without what was deleted; it may refuse."""
        with suppress(redis.RedisError):
            self.client.bgrewriteaof()
            return True
        return False

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def forgets(self) -> StoreConfigurationError:
        """The error for a server without an append-only file."""
        return StoreConfigurationError(
            f"{self.location} keeps nothing over a restart: set appendonly yes"
            " and appendfsync always"
        )

    def evicts(self) -> StoreConfigurationError:
        """The error for a server that may evict any key."""
        return StoreConfigurationError(
            f"{self.location} may evict records (maxmemory-policy allkeys-...):"
            " set maxmemory-policy noeviction"
        )

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Turn what the client raises into this package's errors."""
        try:
            yield
        except redis.ResponseError as error:
            text = str(error)
            if _UNSAFE in text:
                raise self.forgets() if "appendonly" in text else self.evicts() from error
            if "OOM " in text or "No space left" in text:
                raise StorageFullError(f"{self.location} is full: {text}") from error
            raise StoreUnavailableError(f"{self.location} refuses: {text}") from error
        except redis.RedisError as error:
            raise StoreUnavailableError(f"{self.location} does not answer: {error}") from error
        except UnicodeDecodeError as error:
            raise GalleryCorruptError(f"{self.location} holds a damaged value: {error}") from error

    def _on_connect(self, connection: Any) -> None:
        connection.on_connect()
        self._connected_anew = True

    def _wait_until_loaded(self) -> None:
        deadline = time.monotonic() + _LOADING_WAIT_S
        while True:
            try:
                with self.reported():
                    self.client.ping()
                return
            except StoreUnavailableError as error:
                if isinstance(error.__cause__, redis.AuthenticationError):
                    raise StoreConfigurationError(
                        f"{self.location} refuses us: {error.__cause__}"
                    ) from error
                if not isinstance(error.__cause__, redis.BusyLoadingError):
                    raise
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
