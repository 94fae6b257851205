"""Snapshots: what memory holds of a gallery, so that an opening need not read it all anew.

`snapshots/<commit>-<number>.data`, then `.json` beside it: one commit may have several, the last
counts. The data are the table's columns and the first stage's codes, in sections; after them a
CRC-32 of each block of 64 KiB, so that an erased entry can be overwritten in place and a damaged
block of codes costs no more than itself. The manifest is written last: which gallery, model and
dimension, on which head of the metadata store. A snapshot without one was never finished. Two are
kept, and may always go. Anything that does not agree is refused with a reason; it is never trusted.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gallery_index.errors import GalleryCorruptError, GalleryError
from gallery_index.files.durable_files import make_directory, storage_errors, sync_directory
from gallery_index.records import GalleryIdentity
from gallery_index.snapshots.manifest import Snapshot, decode_manifest
from gallery_index.snapshots.writer import SnapshotWriter
from gallery_index.stores.record_codec import StoreHead

KEPT = 2


class Snapshots:
    """The snapshots of one gallery directory."""

    def __init__(self, directory: Path, identity: GalleryIdentity) -> None:
        self.directory = directory
        self._identity = identity
        self._names_in_doubt = False
        make_directory(directory)

    def begin(self, head: StoreHead) -> SnapshotWriter:
        """Start a snapshot of what memory is on this head of the store."""
        taken = [
            number
            for commit, number in map(_place, self.directory.iterdir())
            if commit == head.commit
        ]
        name = f"{head.commit:012d}-{max(taken, default=0) + 1:06d}.json"
        return SnapshotWriter(self.directory / name, self._identity, head)

    def manifests(self) -> list[Path]:
        """Return the manifests there are, newest first."""
        return sorted(self.directory.glob("*.json"), key=_place, reverse=True)

    def read(self, manifest: Path) -> Snapshot:
        """Return what a snapshot claims to be. Raises: GalleryCorruptError."""
        snapshot = decode_manifest(manifest)
        if snapshot.identity != self._identity:
            raise GalleryCorruptError(
                f"{manifest} is of {snapshot.identity}, expected {self._identity}"
            )
        return snapshot

    def let_go(self, kept: int = KEPT) -> int:
        """Remove all but the newest; returns the oldest commit that a kept one stands on."""
        manifests = self.manifests()
        for old in manifests[kept:]:
            self.remove(old)
        return _place(manifests[:kept][-1])[0]

    def remove(self, manifest: Path) -> None:
        """Remove a snapshot, durably."""
        with storage_errors(manifest):
            self._names_in_doubt = True
            manifest.unlink(missing_ok=True)
            manifest.with_suffix(".data").unlink(missing_ok=True)
            self._settle_names()

    def settle(self) -> None:
        """Make certain that what was removed does not come back: nothing is erased in it any more.

        Raises: StorageFullError, GalleryError.
        """
        with storage_errors(self.directory):
            if self._names_in_doubt:
                self._settle_names()

    def _settle_names(self) -> None:
        sync_directory(self.directory)
        self._names_in_doubt = False

    def clear(self) -> None:
        """Remove every snapshot, durably; what a crash leaves of that, another call removes."""
        with storage_errors(self.directory):
            self._names_in_doubt = True
            for path in sorted(self.directory.iterdir(), reverse=True):  # manifests first
                path.unlink()
            self._settle_names()

    def remove_unfinished(self) -> None:
        """Remove what a crash in the middle of writing left."""
        with storage_errors(self.directory):
            for path in list(self.directory.iterdir()):
                if path.suffix != ".json" and not path.with_suffix(".json").exists():
                    path.unlink()
            sync_directory(self.directory)


def begin_snapshot(
    snapshots: Snapshots, head: StoreHead, sections: Mapping[str, NDArray[Any]]
) -> SnapshotWriter:
    """Begin a snapshot with all but the codes; these may follow while others write.

    Raises: StorageFullError, GalleryError; nothing of it is left then.
    """
    writer = snapshots.begin(head)
    try:
        for name, array in sections.items():
            writer.add(name, array)
    except GalleryError:
        writer.abandon()
        raise
    return writer


def _place(path: Path) -> tuple[int, int]:
    """Return the commit and number in a file's name, the order of snapshots; -1 for other names."""
    commit, _, number = path.stem.partition("-")
    return (
        int(commit) if commit.isdecimal() else -1,
        int(number) if number.isdecimal() else -1,
    )
