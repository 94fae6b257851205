"""Numbers by 64-bit key in 12 bytes a pair: sorted arrays, and a dict for the latest ones."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_MOST_RECENT: Final = 16_384
_GONE: Final = -1
_NOTHING: Final = np.zeros(0, np.int32)


class SortedMultimap:
    """Several numbers (int32, not negative) may stand under one key. Searching changes nothing."""

    def __init__(self) -> None:
        self._keys = np.zeros(0, np.uint64)
        self._numbers = np.zeros(0, np.int32)
        self._recent: dict[int, tuple[int, ...]] = {}

    def add(self, keys: NDArray[np.uint64], numbers: NDArray[np.int32]) -> None:
        """Add pairs."""
        if len(keys) > _MOST_RECENT:
            self._merge(keys, numbers)
            return
        for key, number in zip(keys.tolist(), numbers.tolist(), strict=True):
            self._recent[key] = (*self._recent.get(key, ()), number)
        if len(self._recent) > _MOST_RECENT:
            self._merge_recent()

    def find(self, key: int) -> NDArray[np.int32]:
        """Return the numbers under a key, in no particular order."""
        first, last = self._bounds(key)
        found = self._numbers[first:last]
        recent = self._recent.get(key)
        if recent is not None:
            found = np.concatenate([found, np.array(recent, np.int32)])
        return found[found != _GONE] if len(found) else _NOTHING

    def discard(self, key: int, number: int) -> None:
        """Take a pair out, if it is there."""
        recent = tuple(other for other in self._recent.get(key, ()) if other != number)
        if recent:
            self._recent[key] = recent
        else:
            self._recent.pop(key, None)
        first, last = self._bounds(key)
        under = self._numbers[first:last]
        under[under == number] = _GONE

    def _bounds(self, key: int) -> tuple[int, int]:
        first = int(self._keys.searchsorted(np.uint64(key)))
        if first == len(self._keys) or int(self._keys[first]) != key:
            return first, first
        return first, int(self._keys.searchsorted(np.uint64(key), "right"))

    def _merge_recent(self) -> None:
        pairs = [(key, number) for key, numbers in self._recent.items() for number in numbers]
        keys = np.fromiter((key for key, _ in pairs), np.uint64, len(pairs))
        numbers = np.fromiter((number for _, number in pairs), np.int32, len(pairs))
        self._recent = {}
        self._merge(keys, numbers)

    def _merge(self, keys: NDArray[np.uint64], numbers: NDArray[np.int32]) -> None:
        order = np.argsort(keys, kind="stable")
        keys, numbers = keys[order], numbers[order]
        if len(self._keys):
            kept = self._numbers != _GONE
            if not kept.all():
                self._keys, self._numbers = self._keys[kept], self._numbers[kept]
            places = self._keys.searchsorted(keys)
            keys = np.insert(self._keys, places, keys)
            numbers = np.insert(self._numbers, places, numbers)
        self._keys, self._numbers = keys, numbers
