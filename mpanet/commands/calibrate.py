"""`mpanet calibrate`: what a similarity by a model says, found out by labelled crops."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mpanet.commands.serve import DEMO_MODEL, demo_model_directory
from mpanet.errors import CommandError, reported
from mpanet.options import DATASETS, SPLITS, refuse_options_of_others

if TYPE_CHECKING:
    from model.artifact import ModelArtifact
    from model.calibration import Calibration, PairCalibration

SOURCES = ("pairs", "dataset", "gallery", "embeddings")
OPTIONS_OF = {
    "data": ("--dataset",),
    "split": ("--dataset",),
    "redis_url": ("--gallery",),
    "provider": ("--dataset", "--pairs"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet calibrate`."""
    parser.add_argument(
        "--model",
        required=True,
        type=Path,
        metavar="DIR",
        help="a model directory; its manifest gets the calibration",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--pairs",
        type=Path,
        metavar="FILE",
        help="a CSV with the columns path_a, modality_a, path_b, modality_b, same;"
        " perhaps person_a, person_b",
    )
    source.add_argument("--dataset", choices=DATASETS, help="its test split; with --data")
    source.add_argument(
        "--gallery",
        type=Path,
        metavar="DIR",
        help="a gallery's own person ids; it may be served meanwhile",
    )
    source.add_argument(
        "--embeddings",
        type=Path,
        metavar="FILE",
        help="an .npz file with {visible,infrared}_{embeddings,person_ids}; perhaps _camera_ids",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of --dataset")
    parser.add_argument(
        "--split", type=int, choices=SPLITS, metavar="1..10", help="of RegDB (default: 1)"
    )
    parser.add_argument(
        "--redis-url",
        help="where the records of --gallery are, if in Redis (or MPANET_REDIS_URL)",
    )
    parser.add_argument("--provider", help="execution provider (default: auto)")
    parser.add_argument("--json", action="store_true", help="print the calibration as JSON")


def run(args: argparse.Namespace) -> int:
    """Run `mpanet calibrate`. Returns 0 once the manifest has the calibration."""
    from gallery_index.errors import GalleryError
    from model.artifact import ModelArtifact, with_calibration
    from model.errors import ModelError
    from training.errors import TrainingError

    _check(args)
    model = demo_model_directory() if args.model == Path(DEMO_MODEL) else args.model
    with reported(ModelError, TrainingError, GalleryError):
        artifact = ModelArtifact.load(model)
        calibration = _calibrated(args, artifact)
        try:
            with_calibration(model, calibration.to_manifest())
        except OSError as error:
            raise CommandError(f"--model: {model}: cannot be written: {error.strerror}") from None
    _print(args, artifact.model_id, calibration)
    return 0


def _check(args: argparse.Namespace) -> None:
    [chosen] = [f"--{name}" for name in SOURCES if getattr(args, name) is not None]
    refuse_options_of_others(args, OPTIONS_OF, chosen)
    if args.dataset is not None and args.data is None:
        raise CommandError("--data is missing: the folder of --dataset")
    if args.split is not None and args.dataset != "regdb":
        raise CommandError(f"--split is an option of regdb, not of {args.dataset}")
    if args.gallery is not None and not args.gallery.is_dir():
        raise CommandError(f"--gallery: {args.gallery} is not a directory")


def _calibrated(args: argparse.Namespace, artifact: "ModelArtifact") -> "Calibration":
    from model.encoder import Encoder
    from mpanet.labelled import by_dataset, by_embeddings, by_gallery, by_pairs

    if args.gallery is not None:
        redis_url = args.redis_url or os.environ.get("MPANET_REDIS_URL") or None
        return by_gallery(artifact, args.gallery, redis_url)
    if args.embeddings is not None:
        return by_embeddings(artifact, args.embeddings)
    with Encoder.open(artifact, provider=args.provider or "auto") as encoder:
        if args.pairs is not None:
            return by_pairs(encoder, args.pairs)
        return by_dataset(encoder, args.dataset, args.data, args.split or 1)


def _print(args: argparse.Namespace, model_id: str, calibration: "Calibration") -> None:
    if args.json:
        print(json.dumps({"model_id": model_id, "calibration": calibration.to_manifest()}))
        return
    print(f"model {model_id} is calibrated")
    for pair, of_pair in calibration.kinds.items():
        print(*_lines(pair, of_pair), sep="\n")
    for pair, why in calibration.absent.items():
        print(f"{pair}: not calibrated: {why}")


def _lines(pair: str, of_pair: "PairCalibration") -> list[str]:
    persons = "" if of_pair.persons is None else f" of {of_pair.persons:,} persons"
    lines = [
        f"{pair}: {of_pair.genuine.total:,} genuine and {of_pair.impostor.total:,} impostor"
        f" pairs{persons}"
    ]
    for at in of_pair.thresholds:
        low, high = at.interval
        lines.append(
            f"  false-accept rate {at.rate:g}: similarity {at.similarity:.4f}; among other people"
            f" {low:.2g} to {high:.2g}; {at.true_accept_rate:.1%} of genuine pairs pass"
        )
    for refused in of_pair.unsupported:
        needed = of_pair.persons_needed(refused.rate)
        of_persons = "" if needed is None else f" of at least {needed:,} persons"
        lines.append(
            f"  false-accept rate {refused.rate:g}: not promised; it takes at least"
            f" {refused.pairs_needed:,} impostor pairs{of_persons}"
        )
    return lines
