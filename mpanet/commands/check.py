"""`mpanet check`: look a dataset over before training or evaluating on it."""

import argparse
import json

from mpanet.errors import reported
from mpanet.options import add_dataset

SHOWN = 20
"""Places of one fault, at most, in the report for a person; `--json` has them all."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet check`."""
    add_dataset(parser)
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="also whether this recipe's batches can be filled; a bundled recipe or a .toml file",
    )
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")


def run(args: argparse.Namespace) -> int:
    """Run `mpanet check`. Exit code 0: a training can start; 1: something stops it."""
    from training.datasets.checks import check_names
    from training.datasets.pixels import unreadable_images
    from training.datasets.readers import survey_dataset
    from training.errors import TrainingError
    from training.recipe import load_recipe

    with reported(TrainingError):
        config = None if args.recipe is None else load_recipe(args.recipe)
        dataset = survey_dataset(args.dataset, args.data, split=args.split)
    report = check_names(dataset, config)
    samples = [*dataset.train, *dataset.validation, *dataset.test]
    report = report.with_errors(unreadable_images(samples, progress="images"))
    if args.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        print("\n".join(report.lines(SHOWN)))
        print("sound" if report.is_sound else f"{len(report.errors)} kinds of error")
    return 0 if report.is_sound else 1
