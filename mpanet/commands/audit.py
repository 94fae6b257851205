"""`mpanet audit`: read the audit log of a service."""

import argparse

from mpanet.errors import CommandError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet audit`."""


def run(args: argparse.Namespace) -> int:
    """Run `mpanet audit`."""
    raise CommandError("not built yet")
