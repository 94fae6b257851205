"""One model's measurements: who takes turns with whom, and what is asked of each.

Owns the processes of one model; figures are made in `service_figures`.
"""

import argparse
import json
import pickle
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.service_crops import (
    batch_requests,
    rendered_crops,
    single_requests,
    write_requests,
)
from benchmarks.service_figures import Neighbours, median_of, percentile, rate_of
from benchmarks.service_process import REPOSITORY, Server, environment, service

PARTS = ("query", "batch", "latency", "fastapi", "litserve", "overload", "mixed")
QUERY_CLIENTS, BATCH_CLIENTS = 64, 8
LATENCY_CLIENTS = (1, 8)
MIXED_CLIENTS = 4
OVERLOAD_CONNECTIONS = 1000
OVERLOAD_WARM_S = 10.0
LITSERVE_PLANS = ((8, 0.0), (32, 0.0), (16, 0.01))
TRIAL_S = 3.0
CROPS_SEED = 20
FIRST_ENTRIES = 256

Row = dict[str, float]


@dataclass(frozen=True)
class Contender:
    """Something that takes its turn in every round."""

    name: str
    measure: Callable[[], Row]


class Bench:
    """All that runs for one model; `stack` ends it."""

    def __init__(self, model: Path, work: Path, args: argparse.Namespace, stack: ExitStack) -> None:
        self._model = model
        self._work = work
        self._args = args
        self._stack = stack
        crops = rendered_crops(args.crops, CROPS_SEED)
        self._crops = work / "crops.pkl"
        self._crops.write_bytes(pickle.dumps([crop.content for crop in crops]))
        self._requests = {
            "query": write_requests(work / "query.pkl", single_requests("/query", crops)),
            "gallery": write_requests(work / "gallery.pkl", single_requests("/gallery", crops)),
            "batch": write_requests(work / "batch.pkl", batch_requests(crops, args.batch_crops)),
        }
        self._bytes = [len(crop.content) for crop in crops]
        self._ceiling, self._plan = self._start_ceiling()
        self._service = stack.enter_context(
            service(model, work / "data", work / "serve.log", args.serve_options)
        )
        self._neighbours_cores = 0.0

    def run(self) -> dict[str, Any]:
        """Every part that was asked for."""
        self._fill()
        wanted = self._args.only
        contenders = [Contender("bare encoder", self.ceiling)]
        if {"query", "overload"} & {*wanted}:
            contenders.append(Contender("POST /query", self.query))
        if "batch" in wanted:
            contenders.append(Contender("POST /gallery/batch", self.batch))
        if "latency" in wanted:
            contenders += self._latencies()
        contenders += self._peers()
        rounds = self._rounds(contenders)
        result: dict[str, Any] = {
            "plan": self._plan,
            "crop_bytes": statistics.mean(self._bytes),
            "rounds": rounds,
            "rows": self._medians(rounds),
        }
        if "overload" in wanted:
            result["overload"] = self.overload(result["rows"]["POST /query"]["per_s"])
        if "mixed" in wanted:
            result["mixed"] = self.mixed()
        result["memory_mb"] = self._service.memory_mb()
        return result

    def ceiling(self) -> Row:
        """Decode and encode, nothing else."""
        neighbours = Neighbours(lambda: 0.0)
        assert self._ceiling.stdin is not None
        assert self._ceiling.stdout is not None
        started = time.perf_counter()
        print(json.dumps({"seconds": self._args.seconds}), file=self._ceiling.stdin, flush=True)
        answer = json.loads(self._ceiling.stdout.readline())
        seconds = time.perf_counter() - started
        per_s = rate_of(answer["times"], self._plan["batch"])
        return {
            "per_s": per_s,
            "cpu_ms": answer["cpu_s"] / (per_s * seconds) * 1000,
            "neighbours": neighbours.cores(seconds, answer["cpu_s"]),
        }

    def query(self) -> Row:
        """Queries at saturation."""
        return self._load("query", QUERY_CLIENTS)

    def batch(self) -> Row:
        """Batches of enrolments at saturation."""
        return self._load("batch", BATCH_CLIENTS, each=self._args.batch_crops)

    def overload(self, capacity: float) -> Row:
        """Far more queries than can be answered, sent whether or not earlier ones were."""
        answer = self._generate(
            "query",
            OVERLOAD_CONNECTIONS,
            rate=self._args.overload * capacity,
            warm_s=OVERLOAD_WARM_S,
        )
        answers = answer["answers"]
        accepted = [(at, seconds) for at, seconds, status in answers if status == 200]
        refused = [seconds for _, seconds, status in answers if status == 503]
        per_s = rate_of(sorted(at for at, _ in accepted))
        return {
            "offered_per_s": (len(answers) + answer["unsent"]) / self._args.seconds,
            "goodput_per_s": per_s,
            "of_capacity": per_s / capacity,
            "accepted_p50_ms": percentile([s for _, s in accepted], 0.5) * 1000,
            "accepted_p99_ms": percentile([s for _, s in accepted], 0.99) * 1000,
            "refused": len(refused) / max(1, len(answers)),
            "refused_p50_ms": percentile(refused, 0.5) * 1000,
            "refused_p99_ms": percentile(refused, 0.99) * 1000,
            "other_answers": len(answers) - len(accepted) - len(refused),
            "unsent": answer["unsent"],
            "unanswered": answer["unanswered"],
            "generator_ms": answer["cpu_s_per_request"] * 1000,
        }

    def mixed(self) -> dict[str, Row]:
        """A few queries, alone and while others enrol without a pause."""
        alone, beside = [], []
        for _ in range(self._args.rounds):
            alone.append(self._load("query", MIXED_CLIENTS))
            enrolling = self._start_load("batch", MIXED_CLIENTS)
            row = self._load("query", MIXED_CLIENTS)
            answers = self._finished(enrolling)["answers"]
            times = sorted(at for at, _, status in answers if status == 200)
            beside.append(row | {"enrolled_per_s": rate_of(times, self._args.batch_crops)})
        return {"queries alone": median_of(alone), "beside enrolments": median_of(beside)}

    def _latencies(self) -> list[Contender]:
        contenders = []
        for clients in LATENCY_CLIENTS:
            for call in ("query", "gallery"):
                name = f"POST /{call}, {clients} client{'s' if clients > 1 else ''}"
                stages = call == "query" and clients == 1
                contenders.append(
                    Contender(
                        name,
                        lambda call=call, clients=clients, stages=stages: self._load(
                            call, clients, stages=stages, seconds=self._args.seconds / 2
                        ),
                    )
                )
        contenders.append(Contender("POST /gallery", lambda: self._load("gallery", QUERY_CLIENTS)))
        return contenders

    def _peers(self) -> list[Contender]:
        contenders = []
        if "fastapi" in self._args.only:
            server = self._peer([sys.executable, "-m", "benchmarks.service_fastapi"], [])
            contenders.append(Contender("bare FastAPI handler", lambda: self._awake(server)))
        if "litserve" in self._args.only and self._args.litserve_python is not None:
            python = [str(self._args.litserve_python), "-m", "benchmarks.service_litserve"]
            plan = self._best_litserve(python)
            server_2 = self._peer(python, plan)
            name = f"LitServe, max_batch_size {plan[0]}, batch_timeout {plan[1]} s"
            contenders.append(Contender(name, lambda: self._awake(server_2)))
        return contenders

    def _peer(self, command: Sequence[str], options: Sequence[str]) -> Server:
        """Start another server; it sleeps until its turn, since some poll while idle."""
        server = self._stack.enter_context(self._started(command, options))
        server.pause()
        self._stack.callback(server.resume)
        return server

    def _started(self, command: Sequence[str], options: Sequence[str]) -> Server:
        port = free_port()
        return Server(
            [*command, str(self._model), str(port), *options],
            self._work / f"{port}.log",
            says=rf"running on http://127\.0\.0\.1:({port})",
        )

    def _best_litserve(self, python: Sequence[str]) -> list[str]:
        found = {}
        for max_batch, timeout_s in LITSERVE_PLANS:
            options = [str(max_batch), str(timeout_s)]
            with self._started(python, options) as server:
                row = self._load("query", QUERY_CLIENTS, server=server, seconds=TRIAL_S)
            found[row["per_s"]] = options
        return found[max(found)]

    def _awake(self, server: Server) -> Row:
        server.resume()
        try:
            return self._load("query", QUERY_CLIENTS, server=server)
        finally:
            server.pause()

    def _fill(self) -> None:
        """Give the gallery something to find, and warm everything up."""
        requests = max(1, FIRST_ENTRIES // self._args.batch_crops)
        for _ in range(2):
            self._generate("batch", BATCH_CLIENTS, seconds=requests / 50, warm_s=0)

    def _rounds(self, contenders: Sequence[Contender]) -> list[dict[str, Row]]:
        rounds = []
        for number in tqdm(range(self._args.rounds), desc=self._model.name, leave=False):
            order = contenders if number % 2 == 0 else contenders[::-1]
            rows = {contender.name: contender.measure() for contender in order}
            ceiling = rows["bare encoder"]["per_s"]
            for row in rows.values():
                row["of_ceiling"] = row["per_s"] / ceiling
            rounds.append({contender.name: rows[contender.name] for contender in contenders})
        return rounds

    @staticmethod
    def _medians(rounds: Sequence[dict[str, Row]]) -> dict[str, Row]:
        return {name: median_of([rows[name] for rows in rounds]) for name in rounds[0]}

    def _load(
        self,
        call: str,
        clients: int,
        *,
        each: int = 1,
        stages: bool = False,
        seconds: float | None = None,
        server: Server | None = None,
    ) -> Row:
        """Ask a server without a pause, return what came of it per crop."""
        server = server or self._service
        cpu_s, started = server.cpu_s(), time.perf_counter()
        neighbours = Neighbours(server.cpu_s)
        answer = self._generate(call, clients, stages=stages, seconds=seconds, port=server.port)
        elapsed = time.perf_counter() - started
        all_crops = answer["sent"] * each
        ok = [(at, s) for at, s, status in answer["answers"] if status in (200, 201)]
        seconds_each = [s for _, s in ok]
        row = {
            "per_s": rate_of([at for at, _ in ok], each),
            "p50_ms": percentile(seconds_each, 0.5) * 1000,
            "p99_ms": percentile(seconds_each, 0.99) * 1000,
            "failed": len(answer["answers"]) - len(ok) + answer["unanswered"],
            "cpu_ms": (server.cpu_s() - cpu_s) / max(1, all_crops) * 1000,
            "generator_ms": answer["cpu_s_per_request"] * 1000 / each,
            "neighbours": neighbours.cores(elapsed, answer["cpu_s_per_request"] * answer["sent"]),
        }
        if stages:
            for name in ("own", "decode", "queue", "embed", "search", "latency"):
                row[f"{name}_ms"] = statistics.median(s[name] for s in answer["stages"])
        return row

    def _generate(self, call: str, clients: int, **options: Any) -> dict[str, Any]:
        return self._finished(self._start_load(call, clients, **options))

    def _start_load(self, call: str, clients: int, **options: Any) -> "subprocess.Popen[str]":
        given = {name: value for name, value in options.items() if value is not None}
        job = {
            "host": "127.0.0.1",
            "port": self._service.port,
            "requests": str(self._requests[call]),
            "clients": clients,
            "seconds": self._args.seconds,
        }
        command = [sys.executable, "-m", "benchmarks.service_load", json.dumps(job | given)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)

    def _finished(self, load: "subprocess.Popen[str]") -> dict[str, Any]:
        output, _ = load.communicate()
        if load.returncode:
            raise RuntimeError(f"the load generator ended with {load.returncode}")
        answer: dict[str, Any] = json.loads(output)
        return answer

    def _start_ceiling(self) -> tuple["subprocess.Popen[str]", dict[str, Any]]:
        job = {"model": str(self._model.resolve()), "crops": str(self._crops)}
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.service_ceiling", json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=environment(),
        )
        self._stack.enter_context(process)
        self._stack.callback(process.send_signal, signal.SIGTERM)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
