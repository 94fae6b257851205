"""Numbered texts as bytes in one piece, found again by their hash. No Python object a text."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gallery_index.table.growing_array import GrowingArray
from gallery_index.table.sorted_multimap import SortedMultimap
from gallery_index.table.text_hash import TextHash

_BLOCK: Final = 65_536


class IndexedTexts:
    """Texts by number, in the order they came; an erased one keeps its number and length."""

    def __init__(
        self,
        text_hash: TextHash,
        arena: NDArray[np.uint8] | None = None,
        ends: NDArray[np.int64] | None = None,
        alive: NDArray[np.bool_] | None = None,
    ) -> None:
        """Begin empty, or with texts in an arena, each up to its end; those alive are found."""
        self.text_hash = text_hash
        self._arena = GrowingArray(np.zeros(0, np.uint8) if arena is None else arena)
        self._ends = GrowingArray(np.zeros(0, np.int64) if ends is None else ends)
        self._numbers = SortedMultimap()
        if alive is not None:
            live = np.flatnonzero(alive).astype(np.int32)
            hashes = text_hash.of_many(self._arena.values, self._ends.values)
            self._numbers.add(hashes[live], live)

    def __len__(self) -> int:
        """Numbers given out, those of erased texts included."""
        return len(self._ends)

    @property
    def arena(self) -> NDArray[np.uint8]:
        """The bytes of all texts, one after another."""
        return self._arena.values

    @property
    def ends(self) -> NDArray[np.int64]:
        """Where each text ends in the arena."""
        return self._ends.values

    def extend(self, texts: Sequence[bytes]) -> None:
        """Give texts the next numbers."""
        first, base = len(self._ends), len(self._arena)
        arena = np.frombuffer(b"".join(texts), np.uint8)
        ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
        self._arena.extend(arena)
        self._ends.extend(ends + base)
        numbers = np.arange(first, first + len(texts), dtype=np.int32)
        self._numbers.add(self.text_hash.of_many(arena, ends), numbers)

    def at(self, number: int) -> bytes:
        """Return a text by its number; zeros where it was erased."""
        start, end = self._bounds(number)
        return self._arena.values[start:end].tobytes()

    def find(self, text: bytes) -> int | None:
        """Return the number of a text; None if it is not here."""
        for number in self._numbers.find(self.text_hash.of(text)).tolist():
            if self.at(number) == text:
                return int(number)
        return None

    def erase(self, number: int) -> None:
        """Overwrite a text with zeros; it is found no more."""
        self._numbers.discard(self.text_hash.of(self.at(number)), number)
        start, end = self._bounds(number)
        self._arena.values[start:end] = 0

    def kept(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return a new arena with only these texts, in this order, and their ends in it."""
        starts = np.concatenate([np.zeros(1, np.int64), self.ends[:-1]])[numbers]
        lengths = self.ends[numbers] - starts
        ends = np.cumsum(lengths)
        arena = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
        for block in _blocks(len(numbers)):
            shift = starts[block] - (ends[block] - lengths[block])
            first, last = int((ends[block] - lengths[block])[0]), int(ends[block][-1])
            source = np.arange(first, last) + np.repeat(shift, lengths[block])
            arena[first:last] = self.arena[source]
        return arena, ends

    def _bounds(self, number: int) -> tuple[int, int]:
        ends = self._ends.values
        return (int(ends[number - 1]) if number else 0), int(ends[number])


def _blocks(count: int) -> Iterator[slice]:
    for first in range(0, count, _BLOCK):
        yield slice(first, min(first + _BLOCK, count))
