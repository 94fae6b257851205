"""What a gallery asks of a metadata store: its transaction is the commit point of every write.

A store holds the gallery's identity, its records by row, and the rows whose erasure has not reached
the files yet. It also holds a head that every commit replaces: the new head numbers and names the
commit, and a commit applies only on the head that it expects. So a transaction whose answer was
lost can be settled by looking, a delayed one cannot land late, and a second writer is found out.
Beside them it keeps a history, of numbers, tokens and rows: what came after a head is told from it.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gallery_index.records import Durability, GalleryEntry, GalleryIdentity, StoreKind
from gallery_index.stores.record_codec import StoreHead


@dataclass(frozen=True, slots=True)
class Transaction:
    """One atomic change.

    `put` adds records, in rows from the old `next_row` on, and replaces those of earlier rows.
    `delete` removes records and marks their rows as still to be erased; `erased_rows` takes such
    marks away. `next_row` and `entries` are the counts after.
    """

    next_row: int
    entries: int
    put: Sequence[GalleryEntry] = ()
    delete: Sequence[GalleryEntry] = ()
    erased_rows: Sequence[int] = ()

    def head_after(self, head: StoreHead) -> StoreHead:
        """Return a head for this transaction applied on `head`, with a new token."""
        return StoreHead(uuid.uuid4().hex, head.commit + 1, self.next_row, self.entries)


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened after a head: records new or changed, rows deleted; both ascending by row.

    A row is in one of them at most. `gone` may name rows that the head did not know either.
    """

    put: list[GalleryEntry]
    gone: list[int]


class StoreReader(Protocol):
    """Records of one gallery, to read.

    SQLite opened for reading shows one view: that of the moment of opening. Redis shows what is
    there at each call: while another process writes, `changes_since` the head before is asked
    again until the head stays.
    """

    @property
    def kind(self) -> StoreKind:
        """Which store this is."""

    @property
    def location(self) -> str:
        """Where it is, for messages; never with a password."""

    @property
    def last_head(self) -> StoreHead:
        """The head as last read or committed here; `head()` comes first."""

    def identity(self) -> GalleryIdentity | None:
        """Return whose records these are; None if nobody's yet.

        Raises: GalleryMismatchError for a store of another format.
        """

    def head(self) -> StoreHead:
        """Read the head; the next commit expects it.

        Raises: GalleryMismatchError if there is none, GalleryCorruptError.
        """

    def pending(self) -> dict[int, str]:
        """Return the rows whose erasure is to be finished, each with its entry's id."""

    def records(self) -> Iterator[GalleryEntry]:
        """Read every live record once, ascending by row, a few at a time.

        Raises: GalleryCorruptError for a record that fails its checksum or stands under another
        row; at the end, if nothing was committed meanwhile, for a count that is not the head's.
        """

    def changes_since(self, head: StoreHead) -> Changes | None:
        """Return what happened after `head`; None if this store cannot tell.

        It cannot where that history was forgotten, or where `head.commit` never had `head.token`
        here: a store restored from a backup. Raises: GalleryCorruptError as `records` does.
        """

    def close(self) -> None:
        """Let go of files and connections."""


class MetadataStore(StoreReader, Protocol):
    """Records of one gallery. Called by one writer at a time; `ready` by anyone."""

    def create(self, identity: GalleryIdentity) -> None:
        """Make it the store of this gallery, durably. It must be nobody's."""

    def commit(self, transaction: Transaction) -> None:
        """Apply a transaction, durably and whole, as the next commit.

        Raises: StoreUnavailableError if it may have been applied (then call `settle`);
        any other GalleryError if it certainly was not.
        """

    def settle(self) -> bool:
        """Say whether the transaction in doubt was applied, and make sure it never will be if not.

        The latter takes an empty commit, numbered like any other. Raises: StoreUnavailableError,
        StoreConfigurationError, GalleryMismatchError; it stays in doubt then.
        """

    def forget_history(self, before_commit: int) -> None:
        """Let go of what only heads before this commit need; no commit, and not waited for."""

    def scrub(self) -> bool:
        """Remove what deleted records left in logs; False where that could not be done now."""

    def check(self) -> list[str]:
        """Return what the store's own check of its structure finds wrong."""

    def durability(self) -> Durability:
        """What a commit survives once it has returned."""

    def ready(self) -> bool:
        """Whether the store would take a commit now."""
