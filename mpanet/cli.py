"""The `mpanet` command: finds the subcommand, hands it its arguments, prints its error.

Each subcommand is a module of `mpanet.commands` with `configure(parser)` and `run(args) -> int`.
`configure` is cheap; everything heavy is imported inside `run`, so that a command needs only the
packages it uses (serving never needs torch).
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from mpanet.errors import CommandError

COMMANDS: dict[str, str] = {
    "demo": "serve the bundled demonstration model over rendered people",
    "serve": "serve a model and a gallery over HTTP",
    "train": "train MPANet on a dataset",
    "evaluate": "score a model on a dataset's published protocol",
    "export": "turn a checkpoint into a model artifact",
    "synthesize": "render people in both modalities as a dataset",
    "enroll": "send a directory or a CSV of crops to a running service",
    "query": "find a person in a running service",
    "gallery": "check and maintain a gallery directory",
}


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose usage errors are one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of every subcommand."""
    parser = OneLineParser(
        prog="mpanet", description="Visible-infrared person re-identification as a service."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary.capitalize())
        importlib.import_module(f"mpanet.commands.{name}").configure(subparser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand. Returns its exit code; 2 for a usage error, with one line on stderr."""
    args = build_parser().parse_args(argv)
    command = importlib.import_module(f"mpanet.commands.{args.command}")
    try:
        return int(command.run(args))
    except CommandError as error:
        print(f"mpanet {args.command}: error: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        extra = "train" if args.command in {"train", "evaluate", "export"} else "cpu"
        print(
            f"mpanet {args.command}: error: {error.name} is not installed;"
            f" pip install 'mpanet[{extra}]' brings it",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(f"mpanet {args.command}: interrupted", file=sys.stderr)
        return 130
