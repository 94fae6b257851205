"""What a batch costs by its size, learned from the batches that ran; and which size pays."""

import math

DECAY = 0.95
"""What an observation counts for after another one: the last twenty or so decide."""
EFFICIENCY = 0.8
"""The share of the encoder's full speed that a batch must reach, whatever it takes."""

FEW = 2.5
"""One slow batch at the start is no ground to refuse anybody: this takes three."""
ONE_SIZE = 0.01
"""A variance of sizes below this tells nothing of what another size would cost."""
ALIKE = 250
"""After how many batches of one size another one is tried where others wait for it: in one of a
hundred of their waits it must not show."""


class BatchCost:
    """A line through (crops, seconds), fitted by least squares with the old fading away.

    On two cores 384x128 crops cost 30 ms each in a batch of any size, on others the first one costs
    most: the line finds out. Not thread-safe.
    """

    def __init__(self) -> None:
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self._last = self._largest = self._alike = 0

    def observe(self, crops: int, seconds: float) -> None:
        """Take in a batch that ran."""
        for name, value in (
            ("_n", 1.0),
            ("_x", crops),
            ("_y", seconds),
            ("_xx", crops * crops),
            ("_xy", crops * seconds),
        ):
            setattr(self, name, getattr(self, name) * DECAY + value)
        self._alike = self._alike + 1 if crops == self._last else 1
        self._last, self._largest = crops, max(crops, self._largest)

    def seconds(self, crops: int) -> float:
        """Return what a batch of this size should take; 0 while nothing is known."""
        base, slope = self._line()
        return base + slope * crops

    def per_crop_s(self, size: int) -> float:
        """Return what each crop of many costs in batches of a size; 0 while little is known."""
        return self.seconds(size) / size if self._n > FEW else 0.0

    def best_size(self, most: int, target_s: float) -> int:
        """Return the largest batch within the target, at least one that pays, `most` at most.

        Where all batches were of one size nothing is known of others: one of twice the size tells.
        """
        base, slope = self._line()
        if slope <= 0:
            return most
        in_time = (target_s - base) / slope
        if self._spread() < ONE_SIZE:
            pays = 2 * self._x / self._n
        else:
            pays = EFFICIENCY / (1 - EFFICIENCY) * base / slope
        return max(1, min(most, math.floor(max(in_time, pays))))

    def size_within(self, most: int, target_s: float) -> int:
        """Return the largest batch that stays within the target, whether it pays or not; or 1.

        At most twice the largest that ran. Where all were of one size, one more tells now and then
        what another costs.
        """
        base, slope = self._line()
        in_time = math.floor((target_s - base) / slope) if slope > 0 else most
        if self._alike >= ALIKE:
            in_time = max(in_time, self._last + 1)
        return max(1, min(most, in_time, 2 * self._largest))

    def _line(self) -> tuple[float, float]:
        """Return the cost of any batch and of each crop, neither below 0."""
        if self._n == 0:
            return 0.0, 0.0
        mean_x, mean_y = self._x / self._n, self._y / self._n
        if self._spread() < ONE_SIZE:
            return 0.0, mean_y / mean_x
        slope = (self._xy / self._n - mean_x * mean_y) / self._spread()
        slope = min(max(slope, 0.0), mean_y / mean_x)
        return mean_y - slope * mean_x, slope

    def _spread(self) -> float:
        """Return the variance of the sizes."""
        return self._xx / self._n - (self._x / self._n) ** 2
