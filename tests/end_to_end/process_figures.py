"""What a process holds of the machine: memory, descriptors, threads. Read from /proc (Linux)."""

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


def settled(pid: int, descriptors: int) -> Figures:
    """Wait until a process has no more descriptors than these, and return what it holds then."""
    give_up = time.monotonic() + SETTLE_S
    while (figures := figures_of(pid)).descriptors > descriptors and time.monotonic() < give_up:
        time.sleep(0.1)
    return figures
