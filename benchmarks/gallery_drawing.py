"""Draws the gallery benchmark's queries and entries, apart from the processes that are measured.

    python -m benchmarks.gallery_drawing JOB

fits the population (kept in the work directory: it takes minutes) and draws the queries.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import gallery_data, gallery_people, gallery_population
from benchmarks.gallery_child import child_main
from benchmarks.gallery_data import CROPS_PER_PERSON, PERSONS_PER_BLOCK, Block, Crowd
from benchmarks.gallery_slices import (
    Columns,
    Drawn,
    Floats,
    Slice,
    Wanted,
    exact_tops,
    load,
    save,
)
from gallery_index.index.blas_threads import one_blas_thread

SEED = 4712
_FIRST_PASS = 1000  # numbers of passes that no tracklet of the gallery has


class Drawing:
    """A worker's crowd and the slices whose exact answers are found on the way."""

    def __init__(self, crowd: Crowd, slices: list[Slice]) -> None:
        self._crowd, self._slices = crowd, slices

    @classmethod
    def of(cls, population: Path, slices: Path) -> "Drawing":
        """Draw from what `prepare` wrote."""
        return cls(Crowd(load(population), SEED), load(slices))

    @one_blas_thread()
    def draw(self, number: int) -> Drawn:
        """Draw a block and search it exactly."""
        block = self._crowd.block(number)
        vectors, columns = block.vectors.astype(np.float16), columns_of(block)
        tops = [exact_tops(slice, block.first, vectors, columns) for slice in self._slices]
        return Drawn(block.first, vectors, columns, tops)


def columns_of(block: Block) -> Columns:
    """The columns of a block's rows."""
    return Columns(block.persons, block.cameras, block.infrared, block.sites, block.zones)


def draw_slices(crowd: Crowd, entries: int, count: int) -> list[Slice]:
    """Draw `count` queries a slice, of people who are among the first `entries` rows.

    All but the tracklets' are new passes: their person is in the gallery, that moment is not.
    """
    rng = np.random.default_rng([SEED, entries])
    people = np.arange(entries // CROPS_PER_PERSON)
    alike = people % PERSONS_PER_BLOCK == 0
    number = _FIRST_PASS

    def passes(infrared: bool | None = None) -> tuple[Floats, NDArray[np.int64]]:
        nonlocal number
        drawn = []
        for place, person in enumerate(rng.choice(people[~alike], count).tolist()):
            side = bool(place % 2) if infrared is None else infrared
            drawn.append(crowd.new_passes(person, number, infrared=side))
            number += 1
        return unit(np.concatenate([v for v, _ in drawn])), np.concatenate([c for _, c in drawn])

    tracked = rng.choice(people[alike], count).tolist()
    frames = unit(np.concatenate([crowd.new_frames(p, i) for i, p in enumerate(tracked)]))
    anything: list[Wanted | None] = [None] * count
    zones = rng.integers(gallery_data.SITES // gallery_data.SITES_PER_ZONE, size=count).tolist()
    sites = rng.integers(gallery_data.SITES, size=count).tolist()
    seen, cameras = passes()
    return [
        Slice("same modality", passes()[0], anything),
        Slice("cross-modal", passes(True)[0], [Wanted("infrared", 0)] * count),
        Slice("tracklet", frames, anything),
        Slice("filter 10 %", passes()[0], [Wanted("zone", zone) for zone in zones]),
        Slice("filter 0.1 %", passes()[0], [Wanted("site", site) for site in sites]),
        Slice("one camera excluded", seen, [Wanted("camera", c, True) for c in cameras.tolist()]),
        Slice("persons", passes()[0], anything, "person"),
    ]


def unit(vectors: Floats) -> Floats:
    """Rows of length 1, which rounding to fp16 has changed a little."""
    scaled: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def fitted(embeddings: Path, work: Path) -> Path:
    """Fit the population, unless the work directory has that of this file and this code."""
    digest = hashlib.sha256(embeddings.read_bytes())
    digest.update(Path(gallery_population.__file__).read_bytes())
    path = work / f"population-{digest.hexdigest()[:16]}.pkl"
    if not path.exists():
        real = gallery_people.read_embedded(embeddings)
        save(path, gallery_population.fit_population(real))
    return path


def prepare(embeddings: str, work: str, entries: int, queries: int) -> dict[str, Any]:
    """Write what a size needs: the population and the slices; says where and the dimension."""
    population = fitted(Path(embeddings), Path(work))
    crowd = Crowd(load(population), SEED)
    slices = Path(work) / f"slices-{entries}.pkl"
    save(slices, draw_slices(crowd, entries, queries))
    return {
        "dim": crowd.population.dim,
        "population": str(population),
        "slices": str(slices),
    }


if __name__ == "__main__":
    child_main(prepare)
