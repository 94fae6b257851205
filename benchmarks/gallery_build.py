"""A process of the gallery benchmark: enrols a gallery in batches.

    python -m benchmarks.gallery_build JOB

Only the time inside `Gallery.add` counts. Entries are drawn, and searched exactly for every query,
by two other processes, which rest meanwhile.
"""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gallery_child import child_main, memory_mb, open_gallery
from benchmarks.gallery_slices import Columns, Drawn, Tops, camera_id, modality, save
from gallery_index.gallery import Gallery
from gallery_index.records import Added, NewEntry

if TYPE_CHECKING:
    from benchmarks.gallery_drawing import Drawing

BATCH = 256
DRAWERS = 2


def build(
    directory: str, dim: int, entries: int, population: str, slices: str, answers: str
) -> dict[str, Any]:
    """Enrol `entries` rows, let upkeep finish, close; keep the exact answers and the columns."""
    gallery = open_gallery(Path(directory), dim)
    add_s, columns, tops = 0.0, [], list[Tops]()
    blocks = drawn_blocks(range(entries // 1000), population, slices)
    for block in blocks:
        columns.append(block.columns)
        tops = [a.merged(b) for a, b in zip(tops, block.tops, strict=True)] if tops else block.tops
        add_s += enrol(gallery, new_entries(block))
        del block
    enrolling = memory_mb("VmHWM")["VmHWM"]
    save(Path(answers), (Columns.joined(columns), tops))
    start = time.perf_counter()
    settle(gallery)
    upkeep_s = time.perf_counter() - start
    stats = gallery.stats()
    start = time.perf_counter()
    gallery.close()
    return {
        "entries_per_s": entries / add_s,
        "upkeep_s": upkeep_s,
        "close_s": time.perf_counter() - start,
        "peak_mb": memory_mb("VmHWM")["VmHWM"],
        "peak_enrolling_mb": enrolling,
        "index_kind": stats.index_kind,
        "index_mb": stats.index_bytes / 1e6,
        "own_recall": stats.recall_at_10,
        "files_mb": {
            path.name: path.stat().st_size / 1e6
            for path in sorted(Path(directory).rglob("*"))
            if path.is_file()
        },
    }


def more(directory: str, dim: int, entries: int, population: str, slices: str, first: int) -> None:
    """Enrol `entries` more, say so, and wait to be killed."""
    gallery = open_gallery(Path(directory), dim)
    numbers = range(first // 1000, (first + entries) // 1000)
    for block in drawn_blocks(numbers, population, slices):
        enrol(gallery, new_entries(block))
    print(len(gallery), flush=True)
    sys.stdin.read()


def drawn_blocks(numbers: range, population: str, slices: str) -> Iterator[Drawn]:
    """Draw blocks, two at a time; nothing is drawn while the caller works."""
    with ProcessPoolExecutor(
        DRAWERS, get_context("spawn"), start_worker, (Path(population), Path(slices))
    ) as pool:
        for at in range(0, len(numbers), DRAWERS):
            waiting = list(pool.map(draw_block, numbers[at : at + DRAWERS]))
            while waiting:
                yield waiting.pop(0)


_drawing: list["Drawing"] = []


def start_worker(population: Path, slices: Path) -> None:
    """Get a process of the pool ready to draw."""
    # Imported here: it counts as no memory of the process that enrols.
    from benchmarks.gallery_drawing import Drawing

    _drawing.append(Drawing.of(population, slices))


def draw_block(number: int) -> Drawn:
    """Draw in a process that `start_worker` got ready."""
    return _drawing[0].draw(number)


def new_entries(block: Drawn) -> Iterator[NewEntry]:
    """The rows of a block as they would come from cameras."""
    columns = block.columns
    for place, vector in enumerate(block.vectors):
        row = block.first + place
        site = int(columns.site[place])
        yield NewEntry(
            embedding=vector.astype(np.float32),
            crop=row.to_bytes(8),
            media_type="image/jpeg",
            modality=modality(bool(columns.infrared[place])),
            person_id=f"person-{columns.person[place]}",
            camera_id=camera_id(int(columns.camera[place])),
            attributes={"site": site, "zone": int(columns.zone[place])},
        )


def enrol(gallery: Gallery, entries: Iterator[NewEntry]) -> float:
    """Add entries in batches; returns the seconds that `add` took."""
    seconds = 0.0
    while batch := list(islice(entries, BATCH)):
        start = time.perf_counter()
        results = gallery.add(batch)
        seconds += time.perf_counter() - start
        refused = [result for result in results if not isinstance(result, Added)]
        if refused:
            raise RuntimeError(f"an entry was refused: {refused[0]}")
    return seconds


def settle(gallery: Gallery) -> None:
    """Do upkeep until nothing more is due."""
    before = None
    while True:
        gallery.upkeep()
        stats = gallery.stats()
        now = (stats.index_kind, stats.recall_measured_at, stats.rows_since_snapshot)
        if now == before:
            return
        before = now


if __name__ == "__main__":
    child_main(build, more)
