"""The bundled demonstration model on rendered people it has never seen.

Renders people of other seeds, ranks them infrared to visible by the SYSU-MM01 protocol
(single-shot, all search), and prints the model beside chance, raw pixels and grey histograms.

    python benchmarks/demo_model.py --seeds 101 102 103 --json demo_model.json
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

from tqdm import tqdm

import mpanet
from model.encoder import Encoder
from training.artifact_embedding import embed_samples
from training.baselines import BASELINES, Embed
from training.comparison import figure_blocks, text_table
from training.datasets.sysu_mm01 import read_sysu_mm01
from training.evaluation import EvaluationRow, contests, evaluate
from training.synthetic.write import synthesize

BUNDLED = Path(mpanet.__file__).parent / "demo_model"


def main() -> None:
    args = parse_arguments()
    with Encoder.open(args.model) as encoder:
        methods: dict[str, Embed] = {"model": partial(embed_samples, encoder), **BASELINES}
        results = {seed: measure(seed, args.persons, methods) for seed in args.seeds}
        report = {
            "model_id": encoder.model_id,
            "provider": encoder.provider,
            "precision": encoder.precision,
            "persons": args.persons,
            "seeds": {str(seed): [row.as_json() for row in rows] for seed, rows in results.items()},
        }
    for seed, rows in results.items():
        table = text_table(figure_blocks(rows, with_published=False))
        print(f"\n{args.persons} unseen people, seed {seed}\n{table}")
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def measure(seed: int, persons: int, methods: dict[str, Embed]) -> list[EvaluationRow]:
    """Render people of a seed, all of them for testing, and score every method on them."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "people"
        with tqdm(total=persons, desc=f"rendering seed {seed}", unit="person") as bar:

            def advance(done: int, _: int) -> None:
                bar.update(done - bar.n)

            synthesize(
                root,
                layout="sysu-mm01",
                persons=persons,
                seed=seed,
                test_persons=persons,
                progress=advance,
            )
        dataset = read_sysu_mm01(root)
        (contest,) = contests(dataset)
        return [
            row
            for name, embed in methods.items()
            for row in evaluate(contest, embed(dataset.test), name)
        ]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=BUNDLED, metavar="DIR")
    parser.add_argument("--persons", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
