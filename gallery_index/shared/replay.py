"""From a backup to a shared gallery: every entry enrolled again, as it was.

Rows are handed out anew, in the order of the old ones. What is there already is passed over, so an
interrupted replay is repeated; the gallery may be served meanwhile.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gallery_index.backup.manifest import read_manifest
from gallery_index.backup.parts import check_part, read_part
from gallery_index.shared.gallery import SharedGallery

OnProgress = Callable[[int, int], object]
_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """How many entries the backup holds, and how many of them were there already."""

    gallery_id: str
    entries: int
    known: int


def replay(
    backup: Path,
    open_gallery: Callable[[str, int], SharedGallery],
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> ReplayReport:
    """Enrol the entries of a backup; `open_gallery` is given its model and embedding dimension.

    Raises: GalleryMismatchError if there is no finished backup, GalleryCorruptError naming the
    damaged file, EntryConflictError for an id that another crop has, StorageFullError,
    StoreUnavailableError: repeat it then.
    """
    manifest = read_manifest(backup)
    for part in manifest.parts:
        check_part(backup, part)
    gallery = open_gallery(manifest.model_id, manifest.embedding_dim)
    done = known = 0
    try:
        for part in manifest.parts:
            entries = read_part(backup, manifest, part)
            while some := list(islice(entries, _AT_ONCE)):
                known += len(some) - gallery.take_in(some)
                done += len(some)
                on_progress(done, manifest.entries)
    finally:
        gallery.close()
    return ReplayReport(manifest.gallery_id, done, known)
