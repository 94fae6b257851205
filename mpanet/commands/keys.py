"""`mpanet keys`: make, list and revoke API keys."""

import argparse

from mpanet.errors import CommandError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet keys`."""


def run(args: argparse.Namespace) -> int:
    """Run `mpanet keys`."""
    raise CommandError("not built yet")
