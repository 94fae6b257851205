"""The metadata store in a SQLite file inside the gallery's directory.

Write-ahead log with `synchronous=FULL`: a commit returns after its fsync, like with a rollback
journal, but with one fsync in place of three (0.27 ms against 0.83 ms a commit, measured).
`secure_delete` overwrites what is deleted. The file is written by one process only: the gallery's
directory lock sees to it. Others may read it meanwhile.
"""

import uuid
from collections.abc import Sequence
from pathlib import Path

from gallery_index.errors import (
    GalleryCorruptError,
    GalleryMismatchError,
    StoreConfigurationError,
    StoreUnavailableError,
)
from gallery_index.files.durable_files import storage_errors, sync_directory
from gallery_index.records import Durability, GalleryIdentity
from gallery_index.stores.record_codec import (
    StoreHead,
    encode_entry,
    encode_head,
    encode_identity,
    encode_pending,
)
from gallery_index.stores.sqlite_reader import BUSY_TIMEOUT_S, SQLiteReader
from gallery_index.stores.store import Transaction

_META = "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT"
_TABLES = (
    "CREATE TABLE entries (row INTEGER PRIMARY KEY, value TEXT NOT NULL) STRICT",
    "CREATE TABLE pending (row INTEGER PRIMARY KEY, value TEXT NOT NULL) STRICT",
    "CREATE TABLE commits (number INTEGER PRIMARY KEY, token TEXT NOT NULL) STRICT",
    "CREATE TABLE changes (row INTEGER PRIMARY KEY, number INTEGER NOT NULL) STRICT",
)
_CHANGED = (
    "INSERT INTO changes (row, number) VALUES (?, ?)"
    " ON CONFLICT (row) DO UPDATE SET number = excluded.number"
)


class SQLiteStore(SQLiteReader):
    """A `MetadataStore` in one SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises: GalleryCorruptError, StoreConfigurationError."""
        self._in_doubt: StoreHead | None = None
        self._fences: set[StoreHead] = set()
        super().__init__(path, mode="rwc")

    @staticmethod
    def open_for_reading(path: Path) -> SQLiteReader:
        """Open the file beside the process that writes it, to read it as it is now.

        Close it soon: until then the write-ahead log grows, and cannot be scrubbed.
        """
        return SQLiteReader(path)

    def create(self, identity: GalleryIdentity) -> None:
        """Make it the store of this gallery, durably."""
        head = StoreHead(uuid.uuid4().hex, commit=0, next_row=0, entries=0)
        execute = self._connection.execute
        with self._reported():
            execute("BEGIN IMMEDIATE")
            for table in _TABLES:
                execute(table)
            for key, value in (
                ("identity", encode_identity(identity)),
                ("head", encode_head(head)),
            ):
                execute("INSERT INTO meta (key, value) VALUES (?, ?)", (key, value))
            execute("INSERT INTO commits (number, token) VALUES (0, ?)", (head.token,))
            execute("COMMIT")
        with storage_errors(self._path):
            sync_directory(self._path.parent)

    def commit(self, transaction: Transaction) -> None:
        """Apply a transaction, durably and whole; see `MetadataStore.commit`."""
        self._in_doubt = transaction.head_after(self._head)
        try:
            self._write(transaction, self._in_doubt)
        except StoreUnavailableError:
            raise
        except BaseException:
            self._roll_back()
            self._in_doubt = None
            raise
        self._head, self._in_doubt = self._in_doubt, None

    def settle(self) -> bool:
        """Say whether the transaction in doubt was applied; if not, fence it off.

        Its pages may stand whole in the log, after an fsync that failed: a process killed now
        would find them there. The fence overwrites them.
        """
        assert self._in_doubt is not None
        self._roll_back()
        found = self._read_head()
        applied = found == self._in_doubt
        if not applied:
            found = self._fence(found)
        self._head, self._in_doubt = found, None
        self._fences.clear()
        return applied

    def forget_history(self, before_commit: int) -> None:
        """Let go of what only heads before this commit need."""
        if self._in_doubt is not None:
            return
        execute = self._connection.execute
        with self._reported():
            execute("PRAGMA synchronous=NORMAL")  # no fsync: the next commit's will do
            try:
                execute("BEGIN IMMEDIATE")
                execute("DELETE FROM commits WHERE number < ?", (before_commit,))
                execute("DELETE FROM changes WHERE number <= ?", (before_commit,))
                execute("COMMIT")
            finally:
                self._roll_back()
                execute("PRAGMA synchronous=FULL")

    def scrub(self) -> bool:
        """Move the write-ahead log into the file and empty it; False while others read from it."""
        with self._reported():
            self._connection.execute("PRAGMA busy_timeout=100")
            ((busy, _, _),) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000:.0f}")
        return not busy

    def check(self) -> list[str]:
        """Return what SQLite's own integrity check finds wrong."""
        found = self._rows("PRAGMA integrity_check")
        return [f"{self._path}: {text}" for (text, *_) in found if text != "ok"]

    def durability(self) -> Durability:
        """A commit is on the disk once it has returned."""
        return "power-loss"

    def ready(self) -> bool:
        """A file is there as long as its disk is."""
        return True

    def _begin(self) -> None:
        (mode,) = self._connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise StoreConfigurationError(
                f"{self._path}: this file system cannot hold a write-ahead log"
                f" (journal_mode is {mode!r})"
            )
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA secure_delete=ON")
        self._connection.execute(_META)

    def _write(self, transaction: Transaction, head: StoreHead) -> None:
        with self._reported():
            self._connection.execute("BEGIN IMMEDIATE")
            self._apply(transaction, head)
            self._connection.execute("COMMIT")

    def _apply(self, transaction: Transaction, head: StoreHead) -> None:
        execute, many = self._connection.execute, self._connection.executemany
        moved = execute(
            "UPDATE meta SET value = ? WHERE key = 'head' AND value = ?",
            (encode_head(head), encode_head(self._head)),
        )
        if moved.rowcount != 1:
            raise self._other_writer()
        new = [entry for entry in transaction.put if entry.row >= self._head.next_row]
        changed = [entry for entry in transaction.put if entry.row < self._head.next_row]
        execute("INSERT INTO commits (number, token) VALUES (?, ?)", (head.commit, head.token))
        many(
            "INSERT INTO entries (row, value) VALUES (?, ?)",
            [(entry.row, encode_entry(entry)) for entry in new],
        )
        self._touch(
            "UPDATE entries SET value = ?2 WHERE row = ?1",
            [(entry.row, encode_entry(entry)) for entry in changed],
        )
        self._touch("DELETE FROM entries WHERE row = ?", [(e.row,) for e in transaction.delete])
        many(_CHANGED, [(entry.row, head.commit) for entry in (*changed, *transaction.delete)])
        many(
            "INSERT INTO pending (row, value) VALUES (?, ?)",
            [(entry.row, encode_pending(entry.entry_id)) for entry in transaction.delete],
        )
        many("DELETE FROM pending WHERE row = ?", [(row,) for row in transaction.erased_rows])

    def _touch(self, statement: str, rows: Sequence[tuple[int, *tuple[str, ...]]]) -> None:
        """Run a statement on records that must be there."""
        for parameters in rows:
            if self._connection.execute(statement, parameters).rowcount != 1:
                raise GalleryCorruptError(
                    f"{self._path} holds no record of row {parameters[0]}:"
                    " it is damaged; check it with `mpanet gallery verify`"
                )

    def _fence(self, found: StoreHead) -> StoreHead:
        """Commit nothing upon `found`; returns the head that stands."""
        if found != self._head and found not in self._fences:
            raise self._other_writer()
        self._head = found
        nothing = Transaction(found.next_row, found.entries)
        fence = nothing.head_after(found)
        self._fences.add(fence)
        try:
            self._write(nothing, fence)
        except BaseException:
            self._roll_back()
            raise
        return fence

    def _other_writer(self) -> GalleryMismatchError:
        return GalleryMismatchError(f"another writer has changed {self._path}")

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with self._reported():
                self._connection.execute("ROLLBACK")
