"""`mpanet demo`: serve the bundled demonstration model over rendered people."""

import argparse

from mpanet.errors import CommandError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet demo`."""


def run(args: argparse.Namespace) -> int:
    """Run `mpanet demo`."""
    raise CommandError("not built yet")
