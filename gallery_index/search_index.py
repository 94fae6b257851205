"""The seam between a gallery and what finds its vectors: in this process, or in Qdrant.

An index takes changes, offers candidates in order of an estimated similarity and hands out vectors
as stored. Everything else is written once above it: normalisation, exact scoring, grouping,
re-ranking, who may see what.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gallery_index.candidates import Candidates, StoredVectors
from gallery_index.records import EntryFilter, GalleryEntry


@dataclass(frozen=True, slots=True, eq=False)
class Put:
    """A new entry and its vector, fp16 (D,) of length one, at a row never used before."""

    entry: GalleryEntry
    vector: NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Change:
    """An entry whose fields have changed; its vector stays."""

    entry: GalleryEntry


@dataclass(frozen=True, slots=True)
class Erase:
    """A row whose vector and fields are to be gone; it may be gone already."""

    row: int


Operation: TypeAlias = Put | Change | Erase


@dataclass(frozen=True, slots=True)
class IndexStats:
    """The state of an index: rows it holds, how it searches, whether it answers."""

    rows: int
    kind: str
    ready: bool


class SearchIndex(Protocol):
    """Vectors by row, with the fields that filters ask for. Safe to call from several threads."""

    def apply(self, operations: Sequence[Operation], seq: int) -> None:
        """Carry out changes, durably and in order; again does no harm.

        `seq` is the store's number of the change that they belong to: an index that keeps
        snapshots says with it what they stand on. Raises: StoreUnavailableError, StorageFullError.
        """

    def candidates(self, query: NDArray[np.float32], n: int, filter: EntryFilter) -> Candidates:
        """Return up to `n` rows near a query (D,) of length one, among those that match."""

    def vectors(self, rows: NDArray[np.int64]) -> StoredVectors:
        """Return the vectors of rows, and which of them can be trusted."""

    def checkpoint(self) -> None:
        """Make the next opening quick; nothing is lost without it."""

    def stats(self) -> IndexStats:
        """Return counts; asks the index whether it answers."""


def person_number(person_id: str | None) -> int:
    """Return the number of a person for `Candidates.persons`: -1 for none, else 63 bits of a hash.

    Two of a million persons share a number with a probability of 5e-8.
    """
    if person_id is None:
        return -1
    return int.from_bytes(hashlib.blake2b(person_id.encode(), digest_size=8).digest()) >> 1
