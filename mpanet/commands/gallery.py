"""`mpanet gallery`: check and maintain a gallery directory."""

import argparse

from mpanet.errors import CommandError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet gallery`."""


def run(args: argparse.Namespace) -> int:
    """Run `mpanet gallery`."""
    raise CommandError("not built yet")
