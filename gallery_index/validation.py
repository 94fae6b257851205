"""The edge of the gallery: what may be stored and asked, checked once, with clear messages."""

import hashlib
import json
import math
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import EntryConflictError, InvalidEntryError
from gallery_index.records import (
    EntryChanges,
    EntryFilter,
    GalleryEntry,
    JsonScalar,
    JsonValue,
    Names,
    NewEntry,
    Unset,
)

MODALITIES = ("visible", "infrared")
MAX_TOP_K = 1000
MAX_LIMIT = 1000
_ENTRY_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MAX_NAME = 256
_MAX_ATTRIBUTES_BYTES = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class PreparedEntry:
    """A new entry that may be stored: named, hashed, its vector normalised and in fp16."""

    entry_id: str
    vector: NDArray[np.float16]
    crop_sha256: str
    captured_at: datetime | None
    source: NewEntry
    model_id: str = ""
    other_vector: NDArray[np.float16] | None = None


def prepare(new: NewEntry, dim: int, model_id: str = "") -> PreparedEntry:
    """Check a new entry, whose vector is of a model. Raises: InvalidEntryError."""
    if not new.crop:
        raise InvalidEntryError("crop: expected the bytes of an image, got none")
    check_modality(new.modality)
    _check_name("person_id", new.person_id)
    _check_name("camera_id", new.camera_id)
    _check_attributes(new.attributes)
    other = new.other_embedding
    return PreparedEntry(
        entry_id=_new_entry_id() if new.entry_id is None else check_entry_id(new.entry_id),
        vector=normalised(new.embedding, dim, "embedding").astype(np.float16),
        crop_sha256=hashlib.sha256(new.crop).hexdigest(),
        captured_at=_in_utc("captured_at", new.captured_at),
        source=new,
        model_id=model_id,
        other_vector=None
        if other is None
        else normalised(other, len(other), "other_embedding").astype(np.float16),
    )


def entries_of(items: Sequence[PreparedEntry], first_row: int, model_id: str) -> list[GalleryEntry]:
    """Return the entries that prepared ones become at adjacent rows, enrolled now."""
    now = datetime.now(UTC)
    return [_entry_of(item, row, model_id, now) for row, item in enumerate(items, first_row)]


def _entry_of(item: PreparedEntry, row: int, model_id: str, now: datetime) -> GalleryEntry:
    return GalleryEntry(
        entry_id=item.entry_id,
        person_id=item.source.person_id,
        camera_id=item.source.camera_id,
        modality=item.source.modality,
        captured_at=item.captured_at,
        attributes=item.source.attributes,
        model_id=model_id,
        crop_sha256=item.crop_sha256,
        media_type=item.source.media_type if item.source.keep_crop else "",
        enrolled_at=now,
        row=row,
    )


def check_same(entry: GalleryEntry, crop_sha256: str, modality: str) -> None:
    """Check that an entry is of this crop and modality. Raises: EntryConflictError."""
    if entry.crop_sha256 != crop_sha256:
        raise EntryConflictError(f"entry id {entry.entry_id!r} is taken by another crop")
    if entry.modality != modality:
        raise EntryConflictError(
            f"entry id {entry.entry_id!r} is taken by this crop as {entry.modality},"
            f" it came as {modality}"
        )


def changed_fields(changes: EntryChanges) -> dict[str, Any]:
    """Return the fields to replace, checked. Raises: InvalidEntryError."""
    fields: dict[str, Any] = {}
    for name in ("person_id", "camera_id"):
        value = getattr(changes, name)
        if not isinstance(value, Unset):
            _check_name(name, value)
            fields[name] = value
    if not isinstance(changes.captured_at, Unset):
        fields["captured_at"] = _in_utc("captured_at", changes.captured_at)
    if not isinstance(changes.attributes, Unset):
        attributes = changes.attributes or {}
        _check_attributes(attributes)
        fields["attributes"] = attributes
    return fields


def check_filter(filter: EntryFilter) -> None:
    """Check the fields of a filter. Raises: InvalidEntryError."""
    for name in ("person_id", "exclude_person_id", "camera_id", "exclude_camera_id"):
        _check_names(name, getattr(filter, name))
    _check_wanted_attributes(filter.attributes)
    if filter.modality is not None:
        check_modality(filter.modality)
    _in_utc("captured_after", filter.captured_after)
    _in_utc("captured_before", filter.captured_before)


def check_entry_id(entry_id: str) -> str:
    """Return the id if it can be one. Raises: InvalidEntryError."""
    if not _ENTRY_ID.fullmatch(entry_id):
        raise InvalidEntryError(
            f"entry_id: expected 1 to 128 of A-Z a-z 0-9 . _ : -, got {entry_id[:140]!r}"
        )
    return entry_id


def check_model_id(model_id: str) -> str:
    """Return the model id if rows can hold it. Raises: InvalidEntryError."""
    if not (model_id.isascii() and model_id.isprintable() and 1 <= len(model_id) <= 128):
        raise InvalidEntryError(
            f"model_id: expected 1 to 128 printable ASCII characters, got {model_id[:140]!r}"
        )
    return model_id


def check_modality(modality: str) -> None:
    """Check a modality. Raises: InvalidEntryError."""
    if modality not in MODALITIES:
        raise InvalidEntryError(f"modality: expected visible or infrared, got {modality!r}")


def check_count(name: str, value: int, maximum: int) -> None:
    """Check a count of results. Raises: InvalidEntryError."""
    if not 1 <= value <= maximum:
        raise InvalidEntryError(f"{name}: expected 1 to {maximum}, got {value}")


def check_similarity(value: float | None) -> None:
    """Check a least similarity. Raises: InvalidEntryError."""
    if value is not None and not math.isfinite(value):
        raise InvalidEntryError(f"min_similarity: expected a finite number, got {value}")


def normalised(vector: NDArray[np.float32], dim: int, name: str) -> NDArray[np.float32]:
    """Return a vector (D,) at length one. Raises: InvalidEntryError for what has no direction."""
    if vector.shape != (dim,):
        raise InvalidEntryError(
            f"{name}: expected {dim} dimensions, got an array of shape {vector.shape}"
        )
    wide = vector.astype(np.float64)
    # Not `linalg.norm`: BLAS splits even one vector over threads that wait for one another.
    length = math.sqrt(float((wide * wide).sum()))
    if not math.isfinite(length) or length == 0.0:
        raise InvalidEntryError(f"{name}: expected a finite vector with a length, got {length}")
    return (wide / length).astype(np.float32)


def _new_entry_id() -> str:
    """Milliseconds, then 80 random bits, in 32 hex digits: ids sort by time."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def _check_name(field: str, value: str | None) -> None:
    if value is not None and not (0 < len(value) <= _MAX_NAME and value.isprintable()):
        raise InvalidEntryError(
            f"{field}: expected 1 to {_MAX_NAME} printable characters, got {value[:80]!r}"
        )


def _check_names(field: str, names: Names | None) -> None:
    if isinstance(names, str | None):
        _check_name(field, names)
        return
    if not isinstance(names, tuple) or not names:
        raise InvalidEntryError(f"{field}: expected a name or a tuple of names, got {names!r:.80}")
    for name in names:
        if not isinstance(name, str):
            raise InvalidEntryError(f"{field}: expected names, got {name!r:.80}")
        _check_name(field, name)


def _check_wanted_attributes(attributes: Mapping[str, JsonScalar]) -> None:
    if not isinstance(attributes, Mapping):
        raise InvalidEntryError(
            f"attributes: expected names with the values they must have, got {attributes!r:.80}"
        )
    for key, value in attributes.items():
        if not isinstance(key, str):
            raise InvalidEntryError(f"attributes: expected names as keys, got {key!r:.80}")
        if not isinstance(value, bool | int | float | str | None) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise InvalidEntryError(
                f"attributes: expected text, a finite number, true, false or null for {key!r:.80},"
                f" got {value!r:.80}"
            )


def _check_attributes(attributes: dict[str, JsonValue]) -> None:
    try:
        text = json.dumps(attributes, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEntryError(f"attributes: expected a JSON object: {error}") from error
    if not isinstance(attributes, dict) or len(text) > _MAX_ATTRIBUTES_BYTES:
        raise InvalidEntryError(
            f"attributes: expected a JSON object of at most {_MAX_ATTRIBUTES_BYTES} bytes,"
            f" got {len(text)}"
        )


def _in_utc(field: str, value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise InvalidEntryError(f"{field}: expected a time with its offset from UTC, got {value}")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise InvalidEntryError(f"{field}: {value} lies outside the calendar") from error
