"""`mpanet serve`: serve a model and a gallery over HTTP."""

import argparse

from mpanet.errors import CommandError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet serve`."""


def run(args: argparse.Namespace) -> int:
    """Run `mpanet serve`."""
    raise CommandError("not built yet")
