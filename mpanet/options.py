"""What options of several commands have in common.

The datasets that can be named, which options mean something for what, files written in the end.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from mpanet.errors import CommandError

DATASETS = ("sysu-mm01", "regdb", "llcm", "manifest")
SPLITS = range(1, 11)


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Add `--dataset`, `--data` and RegDB's `--split`."""
    parser.add_argument("--dataset", required=True, choices=DATASETS)
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="its folder")
    add_split(parser)


def add_split(parser: argparse._ActionsContainer) -> None:
    """Add `--split`, one of RegDB's ten."""
    parser.add_argument(
        "--split", type=int, default=1, choices=SPLITS, metavar="1..10", help="of RegDB"
    )


def refuse_options_of_others(
    args: argparse.Namespace, options_of: Mapping[str, tuple[str, ...]], chosen: str
) -> None:
    """Refuse an option that was given and means nothing for `chosen`: ignoring it would mislead.

    Args:
        options_of: for each option that not everything has, what has it.

    Raises:
        CommandError: it names the first such option and what has it.
    """
    for option, owners in options_of.items():
        if getattr(args, option) not in (None, False) and chosen not in owners:
            name = option.replace("_", "-")
            raise CommandError(f"--{name} is an option of {' and '.join(owners)}, not of {chosen}")


def refuse_unwritable(*paths: Path | None) -> None:
    """Find out before the work that a file could not be written after it.

    Raises:
        CommandError: a path is a folder, or its folder does not exist.
    """
    for path in paths:
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise CommandError(
                f"{path}: cannot be written: expected a file in a folder that exists"
            )


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8.

    Raises:
        CommandError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path}: cannot be written: {error}") from error
