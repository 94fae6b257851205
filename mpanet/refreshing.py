"""A model of a running service made the active one, and its job followed to the end.

What `mpanet refresh` and `mpanet train --publish` share: options, the progress bar, what a job that
did not succeed is told as.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mpanet.connection import failure
from mpanet.errors import CommandError

if TYPE_CHECKING:
    from service.client import ServiceClient
    from service.client_answers import Job

POLL_S = 0.5
CHECKS = ("evaluation",)
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"


def add_activation_options(parser: argparse._ActionsContainer) -> None:
    """Add what an activation can be told."""
    parser.add_argument(
        "--override",
        action="append",
        choices=CHECKS,
        default=[],
        help="a check that the model need not pass; recorded in the audit log",
    )
    parser.add_argument(
        "--entries-without-crop",
        choices=("erase", "leave_out"),
        help="what becomes of entries whose crop was not kept: no new embedding can be made",
    )
    parser.add_argument(
        "--reclaim-kept",
        action="store_true",
        help="give up the model that a rollback would go back to",
    )


def activate(
    client: "ServiceClient",
    model_id: str,
    args: argparse.Namespace,
    *,
    sleep: Callable[[float], object] = time.sleep,
) -> "Job | None":
    """Make a model the active one and wait for it; None: it was that already.

    Raises: CommandError: refused, failed, cancelled, or nobody answers.
    """
    from service.client import ServiceError

    try:
        answer: dict[str, Any] = dict(
            client.activate(
                model_id,
                override=args.override,
                entries_without_crop=args.entries_without_crop,
                reclaim_kept=args.reclaim_kept,
            )
        )
    except ServiceError as error:
        raise failure(error) from None
    return follow(client, answer["job_id"], sleep=sleep) if "job_id" in answer else None


def follow(
    client: "ServiceClient", job_id: str, *, sleep: Callable[[float], object] = time.sleep
) -> "Job":
    """Show how far a job is until it is done; returns it.

    Raises: CommandError: it did not succeed, or nobody answers; it goes on when this is
    interrupted.
    """
    from tqdm import tqdm

    from service.client import ServiceError

    try:
        with tqdm(file=sys.stderr, disable=None, bar_format=BAR, dynamic_ncols=True) as bar:
            while (job := client.job(job_id))["status"] == "running":
                show(bar, job)
                sleep(POLL_S)
            show(bar, job)
    except ServiceError as error:
        raise failure(error) from None
    except KeyboardInterrupt:
        raise CommandError(
            f"interrupted; job {job_id} goes on in the service", exit_code=130
        ) from None
    if job["status"] != "done":
        raise CommandError(_why(job), exit_code=1)
    return job


def show(bar: Any, job: "Job") -> None:
    """Let a bar of tqdm say how far a job is, and how long it has to go."""
    bar.set_description_str(job["phase"] or job["status"], refresh=False)
    speed = [] if job["crops_per_s"] is None else [f"{job['crops_per_s']:.0f} crops/s"]
    left = [] if job["seconds_left"] is None else [f"{_clock(job['seconds_left'])} left"]
    bar.set_postfix_str(", ".join(speed + left), refresh=False)
    bar.total, bar.n = job["total"], job["done"]
    bar.refresh()


def _why(job: "Job") -> str:
    problem = job["problem"]
    if problem is None:
        return f"job {job['job_id']} was {job['status']}; the model before goes on answering"
    return f"job {job['job_id']} {job['status']} ({problem['code']}): {problem['detail']}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
