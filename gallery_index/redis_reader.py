"""Reading the metadata store in a Redis database, also while another process writes to it.

Owns the client, the keys, and what Redis's errors mean here; `redis_store` writes through it.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gallery_index.errors import (
    GalleryCorruptError,
    GalleryMismatchError,
    StorageFullError,
    StoreConfigurationError,
    StoreUnavailableError,
)
from gallery_index.record_codec import StoreHead, decode_head, decode_identity, decode_pending
from gallery_index.record_reader import RecordReader
from gallery_index.records import GalleryIdentity, StoreKind

_PREFIX = "{mpanet:gallery}"
IDENTITY, HEAD, ENTRIES, PENDING, COMMITS, CHANGES = (
    f"{_PREFIX}:{name}" for name in ("identity", "head", "entries", "pending", "commits", "changes")
)
_LOADING_WAIT_S = 60.0
_TIMEOUT_S = 3.0


class RedisReader(RecordReader):
    """A `StoreReader` of one Redis database, reached again by itself after it was away.

    Keys: `identity` and `head` are texts, `entries` and `pending` hashes by row, `commits` a sorted
    set of tokens by number, `changes` one of rows by the number that last changed or deleted them.
    """

    def __init__(self, url: str) -> None:
        """Connect; waits while the server loads its data.

        Raises: StoreUnavailableError, StoreConfigurationError.
        """
        super().__init__()
        self._connected_anew = False
        try:
            self._redis = redis.Redis.from_url(
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
        self._location = _describe(self._redis)
        try:
            self._wait_until_loaded()
            self._begin()
        except BaseException:
            self._redis.close()
            raise

    @property
    def kind(self) -> StoreKind:
        """Which store this is."""
        return "redis"

    @property
    def location(self) -> str:
        """Where it is, for messages; without a password."""
        return self._location

    def identity(self) -> GalleryIdentity | None:
        """Return whose records these are; None if nobody's yet."""
        with self._reported():
            text = self._redis.get(IDENTITY)
        return None if text is None else decode_identity(str(text))

    def pending(self) -> dict[int, str]:
        """Return the rows whose erasure is to be finished, each with its entry's id."""
        with self._reported():
            found = dict(self._redis.hscan_iter(PENDING, count=1000))
        if damaged := [row for row in found if not row.isdecimal()]:
            raise GalleryCorruptError(
                f"{self._location} holds a damaged value: a pending erasure of row {damaged[0]!r}"
            )
        rows = sorted((int(row), value) for row, value in found.items())
        return {row: decode_pending(value, row=row) for row, value in rows}

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _begin(self) -> None:
        """See to it that the server will do."""

    def _on_connect(self, connection: Any) -> None:
        connection.on_connect()
        self._connected_anew = True

    def _read_head(self) -> StoreHead:
        with self._reported():
            head = self._redis.get(HEAD)
        if head is None:
            raise self._lost()
        return decode_head(str(head))

    def _values(self, rows: Sequence[int]) -> Sequence[tuple[int, str]]:
        with self._reported():
            values: Any = self._redis.hmget(ENTRIES, [str(row) for row in rows])
        return [(row, value) for row, value in zip(rows, values, strict=True) if value is not None]

    def _records_held(self) -> int:
        with self._reported():
            return int(self._redis.hlen(ENTRIES))

    def _rows_changed_since(self, head: StoreHead) -> list[int] | None:
        # In one transaction: the process that writes may forget history between two questions.
        with self._reported():
            both = self._redis.pipeline(transaction=True)
            both.zscore(COMMITS, head.token)
            both.zrangebyscore(CHANGES, f"({head.commit}", "+inf")
            number, rows = both.execute()
        if number != head.commit:
            return None
        try:
            return sorted(int(row) for row in rows)
        except ValueError as error:
            raise GalleryCorruptError(f"{self._location} holds a damaged value: {error}") from error

    def _lost(self) -> GalleryMismatchError:
        return GalleryMismatchError(f"{self._location} has lost the records of this gallery")

    def _wait_until_loaded(self) -> None:
        deadline = time.monotonic() + _LOADING_WAIT_S
        while True:
            try:
                with self._reported():
                    self._redis.ping()
                return
            except StoreUnavailableError as error:
                if isinstance(error.__cause__, redis.AuthenticationError):
                    raise StoreConfigurationError(
                        f"{self._location} refuses us: {error.__cause__}"
                    ) from error
                if not isinstance(error.__cause__, redis.BusyLoadingError):
                    raise
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except redis.ResponseError as error:
            text = str(error)
            if "OOM " in text or "No space left" in text:
                raise StorageFullError(f"{self._location} is full: {text}") from error
            raise StoreUnavailableError(f"{self._location} refuses: {text}") from error
        except redis.RedisError as error:
            raise StoreUnavailableError(f"{self._location} does not answer: {error}") from error
        except UnicodeDecodeError as error:
            raise GalleryCorruptError(f"{self._location} holds a damaged value: {error}") from error


def _describe(client: Any) -> str:
    options = client.connection_pool.connection_kwargs
    place = options.get("path") or f"{options.get('host')}:{options.get('port')}"
    return f"Redis at {place} (database {options.get('db', 0)})"
