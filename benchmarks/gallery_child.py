"""The gallery benchmark's processes: each starts afresh, does one job, prints its figures as JSON.

Owns starting them, and what they have in common: a gallery without crops, and memory as the kernel
counts it.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gallery_index.gallery import Gallery

MODEL_ID = "benchmark"
STATUS = Path("/proc/self/status")
VECTORS = "vectors.bin"


class ChildFailedError(Exception):
    """A process of the benchmark ended without figures."""


class NoCrops:
    """Takes crops and keeps none: the index is measured, not the file system."""

    def write(self, crops: Mapping[int, bytes]) -> None: ...

    def read(self, row: int) -> bytes:
        raise FileNotFoundError(self.place(row))

    def unlink(self, rows: Iterable[int]) -> int:
        return 0

    def place(self, row: int) -> str:
        return f"no crop {row}"

    def beyond(self, first_row: int) -> list[int]:
        return []

    def rows(self) -> set[int]:
        return set()

    def close(self) -> None: ...


def open_gallery(directory: Path, dim: int) -> Gallery:
    """Open a gallery as the service does, but for its crops."""
    return Gallery.open(
        directory, model_id=MODEL_ID, embedding_dim=dim, crops=NoCrops(), upkeep=True
    )


def memory_mb(*names: str) -> dict[str, float]:
    """This process's counters of these names (such as `VmRSS`), in MB."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return {name: int(lines[name].split()[0]) * 1024 / 1e6 for name in names}


def start_child(module: str, job: Mapping[str, Any]) -> subprocess.Popen[str]:
    """Start `python -m benchmarks.MODULE` on a job."""
    command = [sys.executable, "-m", f"benchmarks.{module}", json.dumps(job)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_child(module: str, *, timeout_s: float | None = None, **job: Any) -> dict[str, Any]:
    """Run a job and return its figures. Raises: ChildFailedError."""
    with start_child(module, job) as child:
        try:
            output, _ = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            raise ChildFailedError(f"took more than {timeout_s:g} s") from None
    if child.returncode:
        raise ChildFailedError(f"{module} {job.get('task', '')} ended with {child.returncode}")
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


def child_main(*tasks: Callable[..., Any]) -> None:
    """Do the job on the command line; it names its `task` where there are several."""
    job = json.loads(sys.argv[1])
    name = job.pop("task", tasks[0].__name__)
    task = {task.__name__: task for task in tasks}[name]
    print(json.dumps(task(**job)), flush=True)
