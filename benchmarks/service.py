"""The service under load, beside the bare encoder, a bare handler and LitServe, in one run.

    python -m benchmarks.service --cache CACHE --litserve-python VENV/bin/python --out service.json
    python -m benchmarks.service --cache CACHE --model demo --only query,batch --rounds 1
    python -m benchmarks.service --cache CACHE --model demo --only enroll --rounds 1

`mpanet serve` runs as its own process on a gallery of its own; one process of raw sockets sends
rendered crops. Contenders take turns, in rounds of alternating order; medians of the rounds count.
Without a cache directory the published network is exported anew, which needs torch.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.gallery import machine
from benchmarks.service_bench import PARTS, Bench
from benchmarks.service_tables import tables

PUBLISHED = "published"
DEMO = "demo"
DEMO_MODEL = Path(__file__).resolve().parent.parent / "mpanet" / "demo_model"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each model, print the tables, write JSON after each."""
    args = parse(argv)
    result: dict[str, Any] = {"machine": machine(), "seconds": args.seconds, "models": []}
    with tempfile.TemporaryDirectory(prefix="service-benchmark-") as temporary:
        cache = args.cache or Path(temporary) / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(args.model):
            work = Path(temporary) / str(number)
            work.mkdir()
            with ExitStack() as stack:
                bench = Bench(model_directory(name, cache), work, args, stack)
                result["models"].append({"model": name, **bench.run()})
            if args.out is not None:
                args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(tables(result))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description="The service under load.")
    parser.add_argument(
        "--model",
        nargs="+",
        default=(PUBLISHED, DEMO),
        metavar="NAME",
        help="published (ResNet-50, 384x128, random weights), demo, or directories",
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where that network is kept")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=list(PARTS),
        metavar="PART,PART",
        help=f"of {', '.join(PARTS)}",
    )
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--crops", type=int, default=256, help="different ones to send")
    parser.add_argument("--batch-crops", type=int, default=16, help="of one /gallery/batch")
    parser.add_argument("--overload", type=float, default=10, help="times the capacity")
    parser.add_argument(
        "--enroll-crops", type=int, default=10_000, help="in the folder; 40 s at most"
    )
    parser.add_argument("--litserve-python", type=Path, metavar="FILE", help="that has litserve")
    parser.add_argument(
        "--serve-options",
        type=str.split,
        default=[],
        metavar="TEXT",
        help="more options of `mpanet serve`, in one argument",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="figures as JSON")
    args = parser.parse_args(argv)
    if unknown := [part for part in args.only if part not in PARTS]:
        parser.error(f"--only: expected some of {', '.join(PARTS)}, came {', '.join(unknown)}")
    return args


def model_directory(name: str, cache: Path) -> Path:
    """The artifact of a name; the published network is exported once into the cache."""
    if name == DEMO:
        return DEMO_MODEL
    if name != PUBLISHED:
        return Path(name)
    directory = cache / "resnet50-384x128"
    if not (directory / "manifest.json").exists():
        from benchmarks.encoder import golden_network
        from model.config import MPANetConfig
        from model.network.export import export_artifact

        config = MPANetConfig(backbone="resnet50", image_size=(384, 128), num_patterns=6)
        export_artifact(golden_network(config), directory)
    return directory


if __name__ == "__main__":
    raise SystemExit(main())
