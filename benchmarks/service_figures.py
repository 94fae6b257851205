"""Figures from times: rates, percentiles, and how busy everybody else kept the processor."""

import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

BUNCH_S = 0.02  # a batch's crops are answered together: the first ones open the clock
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def rate_of(times: Sequence[float], each: int = 1) -> float:
    """How many a second were done, from sorted times at which `each` were.

    Counts from the first bunch to the last, so that a window that cuts a bunch off does not matter.
    """
    if not times or times[-1] - times[0] <= BUNCH_S:
        return 0.0
    later = sum(time > times[0] + BUNCH_S for time in times)
    return later * each / (times[-1] - times[0])


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of the others lie below; 0 of none."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def median_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The medians of rounds, figure by figure."""
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


class Neighbours:
    """Processor time that processes beside ours took from the cores while something ran."""

    def __init__(self, ours: Callable[[], float]) -> None:
        """`ours` returns the processor seconds of all that is measured."""
        self._ours = ours
        self._before = _busy_s(), ours()

    def cores(self, seconds: float, extra_s: float = 0.0) -> float:
        """How many cores they kept busy; `extra_s` were ours, too."""
        busy = _busy_s() - self._before[0]
        ours = self._ours() - self._before[1] + extra_s
        return max(0.0, (busy - ours) / seconds)


def _busy_s() -> float:
    """Processor seconds of all processes, of the kernel, and those stolen by the host."""
    user, nice, system, _, _, irq, softirq, steal, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S
