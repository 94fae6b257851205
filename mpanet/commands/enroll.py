"""`mpanet enroll`: send a directory or a CSV of crops to a running service."""

import argparse

from mpanet.errors import CommandError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet enroll`."""


def run(args: argparse.Namespace) -> int:
    """Run `mpanet enroll`."""
    raise CommandError("not built yet")
