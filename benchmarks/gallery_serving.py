"""Processes of the gallery benchmark: open a gallery again, and ask it.

python -m benchmarks.gallery_serving JOB
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.gallery_child import VECTORS, child_main, memory_mb, open_gallery
from benchmarks.gallery_slices import TOP_K, Slice, Tops, load
from gallery_index.gallery import Gallery

ROUNDS = 3
THREADS = (2, 8)
COUNTERS = ("VmRSS", "RssAnon", "RssFile")


def restart(
    directory: str, dim: int, slices: str, started: float, evict: bool = False
) -> dict[str, Any]:
    """Time the opening until the first answer; `started` is when the process was asked for."""
    question: Slice = load(Path(slices))[0]
    if evict:
        for path in Path(directory).rglob("*"):
            if path.is_file():
                forget(path)
    start = time.perf_counter()
    gallery = open_gallery(Path(directory), dim)
    opened = time.perf_counter()
    gallery.search(question.vectors[0], top_k=TOP_K)
    answered, since_start = time.perf_counter(), time.time() - started
    figures = {
        "open_s": opened - start,
        "ready_s": answered - start,
        "process_s": since_start,
        "entries": len(gallery),
        "memory_mb": memory_mb(*COUNTERS),
    }
    gallery.close()
    return figures


def ask(directory: str, dim: int, slices: str, answers: str) -> dict[str, Any]:
    """Ask every query, warm and cold, then from several threads."""
    questions: list[Slice] = load(Path(slices))
    tops: list[Tops] = load(Path(answers))[1]
    gallery = open_gallery(Path(directory), dim)
    found = [
        ask_slice(gallery, Path(directory) / VECTORS, question, top)
        for question, top in zip(questions, tops, strict=True)
    ]
    memory = memory_mb(*COUNTERS, "VmHWM")
    rates = {str(threads): rate(gallery, questions, threads) for threads in THREADS}
    gallery.close()
    return {"slices": found, "memory_mb": memory, "queries_per_s": rates}


def ask_slice(gallery: Gallery, vectors: Path, question: Slice, tops: Tops) -> dict[str, Any]:
    """Each query once to warm up, then the median of three; then each with no vector cached."""
    answers = []
    warm = []
    for search in searches(gallery, question):
        answers.append(search())
        warm.append(sorted(milliseconds(search) for _ in range(ROUNDS))[ROUNDS // 2])
    scored = gallery.stats().candidates_per_query
    cold = []
    for search in searches(gallery, question):
        forget(vectors)
        cold.append(milliseconds(search))
    return {
        "name": question.name,
        "recall": tops.recall(answers),
        "scored": scored,
        "warm_ms": warm,
        "cold_ms": cold,
    }


def searches(gallery: Gallery, question: Slice) -> list[Callable[[], list[int]]]:
    """The queries of a slice, each as a call that returns the rows found."""

    def search(query: int) -> list[int]:
        found = gallery.search(
            question.vectors[query],
            top_k=TOP_K,
            filter=question.filter(query),
            group_by=question.group_by,
        )
        return [match.entry.row for match in found]

    return [partial(search, query) for query in range(len(question.vectors))]


def rate(gallery: Gallery, questions: list[Slice], threads: int) -> float:
    """Queries a second of all slices, asked by several threads at once, files warm."""
    slices = [searches(gallery, question) for question in questions]
    calls = list(chain.from_iterable(zip(*slices, strict=True)))
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        list(pool.map(lambda call: call(), calls))
        return len(calls) / (time.perf_counter() - start)


def milliseconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def forget(path: Path) -> None:
    """Have the kernel drop what it caches of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    child_main(restart, ask)
