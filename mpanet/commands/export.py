"""`mpanet export`: turn a checkpoint into a model artifact."""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from mpanet.errors import CommandError, reported

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
        help="what `mpanet evaluate --json FILE` wrote; its figures go into the manifest",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Run `mpanet export`."""
    from model.artifact import ModelSource, refuse_existing
    from model.errors import ModelError

    with reported(ModelError):
        refuse_existing(args.out)
    metrics = None if args.metrics is None else read_metrics(args.metrics)
    from model.network.checkpoint import load_network
    from model.network.export import CHECKED_BATCH_SIZES, export_artifact

    with reported(ModelError):
        loaded = load_network(args.weights, args.image_size)
        artifact, agreement = export_artifact(
            loaded.network,
            args.out,
            preprocessing=loaded.preprocessing,
            weights_precision=args.weights_precision,
            metrics=metrics,
            source=ModelSource(
                recipe=loaded.source.get("recipe"), commit=loaded.source.get("commit")
            ),
        )
    config = artifact.config
    result = {
        "model_id": artifact.model_id,
        "directory": str(artifact.directory),
        "checkpoint": loaded.kind,
        "unused_keys": list(loaded.unused),
        "backbone": config.backbone,
        "image_size": list(config.image_size),
        "num_patterns": config.num_patterns,
        "embedding_dim": config.embedding_dim,
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


def read_metrics(path: Path) -> dict[str, dict[str, float]]:
    """Read the model's figures, in percent, from what `mpanet evaluate --json` wrote.

    Raises: CommandError for a file that it did not write.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return {
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
        f"model.onnx      {result['onnx_bytes'] / 1e6:.1f} MB,"
        f" weights stored in {result['weights_precision']}",
        f"against torch   embedding within {difference['embedding']:.1e}, pattern maps within"
        f" {difference['pattern_maps']:.1e}, cosine at least {result['min_cosine']:.7f}"
        f" (batches of {' and '.join(str(size) for size in result['checked_batch_sizes'])})",
    ]
    return "\n".join(lines)
