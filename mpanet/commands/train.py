"""`mpanet train`: train MPANet on a dataset."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mpanet.errors import CommandError, reported
from mpanet.options import add_dataset
from mpanet.publishing import connection, publish_run
from mpanet.refreshing import add_activation_options

if TYPE_CHECKING:
    from training.run import RunResult


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet train`."""
    add_dataset(parser)
    parser.add_argument(
        "--recipe", required=True, metavar="NAME", help="a bundled recipe, or a .toml file"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the run's folder")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument(
        "--init",
        metavar="WHAT",
        help="start from `imagenet`, `none` or a file of weights (default: as the recipe says)",
    )
    parser.add_argument(
        "--devices", type=_devices, default=1, metavar="N", help="processes, one a GPU (default 1)"
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, help="of weights, batches and augmentation"
    )
    group = parser.add_argument_group(
        "publishing", "make the trained model the active one of a running service"
    )
    group.add_argument("--publish", metavar="URL", help="the service")
    group.add_argument(
        "--key", metavar="KEY", help="its API key, with the role admin (MPANET_API_KEY)"
    )
    add_activation_options(group)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 2^32 - 1, got {text}")
    return int(text)


def _devices(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Run `mpanet train`."""
    from training.datasets.readers import survey_dataset
    from training.errors import TrainingError
    from training.recipe import load_recipe, recipe_name

    _check_publishing(args)
    with reported(TrainingError):
        config = load_recipe(args.recipe)
        if args.init is not None:
            config = config.model_copy(update={"initialise": args.init})
        dataset = survey_dataset(args.dataset, args.data, split=args.split)
        from training.run import train

        try:
            result = train(
                dataset,
                config,
                args.out,
                recipe=recipe_name(args.recipe),
                seed=args.seed,
                resume=args.resume,
                devices=args.devices,
            )
        except KeyboardInterrupt:
            if int(os.environ.get("LOCAL_RANK", 0)):
                return 130  # one of several processes speaks for the run
            raise CommandError(f"interrupted; {_left_in(args.out)}", exit_code=130) from None
    if result.rank == 0:
        _report(result, published=args.publish is not None)
        if args.publish is not None:
            publish_run(args, result.best or result.last)
    return 0


def _check_publishing(args: argparse.Namespace) -> None:
    """Refuse what a publication at the end would fail of, and options that mean nothing."""
    if args.publish is not None:
        connection(args).close()
    elif args.key or args.override or args.entries_without_crop or args.reclaim_kept:
        raise CommandError(
            "--key, --override, --entries-without-crop and --reclaim-kept go with --publish"
        )


def _left_in(out: Path) -> str:
    """What an interrupted run left, and whether there is something to resume."""
    from training.checkpoints import LAST
    from training.run_record import RECORD

    if not (out / RECORD).exists():
        return "the run had not begun, and nothing was written"
    kept = "the last whole epoch" if (out / LAST).exists() else "no whole epoch yet"
    return f"{out} holds {kept}, --resume goes on from there"


def _report(result: "RunResult", *, published: bool) -> None:
    if result.val_rank1 is not None:
        print(
            f"held-out identities after the last epoch: rank-1 {result.val_rank1:.1f} %,"
            f" mAP {result.val_map:.1f} %"
        )
    weights = result.best or result.last
    print(f"trained in {result.minutes:.1f} minutes; weights: {weights}")
    if not published:
        print(f"next: mpanet export --weights {weights} --out MODEL_DIR", file=sys.stderr)
