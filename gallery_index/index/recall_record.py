"""A measured recall, and how a snapshot keeps it."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Recall:
    """A recall@10, over how many entries, and when it was measured; empty before the first."""

    value: float | None = None
    entries: int = 0
    measured_at: datetime | None = None

    def packed(self) -> NDArray[np.float64]:
        """Return it as (value, entries, seconds of the epoch); nothing if never measured."""
        if self.value is None or self.measured_at is None:
            return np.empty(0)
        return np.array([self.value, self.entries, self.measured_at.timestamp()])


def unpacked(values: NDArray[np.float64]) -> Recall:
    """Return what `packed` gave."""
    if not len(values):
        return Recall()
    return Recall(float(values[0]), int(values[1]), datetime.fromtimestamp(float(values[2]), UTC))
