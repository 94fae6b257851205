"""The bare encoder as a process that is asked again and again: the ceiling of a run."""

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.service_crops import Crop
from benchmarks.service_process import REPOSITORY, environment


class BareEncoder:
    """Decodes and encodes crops when it is asked to; `plan` is the best way on this machine."""

    def __init__(self, model: Path, crops: Sequence[Crop], work: Path, stack: ExitStack) -> None:
        """Start it and wait until it has tried its plans out; `stack` ends it."""
        file = work / "crops.pkl"
        file.write_bytes(pickle.dumps([crop.content for crop in crops]))
        job = {"model": str(model.resolve()), "crops": str(file)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.service_ceiling", json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=environment(),
        )
        stack.enter_context(self._process)
        stack.callback(self._process.send_signal, signal.SIGTERM)
        assert self._process.stdout is not None
        self.plan: dict[str, Any] = json.loads(self._process.stdout.readline())

    def ask(self, seconds: float) -> dict[str, Any]:
        """Run it for a time; returns when batches were done, how many crops, its CPU seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"seconds": seconds}), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer
