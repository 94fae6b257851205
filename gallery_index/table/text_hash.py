"""A 64-bit hash of short texts, the same for one text and for many at a time.

Seeded anew in every process, so that a client who chooses its ids cannot make them collide; a hash
is therefore never stored.
"""

import secrets
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

_MASK: Final = (1 << 64) - 1
_WORD: Final = 8
_BLOCK: Final = 65_536


@dataclass(frozen=True, slots=True)
class TextHash:
    """Eight bytes at a time: xor, multiply by an odd number, fold the high bits down.

    `bits` of the hash are used; fewer than 64 make texts collide, which tests want.
    """

    bits: int = 64
    seed: int = field(default_factory=lambda: secrets.randbits(64))
    factor: int = field(default_factory=lambda: secrets.randbits(64) | 1)

    def of(self, text: bytes) -> int:
        """Return the hash of one text."""
        value = self.seed ^ len(text)
        for start in range(0, len(text), _WORD):
            word = int.from_bytes(text[start : start + _WORD], "little")
            value = ((value ^ word) * self.factor) & _MASK
            value ^= value >> 29
        return value >> (64 - self.bits)

    def of_many(self, arena: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the hashes of texts that lie one after another in `arena`, each up to its end."""
        hashes = np.empty(len(ends), np.uint64)
        for first in range(0, len(ends), _BLOCK):
            base = int(ends[first - 1]) if first else 0
            block = ends[first : first + _BLOCK] - base
            piece = arena[base : base + int(block[-1])]
            hashes[first : first + len(block)] = self._of_block(piece, block)
        return hashes

    def _of_block(self, arena: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        lengths = ends - starts
        padded = np.concatenate([arena, np.zeros(_WORD, np.uint8)])
        # The eight bytes from every byte on, as one number each.
        words = np.ndarray(len(arena) + 1, "<u8", padded.data, strides=(1,))
        values = np.uint64(self.seed) ^ lengths.astype(np.uint64)
        active = np.flatnonzero(lengths > 0)
        done = 0
        while len(active):
            left = lengths[active] - done
            value = values[active] ^ (words[starts[active] + done] & _low_bytes(left))
            value *= np.uint64(self.factor)
            values[active] = value ^ (value >> np.uint64(29))
            done += _WORD
            active = active[left > _WORD]
        hashes: NDArray[np.uint64] = values >> np.uint64(64 - self.bits)
        return hashes


def _low_bytes(count: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Masks of the lowest `count` bytes of a word; all eight from eight on."""
    spare = np.clip(_WORD - count, 0, _WORD - 1).astype(np.uint64)
    return np.uint64(_MASK) >> (spare * np.uint64(8))
