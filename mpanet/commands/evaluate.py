"""`mpanet evaluate`: score a model on a dataset's published protocol."""

import argparse

from mpanet.errors import CommandError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet evaluate`."""


def run(args: argparse.Namespace) -> int:
    """Run `mpanet evaluate`."""
    raise CommandError("not built yet")
