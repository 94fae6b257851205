"""The gallery at growing sizes: recall, latency, memory, start and enrolment, beside its peers.

    python -m benchmarks.gallery_people --model mpanet/demo_model --out embeddings.npz
    python -m benchmarks.gallery --embeddings embeddings.npz --work work --out gallery.json

Embeddings of a few hundred people are extended to each size (`gallery_population`). Every step
runs in a process of its own, so that memory is that step's alone; what a size wrote into the work
directory is removed when it is done.
"""

import argparse
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.gallery_child import ChildFailedError, run_child, start_child
from benchmarks.gallery_tables import figure, tables

CPUINFO = Path("/proc/cpuinfo")
KILLED_AFTER = 19_000
LANCEDB_ROWS = 100_000
PACKAGES = {"FAISS": "faiss-cpu", "NumPy": "numpy", "LanceDB": "lancedb"}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each size, print the tables, write JSON and the plot after each."""
    args = parse(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"machine": machine(), "sizes": []}
    for entries in args.sizes:
        result["sizes"].append(measure(args, entries))
        if args.out is not None:
            args.out.write_text(json.dumps(result, indent=1) + "\n")
        if args.plot is not None:
            args.plot.write_text(figure(result))
    print(tables(result))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description="The gallery at growing sizes.")
    parser.add_argument("--embeddings", type=Path, required=True, metavar="FILE")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sizes", type=int, nargs="+", default=(10_000, 100_000, 1_000_000))
    parser.add_argument("--queries", type=int, default=64, help="in each slice")
    parser.add_argument("--peer-queries", type=int, default=16, help="of each slice, for the peers")
    parser.add_argument("--memory-gb", type=float, default=8, help="that a peer may fill")
    parser.add_argument(
        "--lancedb",
        nargs="+",
        default=("flat", "IVF_HNSW_SQ"),
        metavar="INDEX",
        help="its index types; `flat` is none. IVF_PQ's training takes very long at 14,336 dims",
    )
    parser.add_argument("--peer-timeout-s", type=float, default=1800, help="that a peer may take")
    parser.add_argument("--no-peers", action="store_true", help="measure the gallery alone")
    parser.add_argument("--gpu", action="store_true", help="exact search on a card, too")
    parser.add_argument("--keep", action="store_true", help="leave the galleries in place")
    parser.add_argument("--out", type=Path, metavar="FILE", help="figures as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="latency and memory as SVG")
    args = parser.parse_args(argv)
    if wrong := [size for size in args.sizes if size < 1000 or size % 1000]:
        parser.error(f"--sizes: expected multiples of 1,000, got {wrong[0]}")
    return args


def measure(args: argparse.Namespace, entries: int) -> dict[str, Any]:
    """All steps of one size."""
    directory = args.work / f"gallery-{entries}"
    if directory.exists():
        raise SystemExit(f"{directory} exists: it is of an earlier run, remove it")
    steps = tqdm(total=6, desc=f"{entries:,}", unit="step")

    def done(name: str) -> None:
        steps.set_postfix_str(name)
        steps.update()

    try:
        load = os.getloadavg()[0]
        drawn = run_child(
            "gallery_drawing",
            embeddings=str(args.embeddings),
            work=str(args.work),
            entries=entries,
            queries=args.queries,
        )
        done("drawn")
        answers = str(args.work / f"answers-{entries}.pkl")
        at = {"directory": str(directory), "slices": drawn["slices"]}
        build = run_child(
            "gallery_build", task="build", entries=entries, answers=answers, **at | drawn
        )
        done("built")
        starts = {
            name: restart(at, drawn["dim"], evict=evict)
            for name, evict in (("warm", False), ("cold", True))
        }
        done("started again")
        queries = run_child("gallery_serving", task="ask", dim=drawn["dim"], answers=answers, **at)
        done("asked")
        peers = {} if args.no_peers else compare(args, entries, {**at, "answers": answers})
        done("compared")
        starts["killed"] = killed(at, drawn, entries)
        done("killed")
    finally:
        steps.close()
        if not args.keep:
            shutil.rmtree(directory, ignore_errors=True)
    return {
        "entries": entries,
        "dim": drawn["dim"],
        "load_at_start": load,
        "build": build,
        "starts": starts,
        "queries": queries,
        "peers": peers,
    }


def restart(at: Mapping[str, Any], dim: int, *, evict: bool) -> dict[str, Any]:
    """Open the gallery in a new process."""
    return run_child(
        "gallery_serving", task="restart", dim=dim, evict=evict, started=time.time(), **at
    )


def killed(at: Mapping[str, Any], drawn: Mapping[str, Any], entries: int) -> dict[str, Any]:
    """Enrol more, kill the process, open the gallery again; nothing acknowledged may be gone."""
    job = {"task": "more", "entries": KILLED_AFTER, "first": entries, **at, **drawn}
    with start_child("gallery_build", job) as child:
        assert child.stdout is not None
        held = child.stdout.readline()
        child.kill()
    if held.strip() != str(entries + KILLED_AFTER):
        raise ChildFailedError(
            f"expected {entries + KILLED_AFTER} entries before a kill, got {held}"
        )
    figures = restart(at, drawn["dim"], evict=False)
    if figures["entries"] != entries + KILLED_AFTER:
        raise ChildFailedError(f"{figures['entries']} entries after a kill, {held} before it")
    return figures | {"enrolled": KILLED_AFTER}


def compare(args: argparse.Namespace, entries: int, where: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the peers; one that fails or does not fit says why."""
    jobs: dict[str, dict[str, Any]] = {
        "FAISS flat, fp16": {"task": "flat"},
        "HR, RaBitQ, re-scored": {"task": "rabitq"},
    }
    skipped: dict[str, Any] = {}
    for index in args.lancedb:
        name = f"LanceDB, {index}"
        if entries <= LANCEDB_ROWS:
            jobs[name] = {"task": "lancedb", "index": index, "work": str(args.work)}
        else:
            skipped[name] = {"skipped": f"asked up to {LANCEDB_ROWS:,} entries"}
    if args.gpu:
        jobs["FAISS flat, fp16, on a card"] = {"task": "gpu"}
    found = {}
    for name, job in jobs.items():
        limits = {"memory_gb": args.memory_gb, "queries": args.peer_queries}
        try:
            asked = {**job, **limits, **where}
            found[name] = run_child("gallery_peers", timeout_s=args.peer_timeout_s, **asked)
        except ChildFailedError as error:
            found[name] = {"skipped": str(error)}
    return found | skipped


def machine() -> dict[str, Any]:
    """The processor, its cores, how busy it is, and versions."""
    text = CPUINFO.read_text() if CPUINFO.exists() else ""
    models = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        **{name: installed(package) for name, package in PACKAGES.items()},
    }


def installed(package: str) -> str:
    """The version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    raise SystemExit(main())
