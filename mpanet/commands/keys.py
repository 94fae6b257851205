"""`mpanet keys`: make, list and revoke API keys. A running service takes a change up by itself."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpanet.errors import CommandError, reported

if TYPE_CHECKING:
    from service.access.keys import KeyRecord

ROLES = ("query", "enroll", "admin")
MAX_PER_MINUTE = 1_000_000
MAX_DAYS = 36_500


def configure(parser: argparse.ArgumentParser) -> None:
    """Add every action with its options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, summary in (
        ("create", "make a key and print it: it is shown this once"),
        ("list", "show every key, never a secret"),
        ("revoke", "let a key open nothing any more"),
    ):
        action = actions.add_parser(name, help=summary, description=summary.capitalize())
        action.add_argument(
            "--data", type=Path, metavar="DIR", help="the gallery's directory (or MPANET_DATA)"
        )
        action.add_argument(
            "--keys",
            type=Path,
            metavar="FILE",
            help="the keys file (or MPANET_KEYS; keys.json in the gallery's directory)",
        )
        action.add_argument("--json", action="store_true", help="print the result as JSON")
        if name == "create":
            _configure_create(action)
        if name == "revoke":
            action.add_argument("id", metavar="ID", help="as `mpanet keys list` shows it")


def _configure_create(action: argparse.ArgumentParser) -> None:
    action.add_argument("--name", required=True, help="who has it, as the audit log shows them")
    action.add_argument(
        "--role", required=True, action="append", choices=ROLES, help="may be given several times"
    )
    action.add_argument(
        "--rate-limit",
        type=_number_up_to(MAX_PER_MINUTE),
        metavar="N",
        help="requests a minute (MPANET_RATE_LIMIT of the service)",
    )
    action.add_argument(
        "--expires-days",
        type=_number_up_to(MAX_DAYS),
        metavar="N",
        help="days until it opens nothing any more (never)",
    )


def run(args: argparse.Namespace) -> int:
    """Run one action."""
    from service.access.keys import KeyRequestError, KeysFileError

    with reported(KeysFileError, KeyRequestError):
        {"create": _create, "list": _list, "revoke": _revoke}[args.action](args)
    return 0


def _create(args: argparse.Namespace) -> None:
    from service.access.keys import add_key, make_key

    now = _now()
    expires_at = now + timedelta(days=args.expires_days) if args.expires_days else None
    text, key = make_key(
        args.name, args.role, now=now, expires_at=expires_at, rate_limit=args.rate_limit
    )
    path = _keys_file(args)
    add_key(path, key)
    if args.json:
        print(json.dumps({"key": text, **_shown(key)}))
    else:
        print(text)
        print(f"key {key.id} is in {path}; above is its only copy", file=sys.stderr)


def _list(args: argparse.Namespace) -> None:
    from service.access.keys import read_keys

    keys = [_shown(key) for key in read_keys(_keys_file(args))]
    if args.json:
        print(json.dumps({"keys": keys}))
        return
    for key in keys:
        limit = f", {key['rate_limit']} a minute" if key["rate_limit"] else ""
        until = f", expires {key['expires_at']}" if key["expires_at"] else ""
        roles = "+".join(key["roles"])
        print(f"{key['id']}  {key['state']:8}{roles}  {key['name']}{limit}{until}")
    if not keys:
        print("no keys")


def _revoke(args: argparse.Namespace) -> None:
    from service.access.keys import revoke_key

    key = revoke_key(_keys_file(args), args.id, now=_now())
    if args.json:
        print(json.dumps(_shown(key)))
    else:
        print(f"key {key.id} of {key.name} is revoked")


def _keys_file(args: argparse.Namespace) -> Path:
    """Return the file as `mpanet serve` finds it: the command line over the environment."""
    keys = args.keys or os.environ.get("MPANET_KEYS")
    data = args.data or os.environ.get("MPANET_DATA")
    if keys:
        return Path(keys)
    if data:
        return Path(data) / "keys.json"
    raise CommandError("expected --data DIR or --keys FILE (or MPANET_DATA or MPANET_KEYS)")


def _shown(key: "KeyRecord") -> dict[str, Any]:
    """Return what anybody may see of a key."""
    return {"state": key.state(_now()), **key.model_dump(mode="json", exclude={"sha256"})}


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _number_up_to(most: int) -> Callable[[str], int]:
    """Return a type for argparse: a whole number from 1."""

    def number(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
        if not 1 <= value <= most:
            raise argparse.ArgumentTypeError(f"expected a number from 1 to {most}, came {text!r}")
        return value

    return number
