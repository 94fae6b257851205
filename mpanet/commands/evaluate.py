"""`mpanet evaluate`: score a model on a dataset's published protocol."""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mpanet.errors import CommandError, reported

if TYPE_CHECKING:
    from training.baselines import Embed
    from training.evaluation import EvaluationRow


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet evaluate`."""
    parser.add_argument("--model", required=True, type=Path, metavar="DIR", help="model artifact")
    parser.add_argument("--dataset", required=True, choices=["sysu-mm01", "regdb"])
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="its folder")
    parser.add_argument("--search", choices=["all", "indoor"], default="all", help="of SYSU-MM01")
    parser.add_argument("--shots", type=int, choices=[1, 10], default=1, help="of SYSU-MM01")
    parser.add_argument(
        "--trials", type=int, choices=range(1, 11), default=10, metavar="1..10", help="of SYSU-MM01"
    )
    parser.add_argument(
        "--split", type=int, default=1, choices=range(1, 11), metavar="1..10", help="of RegDB"
    )
    parser.add_argument(
        "--baselines", action="store_true", help="also chance, raw pixels and grey histograms"
    )
    parser.add_argument("--provider", default="auto", help="execution provider (default: auto)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")


def run(args: argparse.Namespace) -> int:
    """Run `mpanet evaluate`."""
    from model.encoder import Encoder
    from model.errors import ModelError
    from training.artifact_embedding import embed_samples
    from training.baselines import BASELINES
    from training.errors import TrainingError
    from training.evaluation import table

    with (
        reported(ModelError, TrainingError),
        Encoder.open(args.model, provider=args.provider) as encoder,
    ):
        methods: dict[str, Embed] = {"model": partial(embed_samples, encoder, progress=True)}
        if args.baselines:
            methods |= BASELINES
        rows = _evaluate(args, methods)
        print(f"model {encoder.model_id} on {encoder.provider} ({encoder.precision})")
        print(table(rows))
        if args.json is not None:
            _write(args, encoder.model_id, rows)
    return 0


def _evaluate(args: argparse.Namespace, methods: "dict[str, Embed]") -> "list[EvaluationRow]":
    from training.datasets.readers import read_dataset
    from training.evaluation import contests, evaluate

    dataset = read_dataset(args.dataset, args.data, split=args.split)
    entries = contests(dataset, search=args.search, shots=args.shots, trials=args.trials)
    rows: list[EvaluationRow] = []
    for name, embed in methods.items():
        embeddings = embed(dataset.test)
        rows += [row for entry in entries for row in evaluate(entry, embeddings, name)]
    return rows


def _write(args: argparse.Namespace, model_id: str, rows: "Sequence[EvaluationRow]") -> None:
    report = {
        "dataset": args.dataset,
        "data": str(args.data),
        "model_id": model_id,
        "results": [row.as_json() for row in rows],
    }
    try:
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{args.json}: cannot be written: {error}") from error
