"""`mpanet query`: find a person in a running service, shown as a ranked table."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpanet.connection import add_connection_options, connect, failure
from mpanet.errors import CommandError

NAMES = ("person_id", "exclude_person_id", "camera_id", "exclude_camera_id")
LIMITS = ("min_similarity", "max_false_accept_rate")
FILTERS = (*NAMES, "captured_after", "captured_before", "attributes", *LIMITS)
COLUMNS = (
    *("rank", "similarity", "probability", "person_id", "camera_id", "modality"),
    *("captured_at", "entry_id"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet query`."""
    parser.add_argument("images", metavar="IMAGE", type=Path, nargs="+", help="crops of one person")
    parser.add_argument(
        "--modality", choices=("visible", "infrared"), required=True, help="of the crops"
    )
    parser.add_argument("--top-k", metavar="N", default="10", help="most matches, 1 to 1000 (10)")
    parser.add_argument(
        "--target-modality",
        choices=("visible", "infrared", "any"),
        default="any",
        help="of the entries searched (any)",
    )
    parser.add_argument(
        "--group-by",
        choices=("entry", "person"),
        default="entry",
        help="person: the best entry of each person (entry)",
    )
    parser.add_argument(
        "--rerank", action="store_true", help="order the nearest by the neighbours they share"
    )
    for name in FILTERS:
        option = f"--{name.replace('_', '-')}"
        if name in NAMES:
            parser.add_argument(option, metavar="NAME", action="append", help="may be repeated")
        else:
            parser.add_argument(option, metavar="JSON" if name == "attributes" else "VALUE")
    parser.add_argument("--json", action="store_true", help="print the service's answer as JSON")
    add_connection_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run `mpanet query`."""
    from service.client import ServiceError

    crops = [_read(path) for path in args.images]
    fields = {name: getattr(args, name) for name in FILTERS}
    with connect(args) as client:
        try:
            answer = client.query(
                crops,
                args.modality,
                top_k=args.top_k,
                target_modality=args.target_modality,
                group_by=args.group_by,
                rerank=args.rerank,
                **fields,
            )
        except ServiceError as error:
            raise failure(error) from error
    print(json.dumps(answer, indent=2) if args.json else _table(answer))
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: cannot read the image: {error.strerror}") from error


def _table(answer: Mapping[str, Any]) -> str:
    rows = [
        COLUMNS,
        *(tuple(_cell(match[name]) for name in COLUMNS) for match in answer["matches"]),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    found = f"{len(answer['matches'])} of {answer['gallery_size']} entries"
    lines.append(f"{found}, model {answer['model_id']}")
    if answer["thresholds"] is not None:
        lines.append(_demanded(answer))
    return "\n".join(lines)


def _demanded(answer: Mapping[str, Any]) -> str:
    """Say what the false-accept rate demanded, and what it lets through even so."""
    least = ", ".join(f"{pair} {value:.4f}" for pair, value in answer["thresholds"].items())
    expected = f"{answer['expected_false_accepts']:.2g}"
    return f"at least {least}; of {answer['compared']} compared expect {expected} false accepts"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
