"""`mpanet synthesize`: render people in both modalities as a dataset."""

import argparse

from mpanet.errors import CommandError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet synthesize`."""


def run(args: argparse.Namespace) -> int:
    """Run `mpanet synthesize`."""
    raise CommandError("not built yet")
