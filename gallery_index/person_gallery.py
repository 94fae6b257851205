"""What a gallery offers to those who serve it, whether one process has it or several share it."""

import builtins
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gallery_index.candidates import StoredVectors
from gallery_index.errors import GalleryError
from gallery_index.records import (
    Added,
    EntryChanges,
    EntryFilter,
    ErasureReceipt,
    GalleryEntry,
    GalleryStats,
    GroupBy,
    Match,
    NewEntry,
    Page,
    VerificationReport,
)

_ANY = EntryFilter()


class PersonGallery(Protocol):
    """`Gallery` or `SharedGallery`; the methods are described there.

    `model_id` in a call says which model its vectors are of, None that this is sure.
    """

    @property
    def model_id(self) -> str:
        """The model whose vectors are searched now; a refresh changes it."""

    def add(
        self, entries: Sequence[NewEntry], *, model_id: str | None = None
    ) -> builtins.list[Added | GalleryError]:
        """Enrol crops, each for itself. Raises: ModelChangedError."""

    def existing(self, entry_id: str, crop: bytes, modality: str) -> Added | None:
        """Answer a repeated enrolment without an embedding; None if the id is free."""

    def get(self, entry_id: str) -> GalleryEntry:
        """Return one entry."""

    def crop(self, entry_id: str) -> tuple[bytes, str]:
        """Return the bytes as enrolled and their media type."""

    def list(
        self, filter: EntryFilter = _ANY, *, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Return entries in order, a page at a time."""

    def update(self, entry_id: str, changes: EntryChanges) -> GalleryEntry:
        """Change the fields that may change."""

    def delete(self, entry_id: str) -> None:
        """Erase one entry."""

    def erase_person(self, person_id: str) -> ErasureReceipt:
        """Erase every entry of a person."""

    def search(
        self,
        query: NDArray[np.float32],
        *,
        top_k: int,
        filter: EntryFilter = _ANY,
        group_by: GroupBy = "entry",
        min_similarity: float | None = None,
        model_id: str | None = None,
    ) -> builtins.list[Match]:
        """Return the entries most similar to a query (D,), best first.

        Raises: ModelChangedError.
        """

    def reranked(
        self,
        matches: Sequence[Match],
        *,
        top_k: int,
        group_by: GroupBy = "entry",
        min_similarity: float | None = None,
        model_id: str | None = None,
    ) -> builtins.list[Match]:
        """Return the best of what `search` found, in the order of k-reciprocal re-ranking."""

    def vectors(self, rows: NDArray[np.int64], model_id: str) -> StoredVectors:
        """Read the vectors of rows by a model. Raises: ModelChangedError if it has none of it."""

    def count(self, filter: EntryFilter = _ANY) -> int:
        """Return how many entries a search with this filter compares."""

    def individuals(self) -> int:
        """Return how many persons there are, one for each entry without a person."""

    def random_matches(
        self, query: NDArray[np.float32], n: int, *, model_id: str | None = None
    ) -> builtins.list[Match]:
        """Return up to `n` entries drawn at random, with their similarity to a query (D,)."""

    def verify(self) -> VerificationReport:
        """Read everything and report whatever disagrees."""

    def stats(self) -> GalleryStats:
        """Return counts, durability and readiness."""

    def __len__(self) -> int: ...

    def close(self) -> None:
        """Let go of everything."""
