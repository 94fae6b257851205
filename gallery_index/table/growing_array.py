"""An array that grows at its end, for columns with one value an entry. Knows nothing of entries."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST_ROOM = 1024


class GrowingArray:
    """Values in one piece; room for a quarter more is added when there is none left.

    The room beyond the values has never been written: the system gives it no memory until then.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        """Begin with these values: an array that owns its memory is taken over, others copied."""
        own = values.flags.owndata and values.flags.writeable and values.flags.c_contiguous
        self._room = values if own else values.copy()
        self._length = len(values)

    def __len__(self) -> int:
        return self._length

    @property
    def values(self) -> NDArray[Any]:
        """The values, as a view; after the next `extend` it may be a view of what was."""
        return self._room[: self._length]

    def extend(self, values: NDArray[Any]) -> None:
        """Append values of the array's type."""
        length = self._length + len(values)
        if length > len(self._room):
            roomier = np.empty(
                max(length, self._length + self._length // 4, _LEAST_ROOM), self._room.dtype
            )
            roomier[: self._length] = self.values
            self._room = roomier
        self._room[self._length : length] = values
        self._length = length

    @property
    def bytes_used(self) -> int:
        """Bytes of the values."""
        return int(self.values.nbytes)
