"""`mpanet demo`: serve the bundled demonstration model over rendered people."""

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpanet.commands import serve
from mpanet.errors import reported

DATA = "data/demo"
QUERIES = "queries"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet serve`: they hold here too."""
    serve.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Serve, enrol the rendered people once, and print what to try."""
    defaults = {"model": serve.DEMO_MODEL, "data": DATA, "log_format": "text"}
    settings = serve.settings_from(args, defaults)
    from httpx import HTTPTransport

    from mpanet.demonstration import prepare
    from service.client import ServiceClient, ServiceError
    from service.opening import StartError
    from service.server import run as run_service

    def enroll_and_announce(address: str) -> None:
        key = settings.api_keys[0] if settings.api_keys else None
        directly = HTTPTransport()  # whatever proxy the environment names
        try:
            with _quiet_logs(), ServiceClient(address, key, transport=directly) as client:
                ready = prepare(client, Path(settings.data) / QUERIES)
        except (ServiceError, OSError) as error:
            asks = "; it has keys: set MPANET_API_KEY to any, it will be one more"
            hint = asks if isinstance(error, ServiceError) and error.status == 401 else ""
            print(f"mpanet demo: error: {error}{hint}", file=sys.stderr, flush=True)
            print(f"serving on {address}, without the rendered people", flush=True)
            return
        authorization = " -H 'Authorization: Bearer '$MPANET_API_KEY" if key else ""
        print(
            f"{ready.enrolled} crops of rendered people are enrolled; an infrared crop finds them:"
        )
        print(
            f"  curl -s{authorization} -F file=@{ready.query} -F modality=infrared -F top_k=3"
            f" {address}/query"
        )
        print(f"serving on {address} (Ctrl-C stops)", flush=True)

    evaluate = serve.evaluation_set_of(settings)
    with reported(StartError):
        run_service(settings, on_ready=enroll_and_announce, evaluate=evaluate)
    return 0


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Keep the log lines of our own requests out of the progress bar."""
    loggers = [logging.getLogger(name) for name in ("httpx", "service.requests")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
