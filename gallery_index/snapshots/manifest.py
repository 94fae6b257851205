"""The manifest of a snapshot: what its data file holds, and what it stands on.

Written last; sealed with a checksum. Owns the format; the data are `data`'s.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import GalleryCorruptError
from gallery_index.records import GalleryIdentity
from gallery_index.stores.record_codec import StoreHead

CODES, QUANTIZER, RECALL = "codes", "quantizer", "recall"
"""The sections that are not the table's."""
BLOCK = 1 << 16
"""Bytes of the data file that share a checksum."""
AT_ONCE = 1 << 22
"""Bytes that are read or written at once."""
_FORMAT = 2

Sections = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Section:
    """Where an array lies in the data file."""

    name: str
    dtype: str
    shape: list[int]
    offset: int

    @property
    def bytes(self) -> int:
        """Its size."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a snapshot claims to be."""

    path: Path
    identity: GalleryIdentity
    head: StoreHead
    sections: list[Section]
    blocks: int

    @property
    def data_path(self) -> Path:
        """Where its arrays are."""
        return self.path.with_suffix(".data")

    def section(self, name: str) -> Section:
        """Return a section by its name."""
        return next(section for section in self.sections if section.name == name)


def encode_manifest(
    identity: GalleryIdentity, head: StoreHead, sections: Sequence[Section], blocks: int
) -> bytes:
    """Return the bytes of a manifest."""
    body = json.dumps(
        {
            "format": _FORMAT,
            "identity": _fields(identity),
            "head": _fields(head),
            "sections": [_fields(section) for section in sections],
            "blocks": blocks,
        }
    )
    return json.dumps({"manifest": body, "checksum": zlib.crc32(body.encode())}).encode()


def decode_manifest(path: Path) -> Snapshot:
    """Read a manifest. Raises: GalleryCorruptError."""
    try:
        outer = json.loads(path.read_bytes())
        if zlib.crc32(outer["manifest"].encode()) != outer["checksum"]:
            raise GalleryCorruptError(f"{path} fails its checksum")
        fields = json.loads(outer["manifest"])
        if fields["format"] != _FORMAT:
            raise GalleryCorruptError(f"{path} is of format {fields['format']}, expected {_FORMAT}")
        return Snapshot(
            path=path,
            identity=GalleryIdentity(**fields["identity"]),
            head=StoreHead(**fields["head"]),
            sections=[Section(**section) for section in fields["sections"]],
            blocks=fields["blocks"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GalleryCorruptError(f"{path} is not a snapshot manifest: {error}") from error


def seal(sums: bytes) -> bytes:
    """Return the checksum of the table of checksums."""
    return zlib.crc32(sums).to_bytes(4, "little")


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}
