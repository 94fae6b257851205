"""What the gallery benchmark asks: slices of queries, their filters, and their exact answers.

Owns no drawing and no timing. Rows are numbered as they were enrolled, from 0.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gallery_index.index.recall import ExactTop
from gallery_index.records import EntryFilter, GroupBy

Floats = NDArray[np.float32]
Field = Literal["infrared", "camera", "site", "zone"]
TOP_K = 10
KEPT = 16
"""Exact answers kept of a query: some beyond the tenth, for entries as similar as it."""
TIE = 1e-6
"""Similarities nearer than this are equal: sums of float32 products differ by as much."""


@dataclass(frozen=True)
class Columns:
    """What is known of consecutive rows, one value a row (n,)."""

    person: NDArray[np.int64]
    camera: NDArray[np.int64]
    infrared: NDArray[np.bool_]
    site: NDArray[np.int64]
    zone: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence["Columns"]) -> "Columns":
        """Those of all parts, one after another."""
        names = cls.__dataclass_fields__
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


@dataclass(frozen=True)
class Wanted:
    """Entries whose field has a value, or has another one if `excluded`."""

    field: Field
    value: int
    excluded: bool = False

    def rows(self, columns: Columns) -> NDArray[np.bool_]:
        """Which rows match."""
        matches: NDArray[np.bool_] = getattr(columns, self.field) == self.value
        return ~matches if self.excluded else matches

    def entry_filter(self) -> EntryFilter:
        """The same as a gallery is asked."""
        if self.field == "infrared":
            return EntryFilter(modality=modality(bool(self.value)))
        if self.field == "camera":
            return EntryFilter(exclude_camera_id=camera_id(self.value))
        return EntryFilter(attributes={self.field: self.value})

    def sql(self) -> str:
        """The same as a condition over columns of the fields' names."""
        return f"{self.field} {'!=' if self.excluded else '='} {self.value}"


@dataclass(frozen=True)
class Slice:
    """Queries of one kind: `vectors` (Q, D) of length 1; what each wants, `None` is everything."""

    name: str
    vectors: Floats
    wanted: list[Wanted | None]
    group_by: GroupBy = "entry"

    def first(self, count: int) -> "Slice":
        """The first so many queries."""
        return Slice(self.name, self.vectors[:count], self.wanted[:count], self.group_by)

    def filter(self, query: int) -> EntryFilter:
        """The filter of one query."""
        wanted = self.wanted[query]
        return EntryFilter() if wanted is None else wanted.entry_filter()


@dataclass(frozen=True)
class Tops:
    """The exact best rows of each query and their similarities, (Q, KEPT); -1 where none is."""

    rows: NDArray[np.int64]
    similarities: Floats

    def merged(self, other: "Tops") -> "Tops":
        """The best of both, which have no row in common."""
        rows = np.concatenate([self.rows, other.rows], axis=1)
        values = np.concatenate([self.similarities, other.similarities], axis=1)
        best = np.argsort(-values, axis=1, kind="stable")[:, :KEPT]
        return Tops(
            np.take_along_axis(rows, best, axis=1), np.take_along_axis(values, best, axis=1)
        )

    def recall(self, answers: Sequence[Sequence[int]]) -> float:
        """The share of the exact best ten that answers (one a query) hold; ties are no loss."""
        hits = due = 0
        for rows, values, answer in zip(self.rows, self.similarities, answers, strict=False):
            count = min(TOP_K, int((rows >= 0).sum()))
            if count:
                right = set(rows[values >= values[count - 1] - TIE].tolist()) - {-1}
                hits += min(count, len(right.intersection(answer)))
                due += count
        return hits / due if due else 1.0


@dataclass(frozen=True)
class Drawn:
    """A block of the gallery: fp16 (n, D), its columns, and the best of it for each slice."""

    first: int
    vectors: NDArray[np.float16]
    columns: Columns
    tops: list[Tops]


def exact_tops(slice: Slice, first: int, vectors: NDArray[np.float16], columns: Columns) -> Tops:
    """Search a block of rows from `first` on, all of whose persons it has entirely."""
    exact = ExactTop(slice.vectors, KEPT)
    allowed = np.stack(
        [
            np.ones(len(vectors), np.bool_) if wanted is None else wanted.rows(columns)
            for wanted in slice.wanted
        ]
    )
    if slice.group_by == "person":
        allowed &= _best_of_persons(slice.vectors @ vectors.T.astype(np.float32), columns.person)
    exact.feed(np.arange(first, first + len(vectors), dtype=np.int64), vectors, allowed)
    return Tops(exact.positions, exact.similarities)


def _best_of_persons(found: Floats, persons: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each query the best row of each person, (Q, n)."""
    best = np.zeros(found.shape, np.bool_)
    for person in np.unique(persons):
        rows = np.flatnonzero(persons == person)
        best[np.arange(len(found)), rows[found[:, rows].argmax(axis=1)]] = True
    return best


def modality(infrared: bool) -> str:
    """The name of a modality."""
    return "infrared" if infrared else "visible"


def camera_id(number: int) -> str:
    """The name of a camera."""
    return f"camera-{number}"


def save(path: Path, value: Any) -> None:
    """Keep slices, answers or columns for a later process of this run."""
    path.write_bytes(pickle.dumps(value, protocol=5))


def load(path: Path) -> Any:
    """Read what `save` wrote."""
    return pickle.loads(path.read_bytes())
