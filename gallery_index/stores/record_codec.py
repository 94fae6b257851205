"""Records as text with a checksum, the same in every metadata store.

A value is eight hex digits of CRC-32, then JSON. Owns the format; knows no store.
"""

import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gallery_index.errors import GalleryCorruptError, GalleryMismatchError
from gallery_index.records import GalleryEntry, GalleryIdentity

# Made once: a million records are written and read through them.
_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder()

FORMAT = 2  # of directories and stores: 1 kept records by entry id and had no history


@dataclass(frozen=True, slots=True)
class StoreHead:
    """What changes with every commit: its token and number, rows ever written, entries alive.

    Numbers grow by one; the token is the commit's alone, also among stores that share a past.
    """

    token: str
    commit: int
    next_row: int
    entries: int


def encode_entry(entry: GalleryEntry) -> str:
    """Encode an entry; times as ISO 8601 in UTC."""
    return _seal(
        {
            "entry_id": entry.entry_id,
            "person_id": entry.person_id,
            "camera_id": entry.camera_id,
            "modality": entry.modality,
            "captured_at": entry.captured_at.isoformat() if entry.captured_at else None,
            "attributes": entry.attributes,
            "model_id": entry.model_id,
            "crop_sha256": entry.crop_sha256,
            "media_type": entry.media_type,
            "enrolled_at": entry.enrolled_at.isoformat(),
            "row": entry.row,
        }
    )


def decode_entry(text: str, *, row: int) -> GalleryEntry:
    """Decode the entry stored under `row`. Raises: GalleryCorruptError naming the row."""
    fields = _unseal(text, f"record of row {row}")
    if fields["row"] != row:
        raise GalleryCorruptError(
            f"the record under row {row} is that of row {fields['row']}"
            f" (entry {fields['entry_id']!r})"
        )
    captured_at = fields["captured_at"]
    return GalleryEntry(
        entry_id=fields["entry_id"],
        person_id=fields["person_id"],
        camera_id=fields["camera_id"],
        modality=fields["modality"],
        captured_at=_time(captured_at) if captured_at else None,
        attributes=fields["attributes"],
        model_id=fields["model_id"],
        crop_sha256=fields["crop_sha256"],
        media_type=fields["media_type"],
        enrolled_at=_time(fields["enrolled_at"]),
        row=fields["row"],
    )


def encode_identity(identity: GalleryIdentity) -> str:
    """Encode what a gallery is."""
    return _seal(
        {
            "format": FORMAT,
            "gallery_id": identity.gallery_id,
            "model_id": identity.model_id,
            "embedding_dim": identity.embedding_dim,
            "store": identity.store,
        }
    )


def decode_identity(text: str) -> GalleryIdentity:
    """Decode what a gallery is.

    Raises: GalleryCorruptError; GalleryMismatchError for a gallery of another format.
    """
    fields = _unseal(text, "identity of the gallery")
    found = fields.get("format", 1)  # format 1 did not say so
    if found != FORMAT:
        raise GalleryMismatchError(
            f"gallery {fields['gallery_id']} is of format {found}, this version reads format"
            f" {FORMAT}: open it with the version that wrote it, or enrol into a new directory"
        )
    return GalleryIdentity(
        fields["gallery_id"], fields["model_id"], fields["embedding_dim"], fields["store"]
    )


def encode_head(head: StoreHead) -> str:
    """Encode the head of a store."""
    return _seal(
        {
            "token": head.token,
            "commit": head.commit,
            "next_row": head.next_row,
            "entries": head.entries,
        }
    )


def decode_head(text: str) -> StoreHead:
    """Decode the head of a store. Raises: GalleryCorruptError."""
    fields = _unseal(text, "head of the metadata store")
    return StoreHead(fields["token"], fields["commit"], fields["next_row"], fields["entries"])


def encode_pending(entry_id: str) -> str:
    """Encode an erasure that still has to reach the files."""
    return _seal({"entry_id": entry_id})


def decode_pending(text: str, *, row: int) -> str:
    """Decode the id of the entry whose row is to be erased. Raises: GalleryCorruptError."""
    return str(_unseal(text, f"pending erasure of row {row}")["entry_id"])


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo is UTC else time.astimezone(UTC)


def _seal(fields: dict[str, Any]) -> str:
    body = _ENCODER.encode(fields)
    return f"{zlib.crc32(body.encode('ascii')):08x}{body}"


def _unseal(text: str, what: str) -> dict[str, Any]:
    checksum, body = text[:8], text[8:]
    if f"{zlib.crc32(body.encode('utf-8', 'surrogatepass')):08x}" != checksum:
        raise GalleryCorruptError(f"{what} in the metadata store fails its checksum")
    fields: dict[str, Any] = _DECODER.decode(body)
    return fields
