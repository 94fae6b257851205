"""Evaluation against a plain restatement of the reference procedure, on one machine, in one run.

The restatement does what `utils/eval_sysu.py` (commit f57fd5c) does: a product, a sort and a loop
over queries for every trial; re-ranking's is the oracle of the tests. People are random centres
with noise in the shape of SYSU-MM01: speed does not depend on whom they show, and both sides must
give the same figures. Contenders take turns, and the median of the rounds counts; processor seconds
are of all threads, and tell what a neighbour's load does not touch. Memory is the
peak of what NumPy allocates beyond the embeddings, in a further call that is not timed.

    python -m benchmarks.protocols --json protocols.json
"""

import argparse
import json
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_index.reranking import rerank
from tests.gallery_index.reranking_oracle import rerank_slowly, squared_distances
from training.metrics import RANKS, mean_figures
from training.protocols.contest import Contest, Labels
from training.protocols.embedded import embedded, normalised
from training.protocols.ranking import rank
from training.protocols.sysu_mm01 import sysu_mm01

PERSONS, IMAGES = 96, 18
CPUINFO = Path("/proc/cpuinfo")
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """One measurement: medians, their ratio, how far the results differ, and our peak memory."""

    what: str
    restated_s: float
    ours_s: float
    ratio: float
    restated_cpu_s: float
    ours_cpu_s: float
    largest_difference: float
    peak_bytes: int


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    args = parse(argv)
    query, gallery, looks, vectors = people(args.queries, args.dims)
    rows = []
    for shots in (1, 10):
        contest = sysu_mm01(query, gallery, search="all", shots=shots, permutations=None)
        rows.append(protocol_row(contest, looks, vectors, args.rounds))
    rows += reranking_rows(looks, vectors, args.rounds)
    result: dict[str, Any] = {
        "machine": {"processor": processor(), "threads": len(os.sched_getaffinity(0))},
        "versions": {"numpy": np.__version__, "python": platform.python_version()},
        "queries": args.queries,
        "gallery": len(gallery),
        "dims": args.dims,
        "rounds": args.rounds,
        "rows": [asdict(row) for row in rows],
    }
    print(table(result))
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description="Evaluation beside the reference procedure.")
    parser.add_argument("--queries", type=int, default=3803)
    parser.add_argument("--dims", type=int, default=14_336)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def people(queries: int, dims: int) -> tuple[Labels, Labels, Matrix, Matrix]:
    """Queries of cameras 3 and 6, and 96 persons by up to four cameras, 18 images each."""
    rng = np.random.default_rng(1)
    persons = np.repeat(np.arange(1, PERSONS + 1), 4 * IMAGES)
    cameras = np.tile(np.repeat([1, 2, 4, 5], IMAGES), PERSONS)
    seen = (persons % 7 != 0) | (cameras != 4)  # some persons never pass camera 4
    persons, cameras = persons[seen], cameras[seen]
    gallery = Labels(persons, cameras, np.arange(len(persons)))
    query = Labels(
        rng.integers(1, PERSONS + 1, queries), rng.choice([3, 6], queries), np.arange(queries)
    )
    centres = rng.standard_normal((PERSONS + 1, dims), dtype=np.float32)
    looks, vectors = (around(centres, side.person_ids, rng) for side in (query, gallery))
    return query, gallery, looks, vectors


def around(centres: Matrix, persons: NDArray[np.int64], rng: np.random.Generator) -> Matrix:
    """A noisy copy of each person's centre, alike enough to be found and not always first."""
    noise = np.float32(4.0 * (centres.shape[1] / 256) ** 0.25)
    points = np.empty((len(persons), centres.shape[1]), dtype=np.float32)
    for row, person in enumerate(persons.tolist()):
        points[row] = centres[person] + noise * rng.standard_normal(len(points[row]), dtype="f4")
    return points


def protocol_row(contest: Contest, looks: Matrix, vectors: Matrix, rounds: int) -> Row:
    """The whole protocol, from embeddings to mean figures over the trials."""

    def ours() -> list[float]:
        (outcome,) = rank(contest, embedded(looks, "query"), embedded(vectors, "gallery"))
        mean = mean_figures(outcome.trials)
        return [mean.mAP, mean.rank1, mean.rank5, mean.rank10, mean.rank20]

    def restated() -> list[float]:
        return restated_protocol(contest, looks, vectors)

    name = f"{contest.protocol}, {len(contest.trials)} trials"
    return compare(name, restated, ours, rounds)


def reranking_rows(looks: Matrix, vectors: Matrix, rounds: int) -> list[Row]:
    """Re-ranking of a single-shot gallery, from distances on, by both policies."""
    chosen = np.sort(np.random.default_rng(2).permutation(len(vectors))[:301])
    points = normalised(np.concatenate([looks, vectors[chosen]]))
    count = len(looks)
    distances = squared_distances(points, points)
    distances = np.maximum(distances, distances.T)
    blocks = distances[:count, count:], distances[:count, :count], distances[count:, count:]
    return [
        compare(
            f"re-ranking, {count} + {len(chosen)}, neighbours from"
            f" {'queries only' if only else 'queries and gallery'}",
            lambda only=only: rerank_slowly(distances, count, queries_only=only),  # type: ignore[misc]
            lambda only=only: rerank(  # type: ignore[misc]
                *blocks, neighbours="queries_only" if only else "gallery"
            ),
            rounds,
        )
        for only in (True, False)
    ]


def compare(
    what: str,
    restated: Callable[[], Sequence[float] | Matrix],
    ours: Callable[[], Sequence[float] | Matrix],
    rounds: int,
) -> Row:
    """Let both take turns; the restatement runs once a round, as ours does."""
    times: dict[str, list[float]] = {"restated": [], "ours": []}
    busy: dict[str, list[float]] = {"restated": [], "ours": []}
    found: dict[str, Any] = {}
    for _ in range(rounds):
        for name, contender in (("restated", restated), ("ours", ours)):
            start, start_busy = time.perf_counter(), time.process_time()
            found[name] = np.asarray(contender())
            times[name].append(time.perf_counter() - start)
            busy[name].append(time.process_time() - start_busy)
    slow, fast = statistics.median(times["restated"]), statistics.median(times["ours"])
    slow_busy, fast_busy = statistics.median(busy["restated"]), statistics.median(busy["ours"])
    difference = float(np.abs(found["restated"] - found["ours"]).max())
    peak = peak_bytes(ours)
    return Row(what, slow, fast, slow / fast, slow_busy, fast_busy, difference, peak)


def peak_bytes(call: Callable[[], object]) -> int:
    """The most that NumPy holds at once during a call beyond what it held before."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def restated_protocol(contest: Contest, looks: Matrix, vectors: Matrix) -> list[float]:
    """Mean figures as the reference finds them: everything anew for each trial."""
    query, gallery = normalised(looks), normalised(vectors)
    trials = []
    for rows in contest.trials:
        chosen, labels = gallery[rows], contest.gallery.rows(rows)
        squares = np.square(query).sum(axis=1)[:, None] + np.square(chosen).sum(axis=1)
        order = np.argsort(squares - 2 * query @ chosen.T, axis=1)
        trials.append(restated_trial(order, contest.query, labels))
    return [float(value) for value in 100 * np.mean(trials, axis=0)]


def restated_trial(order: NDArray[np.intp], query: Labels, gallery: Labels) -> list[float]:
    """mAP, then CMC at ranks 1, 5, 10 and 20, by two loops over the queries."""
    precisions = []
    for row in range(len(query)):
        persons = seen_persons(order[row], query, gallery, row)
        places = np.flatnonzero(persons == query.person_ids[row])
        if len(places):
            precisions.append(np.mean(np.arange(1, len(places) + 1) / (places + 1)))
    matches, matched = np.zeros(len(np.unique(gallery.person_ids))), 0
    for row in range(len(query)):
        persons = seen_persons(order[row], query, gallery, row)
        _, first = np.unique(persons, return_index=True)
        match = persons[np.sort(first)] == query.person_ids[row]
        if match.any():
            matched += 1
            matches[: len(match)] += match
    curve = np.cumsum(matches / matched)
    return [float(np.mean(precisions)), *(float(curve[rank - 1]) for rank in RANKS)]


def seen_persons(
    order: NDArray[np.intp], query: Labels, gallery: Labels, row: int
) -> NDArray[np.int64]:
    """The persons of a ranking without what the query must not see, filtered one by one."""
    persons = gallery.person_ids[order]
    if query.camera_ids[row] == 3:
        persons[gallery.camera_ids[order] == 2] = -1
    return np.array([person for person in persons if person != -1])


def processor() -> str:
    """The processor's name."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    machine, versions = result["machine"], result["versions"]
    lines = [
        f"{machine['processor']}, {machine['threads']} threads, NumPy {versions['numpy']};"
        f" {result['queries']} queries, {result['gallery']} candidates,"
        f" {result['dims']} dimensions; median of {result['rounds']} rounds",
        "",
        "| what | restated, s | ours, s | ratio | processor s, restated / ours"
        " | largest difference | peak memory, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {row['what']} | {row['restated_s']:.2f} | {row['ours_s']:.2f} | {row['ratio']:.1f}"
            f" | {row['restated_cpu_s']:.1f} / {row['ours_cpu_s']:.1f}"
            f" | {row['largest_difference']:.1e} | {row['peak_bytes'] / 2**20:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
