"""Queries that may still be looked into: for a short time, in memory alone, a bounded number.

Only what was asked for with `explain` is kept, and only whoever asked gets at it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.errors import QueryNotFoundError
from service.refresh.served import ServedModel

MAX_QUERIES: Final = 1000
MAX_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class KeptQuery:
    """A query and what it was answered with: its crops, direction (D,), model, entries by row.

    `key_id` is that of the key that asked; None without keys.
    """

    query_id: str
    key_id: str | None
    served: ServedModel
    crops: Sequence[bytes]
    direction: NDArray[np.float32]
    rows: Mapping[str, int]

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return sum(map(len, self.crops)) + self.direction.nbytes


class KeptQueries:
    """The last queries. Belongs to one event loop."""

    def __init__(self, kept_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep each for so many seconds, fewer when there are many."""
        self._kept_s = kept_s
        self._clock = clock
        self._queries: OrderedDict[str, tuple[float, KeptQuery]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._queries)

    def keep(self, query: KeptQuery) -> None:
        """Keep a query; the oldest go for it. One too large alone is not kept."""
        self._drop_old()
        self._queries[query.query_id] = self._clock(), query
        self._bytes += query.size
        while len(self._queries) > MAX_QUERIES or self._bytes > MAX_BYTES:
            self._drop_first()

    def get(self, query_id: str, key_id: str | None) -> KeptQuery:
        """Return a query of a caller. Raises: QueryNotFoundError."""
        self._drop_old()
        _, query = self._queries.get(query_id, (0.0, None))
        if query is None or query.key_id != key_id:
            raise QueryNotFoundError(
                f"no query {query_id!r} of this key that was asked with `explain` in the last"
                f" {self._kept_s:g} s"
            )
        return query

    def _drop_old(self) -> None:
        while self._queries:
            asked_at, _ = next(iter(self._queries.values()))
            if asked_at > self._clock() - self._kept_s:
                return
            self._drop_first()

    def _drop_first(self) -> None:
        _, (_, query) = self._queries.popitem(last=False)
        self._bytes -= query.size
