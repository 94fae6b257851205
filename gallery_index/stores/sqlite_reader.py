"""Reading the metadata store in a SQLite file, also while another process writes to it.

Owns the connection and what SQLite's errors mean here; `sqlite_store` writes through it.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gallery_index.errors import (
    GalleryCorruptError,
    GalleryMismatchError,
    StorageFullError,
    StoreUnavailableError,
)
from gallery_index.records import GalleryIdentity, StoreKind
from gallery_index.stores.record_codec import (
    StoreHead,
    decode_head,
    decode_identity,
    decode_pending,
)
from gallery_index.stores.record_reader import RecordReader

BUSY_TIMEOUT_S = 5.0


class SQLiteReader(RecordReader):
    """A `StoreReader` of one SQLite file."""

    def __init__(self, path: Path, *, mode: str = "ro") -> None:
        """Open the file; in mode `ro` (and only there) to see it as it is now until closed.

        Raises: StoreUnavailableError if there is no such file, GalleryCorruptError.
        """
        super().__init__()
        self._path = path
        with self._reported():
            self._connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=BUSY_TIMEOUT_S,
            )
        # Damaged text must reach the checksum, not fail on the way to it.
        self._connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        try:
            with self._reported():
                self._begin()
        except BaseException:
            self._connection.close()
            raise

    @property
    def kind(self) -> StoreKind:
        """Which store this is."""
        return "sqlite"

    @property
    def location(self) -> str:
        """Where it is, for messages."""
        return str(self._path)

    def identity(self) -> GalleryIdentity | None:
        """Return whose records these are; None if nobody's yet."""
        text = self._meta("identity")
        return None if text is None else decode_identity(text)

    def pending(self) -> dict[int, str]:
        """Return the rows whose erasure is to be finished, each with its entry's id."""
        found = self._rows("SELECT row, value FROM pending ORDER BY row")
        return {row: decode_pending(value, row=row) for row, value in found}

    def close(self) -> None:
        """Close the file; the last one to do so folds the write-ahead log into it."""
        self._connection.close()

    def _begin(self) -> None:
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT count(*) FROM meta").fetchone()  # the view begins here

    def _read_head(self) -> StoreHead:
        text = self._meta("head")
        if text is None:
            raise GalleryMismatchError(f"{self._path} has lost the records of this gallery")
        return decode_head(text)

    def _values(self, rows: Sequence[int]) -> Sequence[tuple[int, str]]:
        if isinstance(rows, range):
            return self._rows(
                "SELECT row, value FROM entries WHERE row >= ? AND row < ? ORDER BY row",
                (rows.start, rows.stop),
            )
        marks = ",".join("?" * len(rows))
        return self._rows(
            f"SELECT row, value FROM entries WHERE row IN ({marks}) ORDER BY row", rows
        )

    def _records_held(self) -> int:
        ((count,),) = self._rows("SELECT count(*) FROM entries")
        return int(count)

    def _rows_changed_since(self, head: StoreHead) -> list[int] | None:
        known = self._rows("SELECT token FROM commits WHERE number = ?", (head.commit,))
        if known != [(head.token,)]:
            return None
        found = self._rows("SELECT row FROM changes WHERE number > ? ORDER BY row", (head.commit,))
        return [int(row) for (row,) in found]

    def _meta(self, key: str) -> str | None:
        found = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(found[0][0]) if found else None

    def _rows(self, query: str, parameters: Sequence[int | str] = ()) -> list[tuple[Any, ...]]:
        # Read to the end at once: an open statement would pin the log and see half a commit.
        with self._reported():
            return self._connection.execute(query, parameters).fetchall()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StorageFullError(f"no room to write {self._path}: {error}") from error
            if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # our SQL is right: a table is not
                raise GalleryCorruptError(f"{self._path} is damaged: {error}") from error
            raise StoreUnavailableError(f"{self._path} does not answer: {error}") from error
        except sqlite3.DatabaseError as error:
            raise GalleryCorruptError(f"{self._path} is damaged: {error}") from error
