"""What is recorded: one call of the service, asked for or done, as a frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pydantic_core import to_json

Phase: TypeAlias = Literal["asked", "done"]


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """An entry that an answer showed, and how like the query it is."""

    entry_id: str
    person_id: str | None
    similarity: float


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One call. Holds ids, filters and digests; never an image, an embedding or a key.

    `call` is the method and the route's template (`DELETE /persons/{person_id}`). `asked` is
    written before a call begins, `done` before its answer goes out. `client` is the address that
    the request came from. `person_ids` and `entry_ids` are those that the call names or changes;
    `fields` are its other fields as the client sent them or as they default; `crops` the SHA-256 of
    each image in hex; `counts` what became of the parts of a batch, by outcome. Of a query: `shown`
    are its matches, `unknown` whether there are none, `thresholds` the least similarities that the
    rate in its fields demanded, by kind of pair.
    """

    call: str
    phase: Phase
    request_id: str
    caller: str
    key_id: str
    client: str | None = None
    status: int | None = None
    code: str | None = None
    person_ids: tuple[str, ...] = ()
    entry_ids: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    crops: tuple[str, ...] = ()
    shown: tuple[ShownEntry, ...] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    unknown: bool | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileBegun:
    """The first line of each file: why it was begun, and what was wrong with the one before."""

    reason: Literal["start", "day", "size", "failure"]
    note: str | None = None


@dataclass(frozen=True, slots=True)
class FileExpired:
    """A whole file was older than the log is kept; `last_hash` is that of its last line."""

    file: str
    last_sequence: int | None
    last_hash: str | None


def body_of(event: AuditEvent | FileBegun | FileExpired) -> bytes:
    """Return an event as a JSON object in one line; what is empty is left out."""
    match event:
        case AuditEvent():
            values = _call(event)
        case FileBegun():
            values = {"kind": "file", "format": 1, "reason": event.reason, "note": event.note}
        case FileExpired():
            values = {
                "kind": "expired",
                "file": event.file,
                "last_sequence": event.last_sequence,
                "last_hash": event.last_hash,
            }
    return to_json({name: value for name, value in values.items() if value is not None})


def _call(event: AuditEvent) -> dict[str, Any]:
    shown = event.shown
    return {
        "kind": "call",
        "phase": event.phase,
        "call": event.call,
        "status": event.status,
        "code": event.code,
        "caller": event.caller,
        "key_id": event.key_id or None,
        "client": event.client,
        "request_id": event.request_id,
        "person_ids": event.person_ids or None,
        "entry_ids": event.entry_ids or None,
        "fields": event.fields or None,
        "crops": event.crops or None,
        "counts": event.counts or None,
        "unknown": event.unknown,
        "thresholds": {pair: round(least, 6) for pair, least in event.thresholds.items()} or None,
        "shown": None
        if shown is None
        else [
            {
                "entry_id": entry.entry_id,
                "person_id": entry.person_id,
                "similarity": round(entry.similarity, 6),
            }
            for entry in shown
        ],
    }
