"""`mpanet export`: turn a checkpoint into a model artifact, its embedding shortened if asked."""

import argparse
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mpanet.errors import CommandError, reported
from mpanet.options import DATASETS, add_split

if TYPE_CHECKING:
    from model.artifact import ModelFigures
    from model.config import MPANetConfig
    from model.network.checkpoint import LoadedNetwork
    from training.datasets.sample import Sample
    from training.projection import Projection

FIGURES = ("rank1", "rank5", "rank10", "rank20", "mAP")


def image_size(text: str) -> tuple[int, int]:
    """Parse `HEIGHTxWIDTH`, such as 384x128."""
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 384x128, got {text!r}")
    return int(match[1]), int(match[2])


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet export`."""
    parser.add_argument(
        "--weights",
        type=Path,
        required=True,
        metavar="FILE",
        help="a checkpoint of ours, or a published MPANet .pth state dict",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the model directory to create"
    )
    parser.add_argument(
        "--image-size",
        type=image_size,
        metavar="HxW",
        help="height x width of the input (default: the checkpoint's; published ones: 384x128)",
    )
    parser.add_argument(
        "--weights-precision",
        choices=("fp32", "fp16"),
        default="fp32",
        help="how weights are stored; the graph computes in fp32 either way (default: fp32)",
    )
    parser.add_argument(
        "--metrics",
        type=Path,
        metavar="FILE",
        help="what `mpanet evaluate --json FILE` wrote of this very model, exported before; its"
        " figures go into the manifest",
    )
    _configure_projection(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _configure_projection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "projection",
        "shorten the embedding inside the graph, to directions fitted on a training split",
    )
    group.add_argument("--project", type=int, metavar="D", help="length of the embedding")
    group.add_argument(
        "--project-on",
        choices=DATASETS,
        help="layout of the data; its test and held-out validation images are not used",
    )
    group.add_argument("--project-data", type=Path, metavar="DIR", help="its folder")
    add_split(group)
    group.add_argument(
        "--provider", default="auto", help="embeds the training images (default: auto)"
    )


def run(args: argparse.Namespace) -> int:
    """Run `mpanet export`."""
    from model.artifact import ModelSource, refuse_existing
    from model.errors import ModelError
    from training.errors import TrainingError

    with reported(ModelError, TrainingError):
        refuse_existing(args.out)
        samples = _training_samples(args)
    metrics = None if args.metrics is None else read_metrics(args.metrics)
    from model.network.checkpoint import load_network
    from model.network.export import CHECKED_BATCH_SIZES, export_artifact

    with reported(ModelError, TrainingError):
        loaded = load_network(args.weights, args.image_size)
        projection = None if args.project is None else _fit(args, loaded, samples)
        artifact, agreement = export_artifact(
            loaded.network,
            args.out,
            preprocessing=loaded.preprocessing,
            projection=None if projection is None else projection.matrix,
            weights_precision=args.weights_precision,
            metrics=metrics,
            source=ModelSource(
                recipe=loaded.source.get("recipe"), commit=loaded.source.get("commit")
            ),
        )
    result = {
        "model_id": artifact.model_id,
        "directory": str(artifact.directory),
        "checkpoint": loaded.kind,
        "unused_keys": list(loaded.unused),
        **_shape(artifact.config),
        "projection": None if projection is None else _kept(args, projection, len(samples)),
        "weights_precision": args.weights_precision,
        "onnx_bytes": artifact.onnx_path.stat().st_size,
        "checked_batch_sizes": list(CHECKED_BATCH_SIZES),
        "max_difference": {
            "embedding": agreement.embedding,
            "pattern_maps": agreement.pattern_maps,
        },
        "min_cosine": agreement.cosine,
    }
    print(json.dumps(result) if args.json else _report(result))
    return 0


def _training_samples(args: argparse.Namespace) -> "tuple[Sample, ...]":
    """The images that a projection is fitted on; none where none was asked for.

    Raises: CommandError for a part of the options; DatasetError for a dataset that cannot be read.
    """
    given = [args.project, args.project_on, args.project_data]
    if given == [None, None, None]:
        return ()
    if None in given:
        raise CommandError("--project D, --project-on and --project-data DIR go together")
    if args.project < 1:
        raise CommandError(f"--project: expected at least 1 dimension, got {args.project}")
    from training.datasets.readers import read_dataset
    from training.datasets.sample import require

    dataset = read_dataset(args.project_on, args.project_data, split=args.split)
    require(dataset.train, "train", dataset.root)
    return dataset.train


def _fit(
    args: argparse.Namespace, loaded: "LoadedNetwork", samples: "tuple[Sample, ...]"
) -> "Projection":
    """Embed the training images as a service would, through a graph in passing, and fit them."""
    from model.encoder import Encoder
    from model.network.export import export_artifact
    from training.artifact_embedding import embed_samples
    from training.projection import fit_pca

    features, wanted = loaded.network.config.feature_dim, args.project
    if wanted > min(features, len(samples)):
        raise CommandError(
            f"--project: expected at most {min(features, len(samples)):,} dimensions of"
            f" {features:,} features and {len(samples):,} training images, got {wanted:,}"
        )
    with TemporaryDirectory() as directory:
        whole = Path(directory) / "model"
        artifact, _ = export_artifact(loaded.network, whole, preprocessing=loaded.preprocessing)
        with Encoder.open(artifact, provider=args.provider) as encoder:
            return fit_pca(embed_samples(encoder, samples, progress=True), wanted)


def _shape(config: "MPANetConfig") -> dict[str, Any]:
    return {
        "backbone": config.backbone,
        "image_size": list(config.image_size),
        "num_patterns": config.num_patterns,
        "embedding_dim": config.embedding_dim,
    }


def _kept(args: argparse.Namespace, projection: "Projection", images: int) -> dict[str, Any]:
    """What a projection was fitted on, and the share of their squares that it keeps."""
    return {
        "features": len(projection.matrix),
        "dataset": args.project_on,
        "images": images,
        "kept": float(projection.explained_variance_ratio.sum()),
    }


def read_metrics(path: Path) -> "ModelFigures":
    """Read the model's figures, in percent, from what `mpanet evaluate --json` wrote.

    Raises: CommandError for a file that it did not write, or an old one that names no model.
    """
    from model.artifact import ModelFigures

    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        figures = {
            f"{report['dataset']}: {row['protocol']}; {row['sampling']}": {
                name: _percent(row[name]) for name in FIGURES
            }
            for row in report["results"]
            if row["method"] == "model"
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(
            f"{path}: expected what `mpanet evaluate --json` writes, got {error!r}"
        ) from error
    if not isinstance(report.get("model_id"), str):
        raise CommandError(
            f"{path}: names no model that its figures belong to; run `mpanet evaluate --json` again"
        )
    return ModelFigures(report["model_id"], figures)


def _percent(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= 100:
        raise ValueError(f"expected a percentage, got {value!r}")
    return float(value)


def _report(result: dict[str, Any]) -> str:
    height, width = result["image_size"]
    difference = result["max_difference"]
    lines = [
        f"model_id        {result['model_id']}",
        f"directory       {result['directory']}",
        f"read            a {result['checkpoint']} checkpoint; not needed here:"
        f" {', '.join(result['unused_keys']) or 'nothing'}",
        f"network         {result['backbone']}, {height}x{width},"
        f" {result['num_patterns']} patterns, embedding of {result['embedding_dim']:,}",
        *_projection_line(result["projection"]),
        f"model.onnx      {result['onnx_bytes'] / 1e6:.1f} MB,"
        f" weights stored in {result['weights_precision']}",
        f"against torch   embedding within {difference['embedding']:.1e}, pattern maps within"
        f" {difference['pattern_maps']:.1e}, cosine at least {result['min_cosine']:.7f}"
        f" (batches of {' and '.join(str(size) for size in result['checked_batch_sizes'])})",
    ]
    return "\n".join(lines)


def _projection_line(projection: dict[str, Any] | None) -> list[str]:
    if projection is None:
        return []
    return [
        f"projection      of {projection['features']:,} features, keeps {projection['kept']:.1%} of"
        f" {projection['images']:,} training images of {projection['dataset']}"
    ]
