"""One model's measurements: who takes turns with whom, and what is asked of each.

Owns the processes of one model; figures are made in `service_clients` and `service_figures`.
"""

import argparse
import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.service_bare import BareEncoder
from benchmarks.service_clients import Clients, Row, finished
from benchmarks.service_crops import (
    batch_requests,
    rendered_crops,
    single_requests,
    write_requests,
)
from benchmarks.service_enroll import enroll, write_folder
from benchmarks.service_figures import Neighbours, median_of, percentile, rate_of
from benchmarks.service_process import Server, memory_mb, service

PARTS = ("query", "batch", "latency", "fastapi", "litserve", "overload", "mixed", "enroll")
QUERY_CLIENTS, BATCH_CLIENTS, MIXED_CLIENTS = 64, 8, 4
LATENCY_CLIENTS = (1, 8)
OVERLOAD_CONNECTIONS = 1000  # just below what the service takes by default
OVERLOAD_WARM_S = 12.0  # longer than a query may take: the queue is full and stays so
LITSERVE_PLANS = (("8", "0.0"), ("32", "0.0"), ("32", "0.01"))
TRIAL_S = 2.0
BARE = "bare encoder"
CROPS_SEED = 20
FIRST_ENTRIES = 256
ENROLL_MOST_S = 40.0


@dataclass(frozen=True)
class Contender:
    """Something that takes its turn in every round."""

    name: str
    measure: Callable[[], Row]
    saturating: bool = False


class Bench:
    """All that runs for one model; `stack` ends it."""

    def __init__(self, model: Path, work: Path, args: argparse.Namespace, stack: ExitStack) -> None:
        self._model = model
        self._work = work
        self._args = args
        self._stack = stack
        self._crops = rendered_crops(args.crops, CROPS_SEED)
        requests = {
            "query": single_requests("/query", self._crops),
            "gallery": single_requests("/gallery", self._crops),
            "batch": batch_requests(self._crops, args.batch_crops),
        }
        files = {name: write_requests(work / name, sent) for name, sent in requests.items()}
        self._clients = Clients(files, args.seconds)
        self._ceiling = BareEncoder(model, self._crops, work, stack)
        self._plan = self._ceiling.plan
        self._service = stack.enter_context(
            service(model, work / "data", work / "serve.log", args.serve_options)
        )

    def run(self) -> dict[str, Any]:
        """Every part that was asked for."""
        self._fill()
        wanted = self._args.only
        rounds = self._rounds(self._contenders())
        rows = {name: median_of([rows[name] for rows in rounds]) for name in rounds[0]}
        result: dict[str, Any] = {
            "plan": self._plan,
            "crop_bytes": statistics.mean(len(crop.content) for crop in self._crops),
            "rounds": rounds,
            "rows": rows,
        }
        if "overload" in wanted:
            result["overload"] = self.overload(rows["POST /query"]["per_s"])
        if "mixed" in wanted:
            result["mixed"] = self.mixed()
        if "enroll" in wanted:
            result["enroll"] = self.enroll(rows[BARE]["per_s"])
        if "litserve" in wanted and self._args.litserve_python is None:
            result["left_out"] = "LitServe: no --litserve-python with it was given"
        result["memory_mb"] = memory_mb(self._service.process.pid)
        return result

    def ceiling(self) -> Row:
        """Decode and encode, nothing else."""
        neighbours, started = Neighbours(lambda: 0.0), time.perf_counter()
        answer = self._ceiling.ask(self._args.seconds / 2)
        elapsed_s = time.perf_counter() - started
        return {
            "per_s": rate_of(answer["times"], self._plan["batch"]),
            "cpu_ms": answer["cpu_s"] / answer["crops"] * 1000,
            "neighbours": neighbours.cores(elapsed_s, answer["cpu_s"]),
            "batch": self._plan["batch"],
        }

    def overload(self, capacity: float) -> Row:
        """Far more queries than can be answered, sent whether or not earlier ones were."""
        answer = self._clients.answers(
            self._service,
            "query",
            OVERLOAD_CONNECTIONS,
            rate=self._args.overload * capacity,
            warm_s=OVERLOAD_WARM_S,
        )
        answers = answer["answers"]
        accepted = [(at, seconds) for at, seconds, status in answers if status == 200]
        refused = [seconds for _, seconds, status in answers if status == 503]
        per_s = rate_of([at for at, _ in accepted])
        return {
            "offered_per_s": self._args.overload * capacity,
            "answered_per_s": len(answers) / self._args.seconds,
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
            alone.append(self._row("query", MIXED_CLIENTS))
            enrolling = self._clients.start(self._service, "batch", MIXED_CLIENTS)
            row = self._row("query", MIXED_CLIENTS)
            finished(enrolling)
            beside.append(row | {"enrolled_per_s": row["encoded_per_s"] - row["asked_per_s"]})
        return {"queries alone": median_of(alone), "beside enrolments": median_of(beside)}

    def enroll(self, ceiling: float) -> dict[str, Row]:
        """`mpanet enroll` of a folder, and of the same folder again."""
        count = min(self._args.enroll_crops, round(ceiling * ENROLL_MOST_S))
        folder = write_folder(self._work / "folder", self._crops, count)
        first = enroll(folder, self._service.port)
        after = self.ceiling()["per_s"]
        first["of_ceiling"] = first["per_s"] / statistics.mean((ceiling, after))
        return {"first": first, "again": enroll(folder, self._service.port)}

    def _contenders(self) -> list[Contender]:
        wanted, found = self._args.only, []
        if {"query", "overload"} & {*wanted}:
            found.append(Contender("POST /query", partial(self._row, "query", QUERY_CLIENTS), True))
        if "batch" in wanted:
            options = {"each": self._args.batch_crops, "seconds": 2 * self._args.seconds}
            batch = partial(self._row, "batch", BATCH_CLIENTS, **options)
            found.append(Contender("POST /gallery/batch", batch, True))
        if "latency" in wanted:
            found += self._latencies()
        if "fastapi" in wanted:
            server = self._peer([sys.executable, "-m", "benchmarks.service_fastapi"], [])
            found.append(Contender("bare FastAPI handler", partial(self._awake, server), True))
        if "litserve" in wanted and self._args.litserve_python is not None:
            python = [str(self._args.litserve_python), "-m", "benchmarks.service_litserve"]
            plan = self._best_litserve(python)
            name = f"LitServe, max_batch_size {plan[0]}, batch_timeout {plan[1]} s"
            found.append(Contender(name, partial(self._awake, self._peer(python, plan)), True))
        return found

    def _latencies(self) -> list[Contender]:
        """Each call of one crop with few clients, and enrolments with many."""
        half = self._args.seconds / 2
        found = [
            Contender(
                f"POST /{call}, {clients} client{'s' if clients > 1 else ''}",
                partial(
                    self._row, call, clients, seconds=half, stages=call == "query" and clients == 1
                ),
            )
            for clients in LATENCY_CLIENTS
            for call in ("query", "gallery")
        ]
        return [
            *found,
            Contender("POST /gallery", partial(self._row, "gallery", QUERY_CLIENTS), True),
        ]

    def _row(self, call: str, clients: int, **options: Any) -> Row:
        return self._clients.row(self._service, call, clients, **options)

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

    def _best_litserve(self, python: Sequence[str]) -> tuple[str, str]:
        """The fastest of a few plans."""
        found = {}
        for plan in LITSERVE_PLANS:
            with self._started(python, plan) as server:
                row = self._clients.row(server, "query", QUERY_CLIENTS, seconds=TRIAL_S)
            found[plan] = row["per_s"]
        return max(found, key=lambda plan: found[plan])

    def _awake(self, server: Server) -> Row:
        server.resume()
        try:
            return self._clients.row(server, "query", QUERY_CLIENTS)
        finally:
            server.pause()

    def _fill(self) -> None:
        """Give the gallery something to find, and warm everything up."""
        while self._service_entries() < FIRST_ENTRIES:
            self._clients.answers(self._service, "batch", BATCH_CLIENTS, seconds=0.2, warm_s=0)
        self._clients.answers(self._service, "query", BATCH_CLIENTS, seconds=0.5, warm_s=0)

    def _service_entries(self) -> float:
        return self._service.metric("mpanet_gallery_entries")

    def _rounds(self, contenders: Sequence[Contender]) -> list[dict[str, Row]]:
        rounds = []
        for number in tqdm(range(self._args.rounds), desc=self._model.name, leave=False):
            order = contenders if number % 2 == 0 else contenders[::-1]
            rows = self._round(order)
            rounds.append({name: rows[name] for name in (BARE, *(c.name for c in contenders))})
        return rounds

    def _round(self, order: Sequence[Contender]) -> dict[str, Row]:
        """Let each have its turn, the bare encoder right before and after all that saturate."""
        ceilings, rows = [self.ceiling()], {}
        for contender in order:
            row = contender.measure()
            if contender.saturating:
                ceilings.append(self.ceiling())
                around = median_of(ceilings[-2:])
                row["of_ceiling"] = row["per_s"] / around["per_s"]
                row["by_cpu"] = around["cpu_ms"] / (row["cpu_ms"] + row["generator_ms"])
            rows[contender.name] = row
        return {BARE: median_of(ceilings), **rows}


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
