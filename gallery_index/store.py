"""What a gallery asks of a metadata store: its transaction is the commit point of every write.

A store holds the gallery's identity, its records, and the rows whose erasure has not reached the
files yet. It also holds a head that every commit replaces: the new head names the commit, and a
commit applies only on the head that it expects. So a transaction whose answer was lost can be
settled by looking, a delayed one cannot land late, and a second writer is found out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gallery_index.records import Durability, GalleryEntry, GalleryIdentity, StoreKind


@dataclass(frozen=True, slots=True)
class Transaction:
    """One atomic change.

    `put` adds or replaces records. `delete` removes records and marks their rows as still to be
    erased; `erased_rows` takes such marks away. `next_row` and `entries` are the counts after.
    """

    next_row: int
    entries: int
    put: Sequence[GalleryEntry] = ()
    delete: Sequence[GalleryEntry] = ()
    erased_rows: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class StoreState:
    """Everything a store holds: live entries, rows ever written, row -> entry id to be erased."""

    entries: list[GalleryEntry]
    next_row: int
    pending: dict[int, str]


class MetadataStore(Protocol):
    """Records of one gallery. Called by one writer at a time; `ready` by anyone."""

    @property
    def kind(self) -> StoreKind:
        """Which store this is."""

    @property
    def location(self) -> str:
        """Where it is, for messages; never with a password."""

    def identity(self) -> GalleryIdentity | None:
        """Return whose records these are; None if nobody's yet."""

    def create(self, identity: GalleryIdentity) -> None:
        """Make it the store of this gallery, durably. It must be nobody's."""

    def load(self) -> StoreState:
        """Read everything. Raises: GalleryCorruptError for a record that fails its checksum."""

    def commit(self, transaction: Transaction) -> None:
        """Apply a transaction, durably and whole.

        Raises: StoreUnavailableError if it may have been applied (then call `settle`);
        any other GalleryError if it certainly was not.
        """

    def settle(self) -> bool:
        """Say whether the transaction in doubt was applied, and make sure it never will be if not.

        Raises: StoreUnavailableError, GalleryMismatchError.
        """

    def scrub(self) -> None:
        """Remove what deleted records left in logs, as far as the store can be made to."""

    def check(self) -> list[str]:
        """Return what the store's own check of its structure finds wrong."""

    def durability(self) -> Durability:
        """What a commit survives once it has returned."""

    def ready(self) -> bool:
        """Whether the store answers now."""

    def close(self) -> None:
        """Let go of files and connections."""
