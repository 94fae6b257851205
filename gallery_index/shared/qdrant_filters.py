"""What Qdrant knows of an entry beside its vector, and filters in its terms.

A filter may let through more than `EntryFilter` means (times are compared as floats), never less:
whatever it finds is compared with its record.
"""

import json
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from gallery_index.records import EntryFilter, GalleryEntry, JsonValue, Names
from gallery_index.shared.record_filters import names

CHECKSUM = "vector_crc32"
INDEXED = {
    "person_id": models.PayloadSchemaType.KEYWORD,
    "camera_id": models.PayloadSchemaType.KEYWORD,
    "modality": models.PayloadSchemaType.KEYWORD,
    "attributes": models.PayloadSchemaType.KEYWORD,
    "captured_at": models.PayloadSchemaType.INTEGER,
}
"""The fields that filters ask for, and how Qdrant is to index them."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SLACK_US = 64  # a float64 of microseconds is that near, up to the year 9999


def payload_of(entry: GalleryEntry) -> dict[str, Any]:
    """Return what filters ask of an entry; `None` where it says nothing.

    Qdrant takes a field away where a change sets it to null.
    """
    return {
        "entry_id": entry.entry_id,
        "person_id": entry.person_id,
        "camera_id": entry.camera_id,
        "modality": entry.modality,
        "captured_at": None if entry.captured_at is None else _microseconds(entry.captured_at),
        "attributes": sorted(_token(name, value) for name, value in entry.attributes.items()),
    }


def checksum(vector: NDArray[np.float16]) -> int:
    """Return the CRC-32 of a stored vector (D,)."""
    return zlib.crc32(np.ascontiguousarray(vector).tobytes())


def filter_of(wanted: EntryFilter, *, also_rows: Sequence[int] = ()) -> models.Filter | None:
    """Return a filter that lets through what is wanted, and `also_rows` whatever they are."""
    must: list[Any] = []
    must_not: list[Any] = []
    for field in ("person_id", "camera_id", "modality"):
        must += _named(field, getattr(wanted, field))
    for field in ("person_id", "camera_id"):
        must_not += _named(field, getattr(wanted, f"exclude_{field}") or None)
    for name, value in wanted.attributes.items():
        must.append(_is_any("attributes", [_token(name, value)]))
    must += _captured(wanted)
    if not must and not must_not:
        return None
    found = models.Filter(must=must or None, must_not=must_not or None)
    if not also_rows:
        return found
    return models.Filter(should=[found, models.HasIdCondition(has_id=list(also_rows))])


def _named(field: str, wanted: Names | None) -> list[models.FieldCondition]:
    return [] if wanted is None else [_is_any(field, names(wanted))]


def _is_any(field: str, values: Sequence[str]) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))


def _captured(wanted: EntryFilter) -> list[models.FieldCondition]:
    after, before = wanted.captured_after, wanted.captured_before
    if after is None and before is None:
        return []
    return [
        models.FieldCondition(
            key="captured_at",
            range=models.Range(
                gte=None if after is None else float(_microseconds(after) - _SLACK_US),
                lte=None if before is None else float(_microseconds(before) + _SLACK_US),
            ),
        )
    ]


def _token(name: str, value: JsonValue) -> str:
    """Return one text for a name and all forms of one JSON value."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps([name, value], ensure_ascii=False, separators=(",", ":"))


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
