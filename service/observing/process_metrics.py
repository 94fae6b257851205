"""What `/metrics` says of the process, from Linux' /proc; elsewhere nothing.

Names as Prometheus' client libraries have them.
Source: https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
"""

import os
import platform
import resource
from importlib.metadata import version
from pathlib import Path
from typing import Final

from service.observing.exposition import Family, Sample, counter, gauge

PROC: Final = Path("/proc")
_UTIME, _STIME, _THREADS, _START, _RSS = 11, 12, 17, 19, 21
"""Where proc(5) has them in `stat`, counted from behind the command in brackets."""


def process_families(proc: Path = PROC) -> list[Family]:
    """Return memory, descriptors, threads, time; those that the system tells. Reads a few files."""
    return [*_statistics(proc), *_descriptors(proc), _build()]


def _statistics(proc: Path) -> list[Family]:
    try:
        stat = (proc / "self" / "stat").read_text().rpartition(")")[2].split()
        booted = _boot_time(proc)
    except OSError:
        return []
    ticks = os.sysconf("SC_CLK_TCK")
    cpu_s = (int(stat[_UTIME]) + int(stat[_STIME])) / ticks
    rss = int(stat[_RSS]) * os.sysconf("SC_PAGE_SIZE")
    started = None if booted is None else booted + int(stat[_START]) / ticks
    return [
        counter("process_cpu_seconds_total", "CPU time used.", cpu_s),
        gauge("process_resident_memory_bytes", "Memory held.", rss),
        gauge("process_threads", "Threads, those of libraries too.", int(stat[_THREADS])),
        gauge("process_start_time_seconds", "When the process started, Unix time.", started),
    ]


def _boot_time(proc: Path) -> float | None:
    lines = (proc / "stat").read_text().splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), None)


def _descriptors(proc: Path) -> list[Family]:
    try:
        opened = len(list((proc / "self" / "fd").iterdir())) - 1  # that of the listing itself
    except OSError:
        return []
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [
        gauge("process_open_fds", "Open file descriptors.", opened),
        gauge("process_max_fds", "File descriptors that may be open.", most),
    ]


def _build() -> Family:
    labels = {"version": version("mpanet"), "python": platform.python_version()}
    return Family("mpanet_build_info", "gauge", "The software.", [Sample(1, labels)])
