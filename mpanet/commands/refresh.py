"""`mpanet refresh`: change the model of a running service, and see it through; or go back."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpanet.connection import add_connection_options, connect, failure
from mpanet.errors import CommandError
from mpanet.refreshing import activate, add_activation_options, follow

if TYPE_CHECKING:
    from service.client import ServiceClient


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet refresh`."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--model", type=Path, metavar="DIR", help="a model directory: published, then activated"
    )
    what.add_argument("--model-id", metavar="ID", help="a model that the service has")
    what.add_argument(
        "--resume", action="store_true", help="follow the job that is under way to its end"
    )
    what.add_argument("--rollback", action="store_true", help="go back to the model before")
    what.add_argument(
        "--reclaim", action="store_true", help="free what a rollback would go back to"
    )
    add_activation_options(parser)
    parser.add_argument("--json", action="store_true", help="print the service's answer as JSON")
    add_connection_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run `mpanet refresh`. Returns 0 once the other model answers."""
    from service.client import ServiceError

    with connect(args) as client:
        try:
            said, answer = _done(args, client)
        except ServiceError as error:
            raise failure(error) from None
    print(json.dumps(answer) if args.json else said)
    return 0


def _done(args: argparse.Namespace, client: "ServiceClient") -> tuple[str, Any]:
    """Do what is asked for; returns a line that says it, and the service's answer."""
    if args.rollback:
        model = client.rollback()
        return f"{model['model_id']} answers again", model
    if args.reclaim:
        freed = client.reclaim()
        return f"{freed['bytes_freed'] / 1e6:.1f} MB of {freed['model_id']} freed", freed
    if args.resume:
        running = [job for job in client.jobs()["jobs"] if job["status"] == "running"]
        if not running:
            raise CommandError("--resume: no job is under way")
        job = follow(client, running[0]["job_id"])
        return _ended(job), job
    model_id = args.model_id or _published(args.model, client)
    ended = activate(client, model_id, args)
    if ended is None:
        return f"{model_id} is active already", client.model(model_id)
    return _ended(ended), ended


def _published(directory: Path, client: "ServiceClient") -> str:
    try:
        model_id = client.publish_model(directory)["model_id"]
    except OSError as error:
        raise CommandError(f"--model: {directory}: {error.strerror or error}") from None
    print(f"published as {model_id}", file=sys.stderr)
    return model_id


def _ended(job: Any) -> str:
    beside = [
        f"{job[name]:,} {name.replace('_', ' ')}" for name in ("left_out", "erased") if job[name]
    ]
    return f"{job['model_id']} is active; " + ", ".join(
        [f"{job['done']:,} entries have its embeddings", *beside]
    )
