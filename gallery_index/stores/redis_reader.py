"""Reading the metadata store in a Redis database, also while another process writes to it.

Owns the keys; `redis_store` writes to them.
"""

from collections.abc import Sequence
from typing import Any

from gallery_index.errors import GalleryCorruptError, GalleryMismatchError
from gallery_index.records import GalleryIdentity, StoreKind
from gallery_index.stores.record_codec import (
    StoreHead,
    decode_head,
    decode_identity,
    decode_pending,
)
from gallery_index.stores.record_reader import RecordReader
from gallery_index.stores.redis_connection import RedisConnection

_PREFIX = "{mpanet:gallery}"
IDENTITY, HEAD, ENTRIES, PENDING, COMMITS, CHANGES = (
    f"{_PREFIX}:{name}" for name in ("identity", "head", "entries", "pending", "commits", "changes")
)


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
        self._server = RedisConnection(url)
        self._redis = self._server.client
        self._reported = self._server.reported
        try:
            self._begin()
        except BaseException:
            self._server.close()
            raise

    @property
    def kind(self) -> StoreKind:
        """Which store this is."""
        return "redis"

    @property
    def location(self) -> str:
        """Where it is, for messages; without a password."""
        return self._server.location

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
                f"{self.location} holds a damaged value: a pending erasure of row {damaged[0]!r}"
            )
        rows = sorted((int(row), value) for row, value in found.items())
        return {row: decode_pending(value, row=row) for row, value in rows}

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def _begin(self) -> None:
        """See to it that the server will do."""

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
            raise GalleryCorruptError(f"{self.location} holds a damaged value: {error}") from error

    def _lost(self) -> GalleryMismatchError:
        return GalleryMismatchError(f"{self.location} has lost the records of this gallery")
