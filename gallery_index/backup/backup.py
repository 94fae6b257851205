"""Copies a gallery into a backup, whether it is being served or not.

Owns the order of the copy and what is left out of it. A backup appears whole under its name or not
at all.
"""

import shutil
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gallery_index.backup.manifest import BackupManifest, Part, write_manifest
from gallery_index.backup.parts import PartWriter
from gallery_index.backup.source import BackupSource, opened_beside
from gallery_index.errors import GalleryCorruptError, GalleryMismatchError
from gallery_index.files.directory_lock import DirectoryLock
from gallery_index.files.durable_files import make_directory, storage_errors, sync_directory
from gallery_index.records import GalleryEntry

OnProgress = Callable[[int, int], object]
"""Told how many entries are done, and of how many."""

_ENTRIES_A_PART = 16_384
_NAMED_DAMAGES = 20


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds.

    `deleted_meanwhile` counts entries left out for being deleted, `without_vector` those that have
    none by the model that is searched.
    """

    gallery_id: str
    model_id: str
    entries: int
    deleted_meanwhile: int
    without_vector: int
    bytes: int


def ignore_progress(done: int, total: int) -> None:
    """Take no notice of progress."""


def back_up(
    directory: Path,
    out: Path,
    *,
    redis_url: str | None = None,
    on_progress: OnProgress = ignore_progress,
    entries_a_part: int = _ENTRIES_A_PART,
) -> BackupReport:
    """Copy the gallery of `directory` into the new directory `out`.

    It holds what was acknowledged before the call, less what has been deleted before its end.
    Raises: GalleryMismatchError if there is no such gallery or `out` is not free,
    GalleryCorruptError naming what is damaged, StorageFullError, StoreUnavailableError; nothing is
    left in `out` then.
    """
    with opened_beside(directory, redis_url) as source, _whole_or_nothing(out) as unfinished:
        found = len(source)
        copy = _Copy(source, unfinished, on_progress, entries_a_part)
        copy.run()
        manifest = BackupManifest(
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            gallery_id=source.identity.gallery_id,
            model_id=source.identity.model_id,
            embedding_dim=source.identity.embedding_dim,
            next_row=source.next_row,
            entries=sum(part.entries for part in copy.parts),
            parts=tuple(copy.parts),
        )
        write_manifest(unfinished, manifest)
    return BackupReport(
        manifest.gallery_id, manifest.model_id, manifest.entries, found - manifest.entries,
        source.left_out, manifest.bytes,
    )  # fmt: skip


class _Copy:
    """Writes the parts; those that held something deleted meanwhile a second time, without it."""

    def __init__(
        self, source: BackupSource, directory: Path, on_progress: OnProgress, entries_a_part: int
    ) -> None:
        self.parts: list[Part] = []
        self._source, self._directory = source, directory
        self._on_progress, self._entries_a_part = on_progress, entries_a_part
        self._last_rows: list[int] = []
        self._done, self._total = 0, len(source)

    def run(self) -> None:
        last_row = -1
        while entries := self._source.entries_after(last_row, self._entries_a_part):
            self.parts.append(self._write(len(self.parts), entries))
            last_row = entries[-1].row
            self._last_rows.append(last_row)
        copied = self._deleted() - self._source.unreadable.keys()
        for number in sorted({bisect_left(self._last_rows, row) for row in copied}):
            entries = self._entries_of(number)
            self._total += len(entries)
            self.parts[number] = self._write(number, entries)
        self._deleted()

    def _write(self, number: int, entries: Sequence[GalleryEntry]) -> Part:
        with PartWriter(self._directory, number) as writer:
            for kept in self._source.read(entries):
                writer.add(kept)
                self._done += 1
                self._on_progress(self._done, self._total)
            return writer.finish()

    def _entries_of(self, number: int) -> list[GalleryEntry]:
        before = self._last_rows[number - 1] if number else -1
        found = self._source.entries_after(before, self._entries_a_part)
        return [entry for entry in found if entry.row <= self._last_rows[number]]

    def _deleted(self) -> set[int]:
        """Return the rows deleted since. Raises: GalleryCorruptError for what is unreadable yet."""
        deleted = self._source.forget_deleted()
        damage = self._source.damage()
        if damage:
            raise GalleryCorruptError(
                f"{len(damage)} entries cannot be read, so there is no backup:"
                f" {'; '.join(damage[:_NAMED_DAMAGES])}"
            )
        return deleted


@contextmanager
def _whole_or_nothing(out: Path) -> Iterator[Path]:
    """Give a directory beside `out` that takes its name at the end, and goes if anything fails."""
    out = out.resolve()
    if out.is_mount() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise GalleryMismatchError(f"{out} is there already: name a new directory for the backup")
    unfinished = out.with_name(f"{out.name}.unfinished")
    make_directory(out.parent)
    with storage_errors(unfinished):
        unfinished.mkdir(exist_ok=True)
        lock = DirectoryLock(unfinished)
    try:
        with storage_errors(unfinished):
            _empty(unfinished)
        yield unfinished
        with storage_errors(out):
            (unfinished / "lock").unlink()
            sync_directory(unfinished)
            unfinished.rename(out)
            unfinished = out
            sync_directory(out.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    finally:
        lock.release()


def _empty(unfinished: Path) -> None:
    """Remove what a killed backup left."""
    for path in unfinished.iterdir():
        if path.name != "lock":
            path.unlink()
