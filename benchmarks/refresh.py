"""A model refresh of a gallery under live load: what queries feel of it, and how fast it goes.

The candidate is the same network under another id, so both halves do the same work. In one run: the
bare encoder, queries at a steady rate on the idle service, the same queries while every entry is
embedded anew, the switch among them, a rollback, a reclaim.

    python -m benchmarks.refresh --entries 20000 --json refresh.json
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from itertools import cycle
from pathlib import Path
from typing import Any

import onnx
from tqdm import tqdm

import mpanet
from benchmarks.service_bare import BareEncoder
from benchmarks.service_clients import Clients, finished
from benchmarks.service_crops import (
    batch_requests,
    rendered_crops,
    single_requests,
    write_requests,
)
from benchmarks.service_figures import percentile, rate_of
from benchmarks.service_process import Server, memory_mb, service
from model.artifact import ModelArtifact, write_artifact
from service.client import ServiceClient

BUNDLED = Path(mpanet.__file__).parent / "demo_model"
CROPS, CROPS_SEED, BATCH_CROPS = 600, 31, 64
CLIENTS = 64
POLL_S = 0.2
Row = dict[str, float]
Answers = dict[str, Any]
"""What the load generator says of one window."""


def main() -> None:
    args = parse_arguments()
    with tempfile.TemporaryDirectory(dir=args.work) as folder, ExitStack() as stack:
        rounds = [Refresh(args, Path(folder), stack).run()]
        result = {
            "processor": processor(),
            "model": str(args.model),
            "entries": args.entries,
            "rounds": rounds,
        }
    print(table(result))
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


class Refresh:
    """One service, filled, and refreshed while it is asked."""

    def __init__(self, args: argparse.Namespace, work: Path, stack: ExitStack) -> None:
        self._args = args
        self._crops = rendered_crops(CROPS, CROPS_SEED)
        self._bare = BareEncoder(args.model, self._crops, work, stack)
        queries = write_requests(work / "queries", single_requests("/query", self._crops))
        self._clients = Clients({"query": queries}, args.seconds)
        self._other = twin(args.model, work / "twin")
        options = [part for name, value in args.option for part in (f"--{name}", value)]
        self._service = stack.enter_context(
            service(args.model, work / "data", work / "serve.log", options)
        )
        self._client = stack.enter_context(
            ServiceClient(f"http://127.0.0.1:{self._service.port}", None)
        )

    def run(self) -> dict[str, Any]:
        """Fill the gallery, then measure one thing after the other."""
        fill(self._service, self._crops, self._args.entries)
        bare = self._bare_per_s()
        rate = self._args.load * bare
        idle = latencies([self._asked(rate) for _ in range(self._args.windows)])
        memory = {"before": memory_mb(self._service.process.pid)}
        began = time.perf_counter()
        self._client.publish_model(self._other.directory)
        published_s = time.perf_counter() - began
        answers, speeds, seconds = self._refreshed(rate)
        refreshing = latencies(answers)
        memory["after"] = memory_mb(self._service.process.pid)
        bare = statistics.mean((bare, self._bare_per_s()))
        took = {"publish": published_s, "refresh": seconds, **self._undone()}
        memory["reclaimed"] = memory_mb(self._service.process.pid)
        refresh_per_s = statistics.median(speeds)
        return {
            "bare_per_s": bare,
            "queries_per_s": rate,
            "refresh_per_s": refresh_per_s,
            "of_bare": refresh_per_s / bare,
            "of_bare_with_queries": (refresh_per_s + rate) / bare,
            "idle": idle,
            "refreshing": refreshing,
            "p99_ratio": refreshing["p99_ms"] / idle["p99_ms"],
            "took_s": took,
            "memory_mb": memory,
        }

    def _bare_per_s(self) -> float:
        answer = self._bare.ask(self._args.seconds / 2)
        return rate_of(answer["times"], self._bare.plan["batch"])

    def _asked(self, rate: float) -> Answers:
        """Ask queries at random times, so many a second."""
        return self._clients.answers(self._service, "query", CLIENTS, rate=rate)

    def _refreshed(self, rate: float) -> tuple[list[Answers], list[float], float]:
        """Refresh under load; returns what queries got, entries a second, how long it took."""
        began = time.perf_counter()
        job: Any = self._client.activate(self._other.model_id)
        answers, speeds = [], []
        with tqdm(total=self._args.entries, desc="refreshing", leave=False) as bar:
            while job["status"] == "running":
                load = self._clients.start(self._service, "query", CLIENTS, rate=rate)
                speeds += self._speeds(job["job_id"], bar)
                answers.append(finished(load))
                job = self._client.job(job["job_id"])
        if job["status"] != "done":
            raise RuntimeError(f"the refresh ended otherwise: {job}")
        return answers, speeds, time.perf_counter() - began

    def _speeds(self, job_id: str, bar: "tqdm[Any]") -> list[float]:
        """Watch a window; returns how fast it went between what was seen of the embedding."""
        seen: list[tuple[float, int]] = []
        until = time.perf_counter() + self._args.seconds
        while time.perf_counter() < until:
            job = self._client.job(job_id)
            if job["phase"] == "embedding":
                seen.append((time.perf_counter(), job["done"]))
            bar.update(job["done"] - bar.n)
            time.sleep(POLL_S)
        if len(seen) < 2 or seen[-1][1] == seen[0][1]:
            return []
        return [(seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])]

    def _undone(self) -> Row:
        took = {}
        for name, undo in (("rollback", self._client.rollback), ("reclaim", self._client.reclaim)):
            began = time.perf_counter()
            undo()
            took[name] = time.perf_counter() - began
        return took


def fill(server: Server, crops: list[Any], entries: int) -> None:
    """Enrol so many entries; crops come again under other ids."""
    requests = cycle(batch_requests(crops, BATCH_CROPS))
    with connection(server) as http, tqdm(total=entries, desc="enrolling", leave=False) as bar:
        while bar.n < entries:
            raw = next(requests)
            head, _, body = raw.partition(b"\r\n\r\n")
            fields = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
            headers = {name.decode(): value.decode() for name, _, value in fields}
            http.request("POST", "/gallery/batch", body, headers)
            answer = http.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the service refuses to enrol: {answer.status}")
            bar.update(BATCH_CROPS)


@contextmanager
def connection(server: Server) -> Iterator[HTTPConnection]:
    """Open a connection for a while."""
    http = HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        yield http
    finally:
        http.close()


def twin(model: Path, directory: Path) -> ModelArtifact:
    """Write the same network under another id."""
    artifact = ModelArtifact.load(model)
    graph = onnx.load(artifact.onnx_path)
    graph.doc_string = "the same network, for a refresh that changes nothing but the model's id"
    return write_artifact(
        directory,
        graph.SerializeToString(),
        config=artifact.config,
        preprocessing=artifact.preprocessing,
    )


def latencies(windows: list[Answers]) -> Row:
    """Return how long the answers of all windows took, in ms, and how many were none."""
    every = [answer for window in windows for answer in window["answers"]]
    seconds = [seconds for _, seconds, status in every if status == 200]
    lost = sum(window["unanswered"] + window["unsent"] for window in windows)
    return {
        "answers": len(seconds),
        "p50_ms": percentile(seconds, 0.5) * 1000,
        "p99_ms": percentile(seconds, 0.99) * 1000,
        "longest_ms": max(seconds, default=0.0) * 1000,
        "failed": len(every) - len(seconds) + lost,
    }


def processor() -> str:
    """Return what the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(names)} cores"


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    [row] = result["rounds"]
    took, memory = row["took_s"], row["memory_mb"]
    lines = [
        f"{result['processor']}; {result['entries']:,} entries; bare encoder"
        f" {row['bare_per_s']:.1f} crops/s, queries {row['queries_per_s']:.1f}/s",
        "",
        "| queries | answered | p50, ms | p99, ms | longest, ms | failed |",
        "|---|---|---|---|---|---|",
    ]
    for name, figures in (("idle", row["idle"]), ("during the refresh", row["refreshing"])):
        cells = [f"{figures[key]:.1f}" for key in ("p50_ms", "p99_ms", "longest_ms")]
        counts = figures["answers"], figures["failed"]
        lines.append(f"| {name} | {counts[0]:.0f} | {' | '.join(cells)} | {counts[1]:.0f} |")
    lines += [
        "",
        f"p99 during the refresh, the switch included, / idle: {row['p99_ratio']:.2f}",
        f"re-embedding: {row['refresh_per_s']:.1f} entries/s, {row['of_bare']:.2f} of the bare"
        f" encoder ({row['of_bare_with_queries']:.2f} with the queries' crops)",
        f"publish {took['publish']:.1f} s, refresh {took['refresh']:.1f} s, rollback"
        f" {took['rollback'] * 1000:.0f} ms, reclaim {took['reclaim'] * 1000:.0f} ms",
        f"memory before {memory['before']:.0f} MB, after {memory['after']:.0f} MB, reclaimed"
        f" {memory['reclaimed']:.0f} MB",
    ]
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=BUNDLED, metavar="DIR")
    parser.add_argument("--entries", type=int, default=20_000, metavar="N")
    parser.add_argument(
        "--load", type=float, default=0.1, help="queries, as a share of the bare encoder's speed"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of a window of queries")
    parser.add_argument("--windows", type=int, default=4, help="idle windows of queries")
    parser.add_argument(
        "--option", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="an option of the service",
    )  # fmt: skip
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the gallery lies")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
