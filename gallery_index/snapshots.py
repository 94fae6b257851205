"""Snapshots of the index: a copy that spares the next opening a rebuild, and may always go.

`snapshots/<rows>-<token>.index`, then `.json` beside it: rows covered, size, checksum, gallery,
model, dimension. The manifest is written last, so a snapshot without one was never finished. Two
are kept. Anything that does not agree is refused with a reason; it is never repaired or trusted.
"""

import json
import os
import uuid
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import faiss

from gallery_index.durable_files import (
    make_directory,
    replace_file,
    storage_errors,
    sync_directory,
    write_at,
)
from gallery_index.errors import GalleryCorruptError, GalleryError
from gallery_index.records import GalleryIdentity
from gallery_index.vector_index import KIND, VectorIndex

_KEPT = 2
_FORMAT = 1
_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class SnapshotManifest:
    """What a snapshot claims to be."""

    format: int
    kind: str
    rows: int
    bytes: int
    checksum: int
    gallery_id: str
    model_id: str
    embedding_dim: int


class Snapshots:
    """The snapshots of one gallery directory."""

    def __init__(self, directory: Path, identity: GalleryIdentity) -> None:
        self.directory = directory
        self._identity = identity
        make_directory(directory)

    def write(self, index: VectorIndex) -> None:
        """Write a snapshot, durably, then let the older ones go but for one.

        Raises: StorageFullError, GalleryError; the earlier snapshots stand then.
        """
        path = self.directory / f"{len(index):012d}-{uuid.uuid4().hex[:8]}.index"
        with storage_errors(path):
            try:
                size, checksum = _write_index(path, index)
            except OSError:
                path.unlink(missing_ok=True)
                raise
        manifest = SnapshotManifest(
            _FORMAT, KIND, len(index), size, checksum, self._identity.gallery_id,
            self._identity.model_id, self._identity.embedding_dim,
        )  # fmt: skip
        try:
            replace_file(path.with_suffix(".json"), _encode(manifest))
        except GalleryError:
            path.unlink(missing_ok=True)
            raise
        for old in self.manifests()[_KEPT:]:
            self._remove(old)

    def manifests(self) -> list[Path]:
        """Return the manifests there are, newest first."""
        found = self.directory.glob("*.json")
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)

    def load(self, manifest_path: Path, rows: int) -> VectorIndex:
        """Return the index of a snapshot that covers at most `rows` rows.

        Raises: GalleryCorruptError naming what does not agree.
        """
        manifest = self.check(manifest_path, rows)
        index = faiss.read_index(str(manifest_path.with_suffix(".index")))
        if index.ntotal != manifest.rows or index.d != manifest.embedding_dim:
            raise GalleryCorruptError(
                f"{manifest_path} promises {manifest.rows} x {manifest.embedding_dim},"
                f" its index is {index.ntotal} x {index.d}"
            )
        return VectorIndex(index.d, index)

    def check(self, manifest_path: Path, rows: int) -> SnapshotManifest:
        """Return a snapshot's manifest if all of it agrees. Raises: GalleryCorruptError."""
        manifest = _decode(manifest_path)
        expected = (
            _FORMAT, KIND, self._identity.gallery_id, self._identity.model_id,
            self._identity.embedding_dim,
        )  # fmt: skip
        found = (
            manifest.format, manifest.kind, manifest.gallery_id, manifest.model_id,
            manifest.embedding_dim,
        )  # fmt: skip
        if found != expected:
            raise GalleryCorruptError(f"{manifest_path} is of {found}, expected {expected}")
        if manifest.rows > rows:
            raise GalleryCorruptError(
                f"{manifest_path} covers {manifest.rows} rows of {rows} committed ones"
            )
        path = manifest_path.with_suffix(".index")
        if not path.exists() or _checksum(path) != (manifest.bytes, manifest.checksum):
            raise GalleryCorruptError(f"{path} fails its checksum")
        return manifest

    def discard(self) -> None:
        """Remove every snapshot, durably: they hold vectors that must go."""
        for path in self.manifests():
            self._remove(path)
        self.remove_unfinished()

    def remove_unfinished(self) -> None:
        """Remove what a crash in the middle of writing left."""
        with storage_errors(self.directory):
            for path in list(self.directory.iterdir()):
                if path.suffix != ".json" and not path.with_suffix(".json").exists():
                    path.unlink()
            sync_directory(self.directory)

    def _remove(self, manifest_path: Path) -> None:
        with storage_errors(manifest_path):
            manifest_path.unlink()
            manifest_path.with_suffix(".index").unlink(missing_ok=True)
            sync_directory(self.directory)


def _write_index(path: Path, index: VectorIndex) -> tuple[int, int]:
    """Stream the serialised index to a new file; FAISS's own writer ignores a failing close."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    size, checksum = 0, 0
    failure: list[OSError] = []

    def write(data: bytes) -> None:
        nonlocal size, checksum
        try:
            write_at(descriptor, data, size)
        except OSError as error:  # FAISS would turn it into a RuntimeError
            failure.append(error)
            raise
        size += len(data)
        checksum = zlib.crc32(data, checksum)

    try:
        writer = faiss.PyCallbackIOWriter(write, _BLOCK_BYTES)  # type: ignore[attr-defined]
        faiss.write_index(index.faiss_index, writer)
        os.fsync(descriptor)
        temporary.replace(path)
        sync_directory(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if failure:
            raise failure[0] from error
        raise
    finally:
        os.close(descriptor)
    return size, checksum


def _checksum(path: Path) -> tuple[int, int]:
    size, checksum = 0, 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            size += len(block)
            checksum = zlib.crc32(block, checksum)
    return size, checksum


def _encode(manifest: SnapshotManifest) -> bytes:
    body = json.dumps(asdict(manifest), sort_keys=True)
    return json.dumps({"manifest": body, "checksum": zlib.crc32(body.encode())}).encode()


def _decode(path: Path) -> SnapshotManifest:
    try:
        outer = json.loads(path.read_bytes())
        if zlib.crc32(outer["manifest"].encode()) != outer["checksum"]:
            raise GalleryCorruptError(f"{path} fails its checksum")
        return SnapshotManifest(**json.loads(outer["manifest"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GalleryCorruptError(f"{path} is not a snapshot manifest: {error}") from error
