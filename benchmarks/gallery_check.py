"""Does the extended set look like the real one? Spectrum, similarities and rank-1 of both.

python -m benchmarks.gallery_check --embeddings embeddings.npz
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.gallery_data import BLOCK_ROWS, Crowd
from benchmarks.gallery_people import Embedded, read_embedded
from benchmarks.gallery_population import Floats, fit_population

KEPT = (1, 8, 32, 64, 128, 256, 512)
SPECTRUM_ROWS = 2400
CHECK_SEED = 7


@dataclass(frozen=True)
class Likeness:
    """Figures of one set, by name; two sets have the same names."""

    figures: dict[str, float]


def likeness(crops: Embedded) -> Likeness:
    """Measure a set: shares of the variance, similarities and rank-1 across cameras."""
    single = crops.rows(crops.tracklets < 0)
    figures = spectrum(single.embeddings[:: max(1, len(single.embeddings) // SPECTRUM_ROWS)])
    visible, infrared = single.rows(~single.infrared), single.rows(single.infrared)
    pairs = {
        "visible-visible": (visible, visible),
        "infrared-infrared": (infrared, infrared),
        "infrared-visible": (infrared, visible),
    }
    for name, (queries, gallery) in pairs.items():
        figures |= {f"{name}, {what}": value for what, value in match(queries, gallery).items()}
    return Likeness(figures | neighbours(crops.rows(crops.tracklets >= 0)))


def spectrum(embeddings: Floats) -> dict[str, float]:
    """Percent of the variance within the leading directions."""
    centred = embeddings - embeddings.mean(axis=0)
    values = np.linalg.eigvalsh(centred @ centred.T)[::-1]
    kept = 100 * np.cumsum(values) / values.sum()
    return {f"variance in {count} directions, %": float(kept[count - 1]) for count in KEPT}


def match(queries: Embedded, gallery: Embedded) -> dict[str, float]:
    """Similarities of pairs across cameras, and how often the best is the same person, percent."""
    similarities = queries.embeddings @ gallery.embeddings.T
    same = queries.persons[:, None] == gallery.persons
    apart = queries.cameras[:, None] != gallery.cameras
    genuine, impostor = similarities[same & apart], similarities[~same & apart]
    best = np.where(apart, similarities, -2).argmax(axis=1)
    return {
        "genuine, mean": float(genuine.mean()),
        "genuine, deviation": float(genuine.std()),
        "impostor, mean": float(impostor.mean()),
        "impostor, deviation": float(impostor.std()),
        "impostor, highest of 10,000": float(np.quantile(impostor, 0.9999)),
        "rank-1, %": float(100 * same[np.arange(len(best)), best].mean()),
    }


def neighbours(frames: Embedded) -> dict[str, float]:
    """Similarities of neighbouring frames."""
    found: list[NDArray[np.float32]] = []
    for tracklet in np.unique(frames.tracklets):
        rows = frames.embeddings[frames.tracklets == tracklet]
        found.append((rows @ rows.T)[np.triu_indices(len(rows), 1)])
    values = np.concatenate(found)
    return {
        "neighbouring frames, mean": float(values.mean()),
        "neighbouring frames, deviation": float(values.std()),
    }


def drawn_like(crowd: Crowd, real: Embedded) -> Embedded:
    """As many new people, crops and neighbouring frames as the real set has."""
    people = np.unique(real.persons).tolist()
    single = real.rows(real.tracklets < 0)
    parts = []
    for person in people:
        for infrared in (False, True):
            count = int(((single.persons == person) & (single.infrared == infrared)).sum())
            vectors, cameras = crowd.new_passes(
                person, int(infrared), infrared=infrared, count=count
            )
            parts.append(_crops(vectors, person, cameras, infrared, -1))
        frames = crowd.new_frames(person, 2, count=4)
        parts.append(_crops(frames, person, np.zeros(4, np.int64), False, person))
    return Embedded(
        np.concatenate([part.embeddings for part in parts]),
        np.concatenate([part.persons for part in parts]),
        np.concatenate([part.cameras for part in parts]),
        np.concatenate([part.infrared for part in parts]),
        np.concatenate([part.tracklets for part in parts]),
    )


def _crops(
    vectors: Floats, person: int, cameras: NDArray[np.int64], infrared: bool, tracklet: int
) -> Embedded:
    count = len(vectors)
    return Embedded(
        vectors,
        np.full(count, person),
        cameras,
        np.full(count, infrared),
        np.full(count, tracklet),
    )


def table(real: Likeness, drawn: Likeness) -> str:
    """Both sets side by side as Markdown."""
    lines = ["| what | real | extended |", "|---|---:|---:|"]
    for name, value in real.figures.items():
        digits = 1 if name.endswith("%") else 3
        lines.append(f"| {name} | {value:.{digits}f} | {drawn.figures[name]:.{digits}f} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, draw as many people as there are, compare, and time the drawing."""
    parser = argparse.ArgumentParser(description="The extended set beside the real one.")
    parser.add_argument("--embeddings", type=Path, required=True, metavar="FILE")
    parser.add_argument("--timed-rows", type=int, default=10 * BLOCK_ROWS)
    args = parser.parse_args(argv)
    real = read_embedded(args.embeddings)
    population = fit_population(real)
    crowd = Crowd(population, CHECK_SEED)
    print(table(likeness(real), likeness(drawn_like(crowd, real))))
    start = time.perf_counter()
    rows = sum(len(block) for block in crowd.blocks(args.timed_rows))
    print(f"\n{rows / (time.perf_counter() - start):,.0f} rows of {population.dim} a second")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
