"""What becomes of calibrated scores away from what was calibrated: several crops, another light.

Renders people, calibrates a model by some of them, and asks what others show: of queries of several
crops, judged by the similarity to their direction and by the mean of the similarities; of queries
and entries that are blurred or dark, what the drift signal says of them; and of the best matches of
queries, how probable they were said to be and how many are right.

    OMP_NUM_THREADS=1 python -m benchmarks.calibrated_scores
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

import mpanet
from benchmarks.protocols import processor
from model.calibrating import calibrate
from model.calibration import Calibration, PairKind, pair_kind
from model.encoder import Encoder
from service.observing.score_drift import DRAWN, distance
from service.scores import SeenPerson, prior_among
from training.synthetic.samples import render_people

BUNDLED: Final = Path(mpanet.__file__).parent / "demo_model"
CAMERAS: Final = (1, 2, 3, 4, 5, 6)
RATE: Final = 1e-3
QUERIES: Final = 500
MODALITIES: Final = ("visible", "infrared")
CONDITIONS: Final = ("plain", "blurred", "dark")
SEEN: Final = (
    ("plain", "plain"),
    ("blurred", "plain"),
    ("dark", "plain"),
    ("blurred", "blurred"),
    ("dark", "dark"),
)
"""Conditions of the queries and of the entries."""
Matrix = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class People:
    """Embeddings (N, D) of crops by condition, and whose, from where and of what kind they are."""

    embeddings: dict[str, Matrix]
    persons: NDArray[np.int64]
    cameras: NDArray[np.int64]
    modalities: NDArray[np.str_]

    def rows(self, modality: str) -> NDArray[np.intp]:
        """Return the crops of a modality."""
        return np.flatnonzero(self.modalities == modality)


@dataclass(frozen=True)
class Judged:
    """What passes the threshold of RATE: the share of impostors, of genuine pairs."""

    queries: str
    entries: str
    crops: int
    by: str
    false_accepts: float
    true_accepts: float | None


@dataclass(frozen=True)
class Drifted:
    """What the drift signal says, least and most of some windows; what passes; who is known."""

    pair: PairKind
    queries: str
    entries: str
    drift: tuple[float, float]
    false_accepts: float
    known: float


@dataclass(frozen=True)
class Best:
    """Of the first matches of queries: the mean of their probabilities, the share that is right."""

    queries: str
    entries: str
    enrolled: float
    first: int
    said: float
    right: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--persons", type=int, default=300, help="calibrated by, half as many seen")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    with Encoder.open(args.model, threads=1) as encoder:
        known = render(encoder, args.persons, args.seed, ("plain",))
        others = render(encoder, args.persons // 2, args.seed + 1, CONDITIONS)
    calibration = calibrate(
        known.embeddings["plain"],
        known.persons.astype(str).tolist(),
        known.modalities.tolist(),
        known.cameras.astype(str).tolist(),
    )
    draw = np.random.default_rng(args.seed)
    judged = [
        row
        for crops, (of, among) in product((1, 2, 4), product(MODALITIES, MODALITIES))
        for row in several_crops(calibration, others, crops, of, among, draw)
    ]
    drifted = [row for each in SEEN for row in drifts(calibration, others, *each, draw)]
    best = [
        row
        for enrolled, first in product((1.0, 0.5), (1, 10))
        for of, among in (("infrared", "visible"), ("visible", "visible"))
        for row in [best_matches(calibration, others, of, among, enrolled, first)]
    ]
    print(f"{processor()}\n")
    figures = {
        "several crops": [asdict(row) for row in judged],
        "drift": [asdict(row) for row in drifted],
        "best matches": [asdict(row) for row in best],
    }
    print(*map(table, figures.values()), sep="\n")
    if args.out:
        args.out.write_text(json.dumps(figures))
    return 0


def render(encoder: Encoder, persons: int, seed: int, conditions: Sequence[str]) -> People:
    """Render three crops a person and camera, and embed them under each condition."""
    samples = list(render_people(persons, seed, CAMERAS, images_per_camera=3))
    return People(
        {
            condition: np.concatenate(
                list(embedded(encoder, [changed(s.image, condition) for s in samples]))
            )
            for condition in conditions
        },
        np.array([int(sample.person_id) for sample in samples]),
        np.array([sample.camera_number for sample in samples]),
        np.array([str(sample.modality) for sample in samples]),
    )


def changed(pixels: NDArray[np.uint8], condition: str) -> Image.Image:
    """Return an image blurred over two pixels, at a third of its brightness, or as it is."""
    image = Image.fromarray(pixels)
    if condition == "blurred":
        return image.filter(ImageFilter.GaussianBlur(2))
    if condition == "dark":
        return ImageEnhance.Brightness(image).enhance(1 / 3)
    return image


def embedded(encoder: Encoder, images: Sequence[Image.Image], batch: int = 32) -> Iterator[Matrix]:
    """Yield the embeddings of images, a batch at a time."""
    for start in range(0, len(images), batch):
        prepared = [encoder.prepare(image) for image in images[start : start + batch]]
        yield encoder.encode(np.stack(prepared)).embedding


def several_crops(
    calibration: Calibration,
    people: People,
    crops: int,
    of: str,
    among: str,
    draw: np.random.Generator,
) -> Iterator[Judged]:
    """Ask with so many crops of each person; entries by the cameras of the crops are left out."""
    embeddings, entries = people.embeddings["plain"], people.rows(among)
    values, means, genuine, impostor = [], [], [], []
    for person in np.unique(people.persons):
        mine = people.rows(of)
        mine = mine[people.persons[mine] == person]
        chosen = draw.choice(mine, crops, replace=False)
        seen = SeenPerson.of(of, list(embeddings[chosen]))
        similarity = embeddings[entries] @ seen.direction
        same = people.persons[entries] == person
        values.append(similarity)
        means.append(similarity * seen.length)
        genuine.append(same & ~np.isin(people.cameras[entries], people.cameras[chosen]))
        impostor.append(~same)
    least = calibration.threshold(pair_kind(of, among), RATE)
    for by, scores in (("the direction", values), ("the mean", means)):
        passing = np.stack(scores) >= least
        false, true = passing[np.stack(impostor)], passing[np.stack(genuine)]
        accepted = float(true.mean()) if len(true) else None  # the crops are of every camera
        yield Judged(of, among, crops, by, float(false.mean()), accepted)


def drifts(
    calibration: Calibration,
    people: People,
    of_queries: str,
    of_entries: str,
    draw: np.random.Generator,
    windows: int = 4,
) -> Iterator[Drifted]:
    """Let queries be looked at, some windows of QUERIES, and ask what passes."""
    for of, among in (("visible", "visible"), ("infrared", "visible"), ("infrared", "infrared")):
        pair = pair_kind(of, among)
        rows, entries = people.rows(of), people.rows(among)
        scores = people.embeddings[of_queries][rows] @ people.embeddings[of_entries][entries].T
        told = []
        for _ in range(windows):
            queries = draw.integers(len(rows), size=(QUERIES, 1))
            random = draw.integers(len(entries), size=(QUERIES, DRAWN))
            looked = scores[queries, random].ravel().astype(np.float64)
            told.append(distance(looked, calibration.kinds[pair]))
        same = people.persons[rows][:, None] == people.persons[entries][None]
        camera = people.cameras[rows][:, None] == people.cameras[entries][None]
        passing = scores >= calibration.threshold(pair, RATE)
        known = float((passing & ~(same & camera)).any(axis=1).mean())
        accepts = float(passing[~same].mean())
        yield Drifted(pair, of_queries, of_entries, (min(told), max(told)), accepts, known)


def best_matches(
    calibration: Calibration, people: People, of: str, among: str, enrolled: float, first: int
) -> Best:
    """Search with every crop for the entries of some of the persons, by other cameras than its."""
    persons = np.unique(people.persons)
    known = persons[: round(enrolled * len(persons))]
    rows, entries = people.rows(of), people.rows(among)
    entries = entries[np.isin(people.persons[entries], known)]
    scores = people.embeddings["plain"][rows] @ people.embeddings["plain"][entries].T
    same = people.persons[rows][:, None] == people.persons[entries][None]
    scores[same & (people.cameras[rows][:, None] == people.cameras[entries][None])] = -1
    places = np.argsort(-scores, axis=1)[:, :first]
    pair, prior = pair_kind(of, among), prior_among(len(known))
    said = [
        calibration.probability(pair, score, prior=prior) or 0.0
        for score in np.take_along_axis(scores, places, axis=1).ravel().tolist()
    ]
    right = float(np.take_along_axis(same, places, axis=1).mean())
    return Best(of, among, enrolled, first, float(np.mean(said)), right)


def table(rows: Sequence[dict[str, object]]) -> str:
    """Return rows as Markdown."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([cell(v) for v in r.values()] for r in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(value: object) -> str:
    """Return a value as it is shown."""
    if isinstance(value, tuple):
        return " to ".join(cell(part) for part in value)
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
