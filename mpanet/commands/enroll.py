"""`mpanet enroll`: send a directory or a CSV of crops to a running service.

Which crops those are is `mpanet.crop_list`. Entry ids are made from path and content, so that
running it twice enrols nothing twice.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpanet.connection import add_connection_options, connect, failure
from mpanet.crop_list import CropSource, read_csv, read_flat, read_sysu
from mpanet.errors import CommandError

if TYPE_CHECKING:
    from service.client import ServiceClient

REQUESTS_AT_ONCE = 2  # one on its way while the service works on the other
MAX_REQUEST_BYTES = 16 * 2**20
REFUSED = 1


@dataclass
class Summary:
    """What became of the crops; `refused` holds path and reason."""

    enrolled: int = 0
    already_there: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def count(self, sources: Sequence[CropSource], results: Sequence[Mapping[str, Any]]) -> None:
        """Add the results of one request."""
        for source, result in zip(sources, results, strict=True):
            if result["status"] != 201:
                problem = result["problem"]
                self.refused.append((source.name, f"{problem['code']}: {problem['detail']}"))
            elif result.get("replayed"):
                self.already_there += 1
            else:
                self.enrolled += 1


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
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_connection_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run `mpanet enroll`. Returns 1 if the service refused any crop."""
    if not 1 <= args.batch_size <= 64:
        raise CommandError(f"--batch-size: expected 1 to 64, came {args.batch_size}")
    sources = _sources(args)
    with connect(args) as client:
        summary = _enroll(client, list(_batches(sources, args.batch_size)), len(sources))
    _print(summary, as_json=args.json)
    return REFUSED if summary.refused else 0


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


def _batches(sources: Iterable[CropSource], max_crops: int) -> Iterator[list[CropSource]]:
    """Group crops into requests of bounded length and weight; a heavy file goes alone."""
    batch: list[CropSource] = []
    weight = 0
    for source in sources:
        size = source.path.stat().st_size if source.path.is_file() else 0
        if batch and (len(batch) == max_crops or weight + size > MAX_REQUEST_BYTES):
            yield batch
            batch, weight = [], 0
        batch.append(source)
        weight += size
    if batch:
        yield batch


def _enroll(client: "ServiceClient", batches: Sequence[list[CropSource]], total: int) -> Summary:
    from tqdm import tqdm

    from service.client import ServiceError

    summary = Summary()
    with (
        ThreadPoolExecutor(REQUESTS_AT_ONCE) as senders,
        tqdm(total=total, unit="crop", desc="enrolling") as progress,
    ):
        sent = senders.map(lambda batch: _send(client, batch), batches)
        try:
            for batch, results in zip(batches, sent, strict=True):
                summary.count(batch, results)
                progress.update(len(batch))
        except ServiceError as error:
            senders.shutdown(cancel_futures=True)
            raise failure(error) from error
    return summary


def _send(client: "ServiceClient", batch: Sequence[CropSource]) -> list[Mapping[str, Any]]:
    """Send one request; returns a result for each crop, unreadable files included."""
    from service.client import ServiceError

    results: dict[int, Mapping[str, Any]] = {}
    answers: Sequence[Mapping[str, Any]]
    contents: dict[int, bytes] = {}
    for index, source in enumerate(batch):
        try:
            contents[index] = source.path.read_bytes()
        except OSError as error:
            reason = {"code": "unreadable_file", "detail": error.strerror}
            results[index] = {"status": 0, "problem": reason}
    entries = [batch[index].entry(content) for index, content in contents.items()]
    if entries:
        try:
            answers = client.enroll_batch(list(contents.values()), entries)
        except ServiceError as error:
            if error.status != 413:
                raise
            answers = [{"status": error.status, "problem": error.problem}] * len(entries)
        results.update(zip(contents, answers, strict=True))
    return [results[index] for index in range(len(batch))]


def _print(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        refused = [{"path": path, "reason": reason} for path, reason in summary.refused]
        counts = {"enrolled": summary.enrolled, "already_there": summary.already_there}
        print(json.dumps({**counts, "refused": refused}, indent=2))
        return
    for path, reason in summary.refused:
        print(f"refused {path}: {reason}")
    print(
        f"enrolled {summary.enrolled}, already there {summary.already_there},"
        f" refused {len(summary.refused)}"
    )
