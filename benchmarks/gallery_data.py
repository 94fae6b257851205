"""A gallery of any size, drawn from a `Population`: block by block, the same from the same seed.

A block is ten persons' crops, 100 of each, in mixed order, as several cameras would report them.
Nine persons of ten have four tracklets (40, 30, 20 and 10 frames; two visible, two infrared, all
by other cameras), the tenth a single one of 100 near-duplicates. A gallery of 10,000 entries is
the beginning of one of a million. Owns drawing; what is measured on it is `gallery`'s.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchmarks.gallery_population import Floats, ModalitySide, Population

CROPS_PER_PERSON = 100
PERSONS_PER_BLOCK = 10
BLOCK_ROWS = CROPS_PER_PERSON * PERSONS_PER_BLOCK
TRACKLET_LENGTHS = (40, 30, 20, 10)
ANCHORS = 3
"""Real persons that a new one is made of."""
SITES = 1000
SITES_PER_ZONE = 100
NOISE = 4 << 20
"""Normal numbers drawn once; the full-dimensional rest of a row is a slice at a random place."""
_PERSON, _FRAMES, _QUERY, _POOL = range(4)


@dataclass(frozen=True)
class Block:
    """Rows from `first` on. `vectors` float32 (n, D) of length 1, every number one of fp16's.

    `persons`, `cameras`, `sites` int64 (n,); `infrared` bool (n,).
    """

    first: int
    vectors: Floats
    persons: NDArray[np.int64]
    cameras: NDArray[np.int64]
    infrared: NDArray[np.bool_]
    sites: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def zones(self) -> NDArray[np.int64]:
        """Which tenth of the sites each row is from."""
        return self.sites // SITES_PER_ZONE


@dataclass(frozen=True)
class _Tracklet:
    camera: int
    infrared: bool
    length: int
    coefficients: Floats
    noise: int


class Crowd:
    """New people of a population. Thread-safe: every draw has a random stream of its own."""

    def __init__(self, population: Population, seed: int) -> None:
        self.population = population
        self._seed = seed
        pool = self._rng(_POOL, 0).standard_normal(NOISE + population.dim, dtype=np.float32)
        self._noise = sliding_window_view(pool, population.dim)

    def blocks(self, entries: int, *, threads: int = 2) -> Iterator[Block]:
        """The gallery's first `entries` rows (a multiple of 1,000), drawn ahead by `threads`."""
        if entries % BLOCK_ROWS:
            raise ValueError(f"entries must be a multiple of {BLOCK_ROWS}, got {entries}")
        with ThreadPoolExecutor(threads) as pool:
            ahead = deque(
                pool.submit(self.block, number)
                for number in range(min(threads, entries // BLOCK_ROWS))
            )
            for number in range(threads, entries // BLOCK_ROWS + threads):
                block = ahead.popleft().result()
                if number < entries // BLOCK_ROWS:
                    ahead.append(pool.submit(self.block, number))
                yield block
                del block

    def block(self, number: int) -> Block:
        """Block `number`: persons 10 x number to 10 x number + 9."""
        rng = self._rng(_FRAMES, number)
        people = range(number * PERSONS_PER_BLOCK, (number + 1) * PERSONS_PER_BLOCK)
        tracklets = [self._person(person)[1] for person in people]
        centres = self._centres(number)
        places = rng.permutation(BLOCK_ROWS).reshape(PERSONS_PER_BLOCK, -1)
        vectors = np.empty((BLOCK_ROWS, self.population.dim), np.float32)
        cameras = np.empty(BLOCK_ROWS, np.int64)
        infrared = np.empty(BLOCK_ROWS, np.bool_)
        persons = np.empty(BLOCK_ROWS, np.int64)
        for person, own, passes, spots in zip(people, centres, tracklets, places, strict=True):
            which = np.repeat(np.arange(len(passes)), [each.length for each in passes])
            cameras[spots] = np.array([each.camera for each in passes])[which]
            infrared[spots] = np.array([each.infrared for each in passes])[which]
            persons[spots] = person
            for modality in (False, True):
                rows = infrared[spots] == modality
                frames = self._frames(own[which[rows]], self.population.side(modality), rng)
                vectors[spots[rows]] = frames
        sites = rng.integers(SITES, size=BLOCK_ROWS)
        first = number * BLOCK_ROWS
        return Block(first, vectors, persons, cameras, infrared, sites)

    def new_passes(
        self, person: int, number: int, *, infrared: bool, count: int = 1
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Crops (count, D) of a person from tracklets of their own, and the cameras (count,).

        No gallery has these tracklets; another `number` gives others.
        """
        rng = self._rng(_QUERY, person, number)
        side = self.population.side(infrared)
        cameras = rng.choice(list(side.cameras), size=count)
        tracklets = [self._draw_tracklet(camera, infrared, 1, rng) for camera in cameras.tolist()]
        centres = self._tracklet_centres(self._person(person)[0], tracklets)
        return self._frames(centres, side, rng), cameras

    def new_frames(self, person: int, number: int, *, count: int = 1) -> Floats:
        """Further frames (count, D) of a tracklet that the gallery has: the person's first."""
        rng = self._rng(_QUERY, person, number)
        coefficients, tracklets = self._person(person)
        centres = self._tracklet_centres(coefficients, tracklets[:1]).repeat(count, axis=0)
        return self._frames(centres, self.population.side(tracklets[0].infrared), rng)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *key])

    def _person(self, person: int) -> tuple[Floats, list[_Tracklet]]:
        """Who somebody is (K,), and their tracklets."""
        rng = self._rng(_PERSON, person)
        scores = self.population.scores
        weights = rng.standard_normal(ANCHORS, dtype=np.float32)
        anchors = rng.choice(len(scores), size=ANCHORS, replace=False)
        coefficients = weights / np.linalg.norm(weights) @ scores[anchors]
        if person % PERSONS_PER_BLOCK == 0:
            seen = [(bool(person // PERSONS_PER_BLOCK % 2), CROPS_PER_PERSON)]
        else:
            modalities = rng.permutation([False, False, True, True]).tolist()
            seen = list(zip(modalities, TRACKLET_LENGTHS, strict=True))
        cameras = {
            infrared: rng.permutation(list(self.population.side(infrared).cameras)).tolist()
            for infrared in (False, True)
        }
        return coefficients, [
            self._draw_tracklet(cameras[infrared].pop(), infrared, length, rng)
            for infrared, length in seen
        ]

    def _draw_tracklet(
        self, camera: int, infrared: bool, length: int, rng: np.random.Generator
    ) -> _Tracklet:
        spread = self.population.side(infrared).tracklets
        coefficients = rng.standard_normal(len(spread.variances), dtype=np.float32)
        size = np.sqrt(np.square(coefficients) @ spread.variances / spread.variances.sum())
        coefficients *= rng.choice(spread.lengths) / size
        return _Tracklet(camera, infrared, length, coefficients, int(rng.integers(NOISE)))

    def _centres(self, number: int) -> list[Floats]:
        """The tracklets' centres (T, D) of every person of a block."""
        people = range(number * PERSONS_PER_BLOCK, (number + 1) * PERSONS_PER_BLOCK)
        return [self._tracklet_centres(*self._person(person)) for person in people]

    def _tracklet_centres(self, person: Floats, tracklets: list[_Tracklet]) -> Floats:
        centres = np.empty((len(tracklets), self.population.dim), np.float32)
        for infrared in (False, True):
            side = self.population.side(infrared)
            rows = [row for row, each in enumerate(tracklets) if each.infrared == infrared]
            if not rows:
                continue
            chosen = [tracklets[row] for row in rows]
            spread = np.stack([each.coefficients for each in chosen]) @ side.tracklets.directions
            rest = self._noise[[each.noise for each in chosen]] * side.tracklets.rest
            cameras = np.stack([side.cameras[each.camera] for each in chosen])
            centres[rows] = side.mean + cameras + person @ side.persons + spread + rest
        return centres

    def _frames(self, centres: Floats, side: ModalitySide, rng: np.random.Generator) -> Floats:
        """One frame around each centre (n, D), of length 1 and rounded to fp16."""
        count = len(side.frames.directions)
        coefficients = rng.standard_normal((len(centres), count), dtype=np.float32)
        frames = self._noise[rng.integers(NOISE, size=len(centres))]
        frames *= side.frames.rest
        frames += coefficients @ side.frames.directions
        frames += centres
        frames /= np.sqrt(np.einsum("ij,ij->i", frames, frames))[:, None]
        return rounded_to_half(frames)


def rounded_to_half(values: Floats) -> Floats:
    """Round float32 to the nearest numbers of fp16, in place; ties to even, as a cast does.

    Three times as fast as casting to fp16 and back. Below fp16's normal range (6.1e-5) more of
    a number is kept than fp16 would: 3e-8 at most.
    """
    bits = values.view(np.uint32)
    bits += ((bits >> np.uint32(13)) & np.uint32(1)) + np.uint32(0x0FFF)
    bits &= np.uint32(0xFFFFE000)
    return values
