"""What is asked of a search, what a first stage offers, and what comes out: plain values."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery_index.records import GroupBy

_MOST_OFFERED = 64  # times as many offered as scored, where one person's crops come first
MOST_SCORED = 4096
"""Entries scored exactly for one query, unless more than a quarter of it are asked for. Where no
more match, the first stage's own margin holds, which hardly any pair exceeds."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked for: how many, grouped by what, and from which similarity on."""

    top_k: int
    group_by: GroupBy
    min_similarity: float | None

    @property
    def most_scored(self) -> int:
        """How many entries may be scored exactly."""
        return max(MOST_SCORED, 4 * self.top_k)

    @property
    def most_offered(self) -> int:
        """How many candidates may be asked for: a person with many crops must not hide others."""
        return self.most_scored * (_MOST_OFFERED if self.group_by == "person" else 1)

    @property
    def floor(self) -> float:
        """The least similarity of an answer."""
        return -np.inf if self.min_similarity is None else self.min_similarity


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What a first stage offers, best first.

    `rows` int64 (n,), `estimates` float32 (n,), `persons` (n,): a number a person, the same in
    every answer to one query, negative where there is none. `total` entries match the filter;
    `margin` is how far a similarity may exceed its estimate.
    """

    rows: NDArray[np.int64]
    estimates: NDArray[np.float32]
    persons: NDArray[np.int64]
    total: int
    margin: float


@dataclass(frozen=True, slots=True, eq=False)
class StoredVectors:
    """Vectors as stored, fp16 (n, D), and which of them can be trusted (n,)."""

    values: NDArray[np.float16]
    sound: NDArray[np.bool_]

    def comparable(self) -> NDArray[np.float16]:
        """Return the vectors; one that cannot be trusted is zeros, like no other."""
        return np.where(self.sound[:, None], self.values, np.float16(0))


@dataclass(frozen=True, slots=True)
class Found:
    """A row of the answer and its exact similarity."""

    row: int
    similarity: float


Find = Callable[[int], Candidates]
ReadVectors = Callable[[NDArray[np.int64]], StoredVectors]
