"""`mpanet synthesize`: render people in both modalities as a dataset."""

import argparse
import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from mpanet.errors import CommandError, reported
from mpanet.options import DATASETS

SHEET_PERSONS = 8
"""People on a contact sheet, at most."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet synthesize`."""
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write; new or empty")
    parser.add_argument(
        "--layout",
        choices=DATASETS,
        default="sysu-mm01",
        help="folders and splits; manifest is for own cameras",
    )
    parser.add_argument("--persons", type=int, required=True, metavar="N", help="identities")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="another seed, other people"
    )
    parser.add_argument(
        "--images-per-camera",
        type=int,
        metavar="K",
        help="crops a person and camera (default 10 in regdb, 1 in llcm, else 4)",
    )
    parser.add_argument(
        "--test-persons", type=int, metavar="M", help="identities in the test split"
    )
    parser.add_argument("--json", action="store_true", help="print a summary as JSON")
    parser.add_argument(
        "--contact-sheet",
        type=Path,
        metavar="FILE",
        help=f"also draw the first {SHEET_PERSONS} people side by side; enough without --out",
    )


def run(args: argparse.Namespace) -> int:
    """Run `mpanet synthesize`."""
    if args.out is None and args.contact_sheet is None:
        raise CommandError("--out DIR is missing (or --contact-sheet FILE)")
    if args.out is not None:
        _write_dataset(args)
    if args.contact_sheet is not None:
        _write_contact_sheet(args)
    return 0


def _write_dataset(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from training.synthetic.errors import SynthesisError
    from training.synthetic.write import synthesize

    # The bar appears with the first person, so that a usage error stays one line.
    with reported(SynthesisError), ExitStack() as stack:
        bars: list[tqdm[NoReturn]] = []

        def advance(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(tqdm(total=total, unit="person")))
            bars[0].update(done - bars[0].n)

        summary = synthesize(
            args.out,
            layout=args.layout,
            persons=args.persons,
            seed=args.seed,
            images_per_camera=args.images_per_camera,
            test_persons=args.test_persons,
            progress=advance,
        )
    if args.json:
        print(json.dumps(asdict(summary)))
    else:
        print(f"{summary.images} crops of {summary.persons} people in {summary.out}")


def _write_contact_sheet(args: argparse.Namespace) -> None:
    from training.synthetic.contact_sheet import draw_contact_sheet

    if args.persons < 1 or args.seed < 0:
        raise CommandError(
            f"--persons must be at least 1 and --seed not negative,"
            f" got {args.persons} and {args.seed}"
        )
    sheet = draw_contact_sheet(min(args.persons, SHEET_PERSONS), args.seed)
    with reported(OSError, ValueError):
        sheet.save(args.contact_sheet)
