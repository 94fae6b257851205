"""What a process holds of the machine: memory, descriptors, threads. Read from /proc (Linux)."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
SETTLE_S = 20.0


@dataclass(frozen=True, slots=True)
class Figures:
    """`rss_bytes` is what of the process is in memory."""

    rss_bytes: int
    descriptors: int
    threads: int


def figures_of(pid: int) -> Figures:
    """Look at a process now."""
    process = Path(f"/proc/{pid}")
    status = dict(
        line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line
    )
    return Figures(
        int(status["VmRSS"].split()[0]) * 1024,
        len(list((process / "fd").iterdir())),
        int(status["Threads"]),
    )


def settled(pid: int, descriptors: int, rss_bytes: int = sys.maxsize) -> Figures:
    """Wait until a process holds no more than this, or for SETTLE_S; return what it holds then."""
    give_up = time.monotonic() + SETTLE_S
    while True:
        figures = figures_of(pid)
        low = figures.descriptors <= descriptors and figures.rss_bytes <= rss_bytes
        if low or time.monotonic() > give_up:
            return figures
        time.sleep(0.1)
