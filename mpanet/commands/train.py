"""`mpanet train`: train MPANet on a dataset."""

import argparse

from mpanet.errors import CommandError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet train`."""


def run(args: argparse.Namespace) -> int:
    """Run `mpanet train`."""
    raise CommandError("not built yet")
