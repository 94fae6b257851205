"""Clients of a server: starts the load generator, makes rows of figures from what came of it."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.service_figures import Neighbours, percentile
from benchmarks.service_process import REPOSITORY, Server

STAGES = ("latency", "decode", "queue", "embed", "search", "own")

Row = dict[str, float]
Load = subprocess.Popen[str]


class Clients:
    """Sends prepared requests of each call, for a time that is the same for all."""

    def __init__(self, requests: Mapping[str, Path], seconds: float) -> None:
        self._requests = requests
        self._seconds = seconds

    def start(self, server: Server, call: str, clients: int, **options: Any) -> Load:
        """Start a load generator; options are those of its job."""
        job = {
            "host": "127.0.0.1",
            "port": server.port,
            "requests": str(self._requests[call]),
            "clients": clients,
            "seconds": self._seconds,
        }
        command = [sys.executable, "-m", "benchmarks.service_load", json.dumps(job | options)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)

    def answers(self, server: Server, call: str, clients: int, **options: Any) -> dict[str, Any]:
        """Run a load generator to its end; returns what it says."""
        return finished(self.start(server, call, clients, **options))

    def row(self, server: Server, call: str, clients: int, *, each: int = 1, **options: Any) -> Row:
        """Ask a server without a pause; figures are per crop, `each` of them in a request."""
        seconds = options.get("seconds", self._seconds)
        cpu_s, started, batches = server.cpu_s(), time.perf_counter(), batches_of(server)
        neighbours = Neighbours(server.cpu_s)
        answer = self.answers(server, call, clients, **options)
        elapsed_s = time.perf_counter() - started
        served = [(at, s) for at, s, status in answer["answers"] if status in (200, 201)]
        generator_s = answer["cpu_s_per_request"]
        row = {
            "per_s": len(served) * each / seconds,
            "p50_ms": percentile([s for _, s in served], 0.5) * 1000,
            "p99_ms": percentile([s for _, s in served], 0.99) * 1000,
            "failed": len(answer["answers"]) - len(served) + answer["unanswered"],
            "cpu_ms": (server.cpu_s() - cpu_s) / max(1, answer["sent"] * each) * 1000,
            "generator_ms": generator_s * 1000 / each,
            "neighbours": neighbours.cores(elapsed_s, generator_s * answer["sent"]),
        }
        crops, runs = (a - b for a, b in zip(batches_of(server), batches, strict=True))
        if runs:
            row["batch"] = crops / runs
            row["encoded_per_s"] = crops / elapsed_s
            row["asked_per_s"] = answer["sent"] * each / elapsed_s
        if answer["stages"]:
            for name in STAGES:
                row[f"{name}_ms"] = statistics.median(s[name] for s in answer["stages"])
        return row


def finished(load: Load) -> dict[str, Any]:
    """What a load generator says in the end."""
    output, _ = load.communicate()
    if load.returncode:
        raise RuntimeError(f"the load generator ended with {load.returncode}")
    answer: dict[str, Any] = json.loads(output)
    return answer


def batches_of(server: Server) -> tuple[float, float]:
    """Crops and runs of the encoder so far, by the service's own metrics; 0 of another server."""
    return server.metric("mpanet_batch_crops_sum"), server.metric("mpanet_batch_crops_count")
