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
    "check": "look a dataset over before training or evaluating on it",
    "train": "train MPANet on a dataset",
    "evaluate": "score a model on a dataset's published protocol",
    "calibrate": "find out by labelled crops what a similarity by a model says",
    "score": "score embeddings computed anywhere on a published protocol",
    "export": "turn a checkpoint into a model artifact",
    "synthesize": "render people in both modalities as a dataset",
    "enroll": "send a directory or a CSV of crops to a running service",
    "query": "find a person in a running service",
    "refresh": "change the model of a running service, or go back",
    "keys": "make, list and revoke API keys",
    "audit": "read the audit log of a service",
    "gallery": "check and maintain a gallery directory",
}

# The packages that only an extra brings, and the extra to name when one is missing.
EXTRA_OF: dict[str, str] = {
    "faiss": "cpu",
    "onnxruntime": "cpu",
    "torch": "train",
    "torchvision": "train",
    "lightning": "train",
    "onnx": "train",
    "onnxscript": "train",
    "scipy": "train",
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
        line = " ".join(str(error).splitlines())  # names of files and keys are anything
        print(f"mpanet {args.command}: error: {line}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        print(
            f"mpanet {args.command}: error: {package} is not installed;"
            f" pip install 'mpanet[{EXTRA_OF[package]}]' brings it",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(f"mpanet {args.command}: interrupted", file=sys.stderr)
        return 130
