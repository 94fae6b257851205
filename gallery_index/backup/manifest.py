"""The manifest of a backup: what it is of, and size and SHA-256 of every file; written last.

A directory without one holds no backup. Owns the manifest; the files are `backup_parts`'s.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gallery_index.errors import GalleryCorruptError, GalleryMismatchError
from gallery_index.files.durable_files import replace_file

MANIFEST = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class FileSum:
    """A file of a backup, as it must be."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Part:
    """Some entries of a backup, adjacent by row, and the three files that hold them."""

    entries: int
    records: FileSum
    vectors: FileSum
    crops: FileSum

    @property
    def files(self) -> tuple[FileSum, FileSum, FileSum]:
        """Every file of the part."""
        return self.records, self.vectors, self.crops


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """What a backup is of. `next_row` counts the rows that were ever written, deleted ones too."""

    created_at: str
    gallery_id: str
    model_id: str
    embedding_dim: int
    next_row: int
    entries: int
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """Size of all files but the manifest."""
        return sum(file.bytes for part in self.parts for file in part.files)

    @property
    def digest(self) -> str:
        """SHA-256 in hex: which backup this is."""
        return hashlib.sha256(_canonical(asdict(self))).hexdigest()


def names_of_part(number: int) -> tuple[str, str, str]:
    """Return the names of a part's records, vectors and crops."""
    return f"records-{number:06d}.txt", f"vectors-{number:06d}.f16", f"crops-{number:06d}.tar"


def write_manifest(directory: Path, manifest: BackupManifest) -> None:
    """Finish a backup: all its files are there and durable. Raises: StorageFullError."""
    outer = {"backup": asdict(manifest), "format": _FORMAT, "sha256": manifest.digest}
    replace_file(directory / MANIFEST, json.dumps(outer, indent=1).encode("ascii"))


def read_manifest(directory: Path) -> BackupManifest:
    """Return what a backup is of; its files are there, with the sizes they must have.

    Raises: GalleryMismatchError if there is no finished backup, GalleryCorruptError naming the file
    that is damaged.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise GalleryMismatchError(f"there is no finished backup in {directory}: no {MANIFEST}")
    manifest = _decode_manifest(path)
    for file in (file for part in manifest.parts for file in part.files):
        check_size(directory / file.name, file)
    return manifest


def check_size(path: Path, file: FileSum) -> None:
    """Compare the size of a file with what it must be. Raises: GalleryCorruptError."""
    size = path.stat().st_size if path.is_file() else None
    if size != file.bytes:
        found = "is missing" if size is None else f"has {size} bytes"
        raise GalleryCorruptError(f"{path} {found}, expected {file.bytes} bytes")


def _decode_manifest(path: Path) -> BackupManifest:
    try:
        outer = json.loads(path.read_bytes())
        if outer["format"] != _FORMAT:
            raise GalleryMismatchError(
                f"{path} is of format {outer['format']!r}, expected {_FORMAT}"
            )
        fields = outer["backup"]
        parts = tuple(_decode_part(number, part) for number, part in enumerate(fields["parts"]))
        manifest = BackupManifest(**{**fields, "parts": parts})
        if manifest.digest != outer["sha256"]:
            raise GalleryCorruptError(f"{path} fails its checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GalleryCorruptError(f"{path} is not the manifest of a backup: {error}") from error
    return manifest


def _decode_part(number: int, fields: dict[str, Any]) -> Part:
    files = [FileSum(**fields[kind]) for kind in ("records", "vectors", "crops")]
    if tuple(file.name for file in files) != names_of_part(number):
        raise ValueError(f"part {number} names other files than its own")
    return Part(fields["entries"], *files)


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
