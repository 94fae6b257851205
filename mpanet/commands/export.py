"""`mpanet export`: turn a checkpoint into a model artifact."""

import argparse

from mpanet.errors import CommandError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet export`."""


def run(args: argparse.Namespace) -> int:
    """Run `mpanet export`."""
    raise CommandError("not built yet")
