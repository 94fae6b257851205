"""Records as text with a checksum, the same in every metadata store.

A value is eight hex digits of CRC-32, then JSON. Owns the format; knows no store.
"""

import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gallery_index.errors import GalleryCorruptError
from gallery_index.records import GalleryEntry, GalleryIdentity


@dataclass(frozen=True, slots=True)
class StoreHead:
    """What changes with every commit: its token, rows ever written, entries alive."""

    token: str
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


def decode_entry(text: str, *, key: str) -> GalleryEntry:
    """Decode the entry stored under `key`. Raises: GalleryCorruptError naming the key."""
    fields = _unseal(text, f"record of entry {key!r}")
    if fields["entry_id"] != key:
        raise GalleryCorruptError(
            f"the record under entry id {key!r} is that of {fields['entry_id']!r}"
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
            "gallery_id": identity.gallery_id,
            "model_id": identity.model_id,
            "embedding_dim": identity.embedding_dim,
            "store": identity.store,
        }
    )


def decode_identity(text: str) -> GalleryIdentity:
    """Decode what a gallery is. Raises: GalleryCorruptError."""
    fields = _unseal(text, "identity of the gallery")
    return GalleryIdentity(
        fields["gallery_id"], fields["model_id"], fields["embedding_dim"], fields["store"]
    )


def encode_head(head: StoreHead) -> str:
    """Encode the head of a store."""
    return _seal({"token": head.token, "next_row": head.next_row, "entries": head.entries})


def decode_head(text: str) -> StoreHead:
    """Decode the head of a store. Raises: GalleryCorruptError."""
    fields = _unseal(text, "head of the metadata store")
    return StoreHead(fields["token"], fields["next_row"], fields["entries"])


def encode_pending(entry_id: str) -> str:
    """Encode an erasure that still has to reach the files."""
    return _seal({"entry_id": entry_id})


def decode_pending(text: str, *, row: int) -> str:
    """Decode the id of the entry whose row is to be erased. Raises: GalleryCorruptError."""
    return str(_unseal(text, f"pending erasure of row {row}")["entry_id"])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _seal(fields: dict[str, Any]) -> str:
    body = json.dumps(fields, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return f"{zlib.crc32(body.encode('ascii')):08x}{body}"


def _unseal(text: str, what: str) -> dict[str, Any]:
    checksum, body = text[:8], text[8:]
    if f"{zlib.crc32(body.encode('utf-8', 'surrogatepass')):08x}" != checksum:
        raise GalleryCorruptError(f"{what} in the metadata store fails its checksum")
    fields: dict[str, Any] = json.loads(body)
    return fields
