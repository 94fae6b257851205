"""One generation beside the one that is searched: its files, and which rows it has vectors of.

Rows are filled in their order, so a watermark says nearly everything; what was filled beyond it and
what has to stay empty are sets. The watermark on the disk may lag: rows are looked at again then.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import GalleryCorruptError
from gallery_index.files.durable_files import make_directory, replace_file
from gallery_index.files.vector_file import VectorFile
from gallery_index.generations.pointer import SNAPSHOTS, STATE, VECTORS, bytes_on_disk
from gallery_index.records import GalleryIdentity
from gallery_index.snapshots.directory import Snapshots
from gallery_index.table.entry_table import EntryTable

_ROWS_A_NOTE = 1024


class Generation:
    """Vectors of one model by row, of some entries or of all.

    `left_out` rows are to have none. `holes` have none although all before them have: entries
    without a crop.
    """

    def __init__(self, directory: Path, vectors: VectorFile) -> None:
        """Take over an open vector file of a generation's folder."""
        self.directory = directory
        self.vectors = vectors
        self.snapshots = Snapshots(directory / SNAPSHOTS, vectors.identity)
        self.filled, self.left_out, self.holes = _read_state(directory / STATE)
        self._ahead: set[int] = set()
        self._noted = self.filled

    @classmethod
    def open(cls, directory: Path) -> "Generation":
        """Open what is there. Raises: GalleryCorruptError."""
        if not (directory / VECTORS).exists():
            raise GalleryCorruptError(f"{directory / VECTORS} is missing: restore it from a backup")
        return cls(directory, VectorFile(directory / VECTORS))

    @classmethod
    def create(cls, directory: Path, identity: GalleryIdentity) -> "Generation":
        """Make an empty one, durably. Raises: StorageFullError, GalleryError."""
        make_directory(directory.parent)
        make_directory(directory)
        VectorFile.create(directory / VECTORS, identity).close()
        return cls.open(directory)

    @property
    def ahead(self) -> int:
        """How many rows beyond the watermark need nothing more, as far as is known."""
        return len(self._ahead) + sum(row >= self.filled for row in self.left_out | self.holes)

    @property
    def bytes(self) -> int:
        """What its vectors take on the disk."""
        return bytes_on_disk(self.directory / VECTORS)

    def put(self, vectors: dict[int, NDArray[np.float16]], table: EntryTable) -> None:
        """Write vectors of live rows, durably. Raises: StorageFullError, GalleryError."""
        rows = sorted(vectors)
        ids = [table.id_of(row) or "" for row in rows]
        self.vectors.put(np.array(rows, np.int64), ids, np.stack([vectors[row] for row in rows]))
        self._ahead.update(row for row in rows if row >= self.filled)
        self.holes.difference_update(rows)
        self.advance(table)

    def advance(self, table: EntryTable) -> None:
        """Move the watermark over rows that need nothing more."""
        done = self._ahead | self.left_out | self.holes
        while self.filled < table.rows:
            rows = table.live_rows(self.filled, _ROWS_A_NOTE).tolist()
            first = next((row for row in rows if row not in done), None)
            if first is not None:
                self.filled = first
                break
            self.filled = rows[-1] + 1 if len(rows) == _ROWS_A_NOTE else table.rows
        self._ahead = {row for row in self._ahead if row >= self.filled}
        if self.filled - self._noted >= _ROWS_A_NOTE:
            self.note()

    def empty(self, rows: NDArray[np.int64], entry_ids: Sequence[str | None]) -> set[int]:
        """Return which rows have no sound vector of the entry that should be there."""
        block = self.vectors.read(rows)
        return {
            row
            for place, (row, found) in enumerate(zip(rows.tolist(), block.entry_ids(), strict=True))
            if place in block.damage or found != entry_ids[place]
        }

    def found(self, filled: set[int], holes: set[int]) -> None:
        """Remember which live rows have a vector, and which can have none."""
        self._ahead |= {row for row in filled if row >= self.filled}
        self.holes |= holes

    def reopen(self, rows: set[int]) -> None:
        """Fill these rows again: their vectors were found damaged."""
        self.filled = min(self.filled, *rows)
        self._ahead -= rows

    def forget(self, rows: set[int]) -> None:
        """Let go of rows that were erased."""
        self.holes -= rows
        self._ahead -= rows
        self.left_out -= rows

    def leave_out(self, rows: set[int]) -> None:
        """Leave rows without a vector for good, durably. Raises: StorageFullError, GalleryError."""
        self.left_out |= rows
        self.holes -= rows
        self.note()

    def note(self) -> None:
        """Write down how far it is. Raises: StorageFullError, GalleryError."""
        state = {
            "filled": self.filled,
            "left_out": sorted(self.left_out),
            "holes": sorted(self.holes),
        }
        replace_file(self.directory / STATE, json.dumps(state).encode("ascii"))
        self._noted = self.filled

    def close(self) -> None:
        """Close the vector file."""
        self.vectors.close()


def read_left_out(directory: Path) -> frozenset[int]:
    """Return the rows of a generation's folder that have no vector for good."""
    return frozenset(_read_state(directory / STATE)[1])


def _read_state(path: Path) -> tuple[int, set[int], set[int]]:
    """Return watermark, rows left out and holes. Raises: GalleryCorruptError."""
    try:
        state = json.loads(path.read_bytes())
        return int(state["filled"]), set(state["left_out"]), set(state["holes"])
    except FileNotFoundError:
        return 0, set(), set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GalleryCorruptError(f"{path} cannot be read: {error!r}") from error
