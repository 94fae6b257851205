"""`Gallery`: the one class through which a gallery is used. The signatures; the body follows."""

import builtins
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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


class Gallery:
    """Entries, their crops and vectors in one directory, searched by similarity.

    Safe to call from several threads. Every write is durable when its method returns.
    """

    @classmethod
    def open(
        cls, directory: Path, *, model_id: str, embedding_dim: int, redis_url: str | None = None
    ) -> "Gallery":
        """Open or create the gallery of a directory."""
        raise NotImplementedError

    def add(self, entries: Sequence[NewEntry]) -> list[Added | GalleryError]:
        """Enrol crops in one group commit; a bad item never spoils its neighbours."""
        raise NotImplementedError

    def existing(self, entry_id: str, crop: bytes, modality: str) -> Added | None:
        """Answer a repeated enrolment without an embedding; None if the id is free.

        Raises: EntryConflictError if the id belongs to another crop or modality.
        """
        raise NotImplementedError

    def get(self, entry_id: str) -> GalleryEntry:
        """Return one entry. Raises: EntryNotFoundError."""
        raise NotImplementedError

    def crop(self, entry_id: str) -> tuple[bytes, str]:
        """Return the bytes as enrolled and their media type. Raises: EntryNotFoundError."""
        raise NotImplementedError

    def list(self, filter: EntryFilter, *, limit: int, cursor: str | None = None) -> Page:
        """Return entries in the order of enrolment, a page at a time. Raises: CursorError."""
        raise NotImplementedError

    def update(self, entry_id: str, changes: EntryChanges) -> GalleryEntry:
        """Change the fields that may change. Raises: EntryNotFoundError, InvalidEntryError."""
        raise NotImplementedError

    def delete(self, entry_id: str) -> None:
        """Erase one entry, its vector and crop. Raises: EntryNotFoundError."""
        raise NotImplementedError

    def erase_person(self, person_id: str) -> ErasureReceipt:
        """Erase every entry of a person. Raises: PersonNotFoundError."""
        raise NotImplementedError

    def search(
        self,
        query: NDArray[np.float32],
        *,
        top_k: int,
        filter: EntryFilter | None = None,
        group_by: GroupBy = "entry",
        min_similarity: float | None = None,
    ) -> builtins.list[Match]:
        """Return the entries most similar to a query (D,), best first; exact."""
        raise NotImplementedError

    def snapshot(self) -> None:
        """Write the index beside the vectors, so that the next opening need not rebuild it."""
        raise NotImplementedError

    def verify(self) -> VerificationReport:
        """Read everything and report whatever disagrees."""
        raise NotImplementedError

    def rebuild(self) -> None:
        """Build the index anew from the vector file and replace the snapshots."""
        raise NotImplementedError

    def close(self) -> None:
        """Write a snapshot and release the directory."""
        raise NotImplementedError

    def stats(self) -> GalleryStats:
        """Return counts, durability and readiness."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError
