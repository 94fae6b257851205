"""Re-ranking around one query, against re-ranking of the whole gallery for that query.

Renders people, embeds them with a model, and lets every infrared image search all visible ones:
plain, with the nearest entries re-ranked (`gallery_index.query_reranking`) for several numbers of
them, and with the whole gallery re-ranked, each query alone. `in 128 dims`: what the entries are to
one another is worked out in the gallery's first 128 principal directions, as an index may do it
from its codes; similarities to the query stay exact. `time` is of the re-ranking of one query,
median, on one thread; the last rows give it for vectors of the published network's size.

    OMP_NUM_THREADS=1 python -m benchmarks.query_reranking --persons 100 --seed 101
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

import mpanet
from benchmarks.protocols import processor
from gallery_index.query_reranking import CANDIDATES, order_around
from model.config import Modality
from model.encoder import Encoder
from training.artifact_embedding import embed_samples
from training.datasets.sysu_mm01 import read_sysu_mm01
from training.metrics import figures, score_queries
from training.synthetic.write import synthesize

BUNDLED = Path(mpanet.__file__).parent / "demo_model"
PUBLISHED_DIM, CODE_DIM = 14_336, 128
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class People:
    """Embeddings and persons of the queries and of the gallery."""

    query: Matrix
    query_ids: NDArray[np.int64]
    gallery: Matrix
    gallery_ids: NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """One way to rank: figures in percent, milliseconds of re-ranking one query."""

    what: str
    mAP: float
    rank1: float
    time_ms: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    args = parse(argv)
    people = rendered(args.persons, args.seed, args.model)
    rows = [ranked("plain", people, people.gallery, 0)]
    rows += [ranked(f"{count} nearest", people, people.gallery, count) for count in args.candidates]
    codes = people.gallery @ principal_directions(people.gallery, CODE_DIM)
    rows.append(ranked(f"{CANDIDATES} nearest, in {CODE_DIM} dims", people, codes, CANDIDATES))
    rows.append(ranked("whole gallery", people, people.gallery, len(people.gallery)))
    print(f"{len(people.query)} queries, {len(people.gallery)} entries, {processor()}")
    for row in rows:
        print(f"{row.what:28} mAP {row.mAP:5.1f}  rank-1 {row.rank1:5.1f}  {row.time_ms:6.1f} ms")
    costs = {dim: cost_ms(dim) for dim in (CODE_DIM, people.gallery.shape[1], PUBLISHED_DIM)}
    for dim, spent_ms in costs.items():
        print(f"{CANDIDATES} entries of {dim:6} dims {spent_ms:6.1f} ms")
    if args.json is not None:
        report = {"rows": [asdict(row) for row in rows], "cost_ms": costs, "machine": processor()}
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description="Re-ranking around one query.")
    parser.add_argument("--model", type=Path, default=BUNDLED, metavar="DIR")
    parser.add_argument("--persons", type=int, default=100)
    parser.add_argument("--seed", type=int, default=101)
    counts = [20, 50, 100, 200, 300, CANDIDATES, 600]
    parser.add_argument("--candidates", type=int, nargs="+", default=counts)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def rendered(persons: int, seed: int, model: Path) -> People:
    """Render people whom no model has seen and embed them."""
    with tempfile.TemporaryDirectory() as folder, Encoder.open(model) as encoder:
        root = Path(folder) / "people"
        synthesize(root, layout="sysu-mm01", persons=persons, seed=seed, test_persons=persons)
        samples = read_sysu_mm01(root).test
        embeddings = embed_samples(encoder, samples, progress=True)
    persons_of = np.array([sample.person_id for sample in samples], dtype=np.int64)
    infrared = np.array([sample.modality is Modality.INFRARED for sample in samples])
    return People(
        embeddings[infrared], persons_of[infrared], embeddings[~infrared], persons_of[~infrared]
    )


def ranked(what: str, people: People, vectors: Matrix, count: int) -> Row:
    """Rank the gallery for every query, the `count` nearest entries anew."""
    places = np.empty((len(people.query), len(people.gallery)), dtype=np.float32)
    spent_s = []
    for row, query in enumerate(people.query):
        similarities = people.gallery @ query
        order = np.argsort(-similarities, kind="stable")
        started = time.perf_counter()
        nearest = order[:count]
        order[:count] = nearest[order_around(similarities[nearest], vectors[nearest])]
        spent_s.append(time.perf_counter() - started)
        places[row, order] = -np.arange(len(order))
    scored = figures(score_queries(places, people.query_ids, people.gallery_ids))
    return Row(what, scored.mAP, scored.rank1, 1000 * median(spent_s) if count else 0.0)


def principal_directions(vectors: Matrix, count: int) -> Matrix:
    """(D, count): uncentred, the first last."""
    _, directions = np.linalg.eigh(vectors.T @ vectors)
    return np.ascontiguousarray(directions[:, -count:])


def cost_ms(dim: int) -> float:
    """Median time of re-ranking CANDIDATES made-up fp16 vectors."""
    rng = np.random.default_rng(1)
    points = rng.standard_normal((CANDIDATES + 1, dim), dtype=np.float32) + 1
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    similarities, vectors = points[1:] @ points[0], points[1:].astype(np.float16)
    spent_s = []
    for _ in range(9):
        started = time.perf_counter()
        order_around(similarities, vectors)
        spent_s.append(time.perf_counter() - started)
    return 1000 * median(spent_s)


if __name__ == "__main__":
    raise SystemExit(main())
