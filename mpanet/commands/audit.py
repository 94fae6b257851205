"""`mpanet audit`: read the audit log of a service, or check that it is as it was written."""

import argparse
import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpanet.errors import CommandError

if TYPE_CHECKING:
    from service.audit.reader import Record
    from service.audit.search import AuditFilter
    from service.audit.verification import Verification

Values = dict[str, Any]
_ROW = "{:<24}  {:<12}  {:<32}  {:<7}  {}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet audit`."""
    default = os.environ.get("MPANET_DATA")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(default) if default else None,
        metavar="DIR",
        help="the service's data directory (or MPANET_DATA)",
    )
    for name in ("since", "until"):
        parser.add_argument(
            f"--{name}",
            type=_time,
            metavar="TIME",
            help="RFC 3339, or a day (UTC)" + (", not included" if name == "until" else ""),
        )
    parser.add_argument("--caller", metavar="NAME", help="the name of the key that was used")
    parser.add_argument("--call", metavar="TEXT", help="in the method and path, as in `DELETE`")
    parser.add_argument("--person", metavar="ID", help="named, shown or changed by the call")
    parser.add_argument("--entry", metavar="ID", help="named, shown or changed by the call")
    parser.add_argument("--request-id", metavar="ID", help="as in X-Request-Id")
    parser.add_argument("--limit", type=_count, metavar="N", help="only the newest N")
    parser.add_argument("--json", action="store_true", help="print the lines as they are stored")
    parser.add_argument(
        "--verify", action="store_true", help="check every line of the log; exit 1 on damage"
    )


def run(args: argparse.Namespace) -> int:
    """Run `mpanet audit`. Returns 1 if something in the log is damaged."""
    if args.data is None:
        raise CommandError("--data (or MPANET_DATA) is required")
    directory = args.data / "audit"
    if not directory.is_dir():
        raise CommandError(f"--data: there is no audit log in {args.data}")
    try:
        return _verify(directory, args) if args.verify else _read(directory, args)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor at the exit
        return 0
    except OSError as error:
        raise CommandError(f"{directory} cannot be read: {error}", exit_code=1) from error


def _verify(directory: Path, args: argparse.Namespace) -> int:
    from service.audit.verification import verify

    given = [name for name in ("since", "until", *_FILTERS, "limit") if getattr(args, name)]
    if given:
        raise CommandError(f"--verify reads the whole log: leave --{given[0]} out")
    found = verify(directory)
    print(json.dumps(_report(found)) if args.json else _shown(found))
    return 1 if found.damage else 0


def _report(found: "Verification") -> Values:
    return {
        "ok": found.damage is None,
        "lines": found.lines,
        "files": found.files,
        "first": found.first,
        "last": found.last.sequence if found.last else None,
        "last_hash": found.last.hash if found.last else None,
        "damage": found.damage,
        "notes": found.notes,
    }


def _shown(found: "Verification") -> str:
    lines = [f"unfinished: {note}" for note in found.notes]
    counted = f"{found.lines} lines of {found.files} files are sound"
    if found.damage:
        return "\n".join([*lines, f"damaged: {found.damage}", f"{counted} before it"])
    if found.last is not None:
        counted += f", {found.first} to {found.last.sequence}; the last is {found.last.hash}"
    return "\n".join([*lines, counted])


def _read(directory: Path, args: argparse.Namespace) -> int:
    from service.audit.line import LineError
    from service.audit.reader import Record, read_records

    damaged = False
    wanted = _wanted(args)

    def sound() -> Iterator[Record]:
        nonlocal damaged
        for record in read_records(directory, since=args.since, until=args.until):
            if isinstance(record, LineError):
                damaged = True
                print(f"mpanet audit: damaged: {record}", file=sys.stderr)
            elif wanted.matches(record.values):
                yield record

    records: Iterable[Record] = sound()
    if args.limit is not None:
        records = deque(records, maxlen=args.limit)
    _print(records, as_json=args.json)
    return 1 if damaged else 0


def _print(records: Iterable["Record"], *, as_json: bool) -> None:
    if not as_json:
        print(_ROW.format("time", "caller", "call", "outcome", "about"))
    for record in records:
        if as_json:
            sys.stdout.write(record.line.raw.decode() + "\n")
        else:
            print(_printable(_row(record.values)))
    sys.stdout.flush()


_FILTERS = ("caller", "call", "person", "entry", "request_id")


def _wanted(args: argparse.Namespace) -> "AuditFilter":
    from service.audit.search import AuditFilter

    return AuditFilter(
        caller=args.caller,
        call=args.call,
        person_id=args.person,
        entry_id=args.entry,
        request_id=args.request_id,
    )


def _row(values: Values) -> str:
    if values["kind"] != "call":
        about = " ".join(f"{name}={values[name]}" for name in values if name not in _EVERY_LINE)
        return _ROW.format(values["time"], "-", f"log {values['kind']}", "-", about)
    outcome = values.get("status", values["phase"])
    about = " ".join(_about(values))
    return _ROW.format(values["time"], values["caller"], values["call"], outcome, about)


_EVERY_LINE = ("sequence", "time", "previous", "kind")


def _about(values: Values) -> Iterator[str]:
    if "code" in values:
        yield values["code"]
    for what in ("person", "entry"):
        if ids := values.get(f"{what}_ids"):
            more = f"+{len(ids) - 3}" if len(ids) > 3 else ""
            yield f"{what}={','.join(ids[:3])}{more}"
    for name, value in values.get("fields", {}).items():
        if name not in ("person_id", "entry_id") and value not in (False, "any"):
            text = value if isinstance(value, str) else json.dumps(value)
            yield f"{name}={text}"
    for name, count in values.get("counts", {}).items():
        yield f"{name}={count}"
    if (shown := values.get("shown")) is not None:
        best = f", best {shown[0]['entry_id']} {shown[0]['similarity']:.4f}" if shown else ""
        yield f"-> {len(shown)} entries{best}"
    yield f"request={values['request_id']}"


def _printable(text: str) -> str:
    """Keep what a client put into a name from moving the terminal's cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a time such as 2026-11-25T03:00:00Z or 2026-11-25, came {text!r}"
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, came {text!r}")
    return int(text)
