"""`mpanet query`: find a person in a running service."""

import argparse

from mpanet.errors import CommandError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet query`."""


def run(args: argparse.Namespace) -> int:
    """Run `mpanet query`."""
    raise CommandError("not built yet")
