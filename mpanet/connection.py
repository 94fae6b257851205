"""How the commands that speak to a running service find it: address and key."""

import argparse
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mpanet.errors import CommandError

if TYPE_CHECKING:
    from service.client import ServiceClient, ServiceError

DEFAULT_URL = "http://127.0.0.1:8000"


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Add `--url` and `--api-key`; by environment MPANET_URL and MPANET_API_KEY."""
    parser.add_argument("--url", help=f"the service (MPANET_URL, else {DEFAULT_URL})")
    parser.add_argument("--api-key", metavar="KEY", help="its API key (MPANET_API_KEY)")


def connect(
    args: argparse.Namespace, sleep: Callable[[float], object] = time.sleep
) -> "ServiceClient":
    """Open a client of the service that the options name; it waits with `sleep`.

    Raises: CommandError.
    """
    from service.client import ServiceClient

    url = args.url or os.environ.get("MPANET_URL") or DEFAULT_URL
    if not url.startswith(("http://", "https://")):
        raise CommandError(f"--url: expected an address with http:// or https://, came {url!r}")
    keys = args.api_key or os.environ.get("MPANET_API_KEY") or ""
    try:
        return ServiceClient(url, keys.split(",")[0].strip() or None, sleep=sleep)
    except ValueError as error:
        raise CommandError(str(error)) from None


def failure(error: "ServiceError") -> CommandError:
    """Say in one line what the service refused; an error of the input is exit code 2."""
    if not error.status:
        return CommandError(f"no service answers: {error.detail}", exit_code=1)
    message = f"the service answered {error.status} ({error.code}): {error.detail}"
    return CommandError(message, exit_code=2 if error.status < 500 else 1)
