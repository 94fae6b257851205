"""`mpanet enroll`: send a directory or a CSV of crops to a running service.

Which crops those are is `mpanet.crop_list`, how they are sent `mpanet.bulk_enrolment`. Entry ids
are made from path and content: running it again sends everything again, and the service answers
what it has without work.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from mpanet.connection import add_connection_options, connect, failure
from mpanet.crop_list import CropSource, read_csv, read_flat, read_sysu
from mpanet.enrolment_summary import Summary
from mpanet.errors import CommandError

if TYPE_CHECKING:
    from service.client import ServiceClient

REFUSED = 1
INTERRUPTED = 130


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet enroll`."""
    parser.add_argument("path", metavar="PATH", type=Path, help="a directory, or a CSV of crops")
    parser.add_argument(
        "--layout",
        choices=("flat", "sysu-mm01"),
        default="flat",
        help="of a directory: any images, or cam{n}/{person}/{n}.jpg (flat)",
    )
    parser.add_argument(
        "--cameras", metavar="N,N", help="of sysu-mm01: which cameras (all); 3 and 6 are infrared"
    )
    parser.add_argument("--modality", choices=("visible", "infrared"), help="where none is given")
    parser.add_argument("--person-id", metavar="ID", help="where none is given")
    parser.add_argument("--camera-id", metavar="ID", help="where none is given")
    parser.add_argument(
        "--batch-size", metavar="N", type=int, default=16, help="crops of one request (16)"
    )
    parser.add_argument("--requests", metavar="N", type=int, default=4, help="requests at once (4)")
    parser.add_argument(
        "--outage-s",
        metavar="S",
        type=float,
        default=60,
        help="seconds that a service which went away is waited for (60)",
    )
    parser.add_argument(
        "--refused", metavar="FILE", type=Path, help="write what was refused, and why, as CSV"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_connection_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run `mpanet enroll`. Returns 1 if the service refused any crop, 130 if interrupted."""
    _check(args)
    sources = _sources(args)
    stop = Event()
    with connect(args, sleep=stop.wait) as client:
        return _enroll(client, sources, args, stop)


def _check(args: argparse.Namespace) -> None:
    if not 1 <= args.batch_size <= 64:
        raise CommandError(f"--batch-size: expected 1 to 64, came {args.batch_size}")
    if not 1 <= args.requests <= 32:
        raise CommandError(f"--requests: expected 1 to 32, came {args.requests}")
    if args.outage_s < 0:
        raise CommandError(f"--outage-s: expected 0 or more, came {args.outage_s:g}")
    if args.refused is not None and not args.refused.parent.is_dir():
        raise CommandError(f"--refused: expected a file in a folder that is there, {args.refused}")


def _sources(args: argparse.Namespace) -> list[CropSource]:
    fields = {
        name: value
        for name in ("modality", "person_id", "camera_id")
        if (value := getattr(args, name))
    }
    if args.path.is_file():
        return read_csv(args.path, fields)
    if not args.path.is_dir():
        raise CommandError(f"{args.path}: expected a directory or a CSV file, came nothing")
    if args.layout == "sysu-mm01":
        if fields:
            raise CommandError(f"--layout sysu-mm01 says itself what {', '.join(fields)} is")
        cameras = [camera.strip() for camera in args.cameras.split(",")] if args.cameras else None
        return read_sysu(args.path, cameras)
    if "modality" not in fields:
        raise CommandError("a plain directory needs --modality: it is never guessed")
    return read_flat(args.path, fields)


def _enroll(
    client: "ServiceClient", sources: Sequence[CropSource], args: argparse.Namespace, stop: Event
) -> int:
    from tqdm import tqdm

    from mpanet.bulk_enrolment import BulkEnrolment
    from mpanet.crop_files import batches
    from mpanet.patient_sender import PatientSender
    from service.client import ServiceError

    work = BulkEnrolment(PatientSender(client, args.outage_s, stop), args.requests, stop)
    with tqdm(total=len(sources), unit="crop", desc="enrolling") as progress:

        def settled(crops: int) -> None:
            progress.set_postfix(refused=len(work.summary.refused), refresh=False)
            progress.update(crops)

        try:
            work.run(batches(sources, args.batch_size), settled)
        except ServiceError as error:
            progress.close()
            if work.summary.settled:
                _report(work.summary, len(sources), args)
            raise failure(error) from error
        except KeyboardInterrupt:
            progress.close()
            _report(work.summary, len(sources), args)
            print("mpanet enroll: interrupted; run it again for the rest", file=sys.stderr)
            return INTERRUPTED
    _report(work.summary, len(sources), args)
    return REFUSED if work.summary.refused else 0


def _report(summary: Summary, crops: int, args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(summary.document(crops), indent=2))
    else:
        print("\n".join(summary.lines(crops)))
    if args.refused is not None:
        summary.write_refused(args.refused)
