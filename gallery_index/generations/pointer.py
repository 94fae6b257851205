"""Which generations a gallery directory has: the file that a switch replaces, and their places.

`generation.json` names the generation that is searched and the one beside it, as folders of the
directory; without the file there is one, in the directory itself. Replacing it is the commit point
of a switch. Folders that it does not name were never finished, or dropped.
"""

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from gallery_index.errors import GalleryCorruptError, GalleryError
from gallery_index.files.durable_files import replace_file, storage_errors, sync_directory

VECTORS: Final = "vectors.bin"
SNAPSHOTS: Final = "snapshots"
STATE: Final = "filled.json"
GENERATIONS: Final = "generations"
POINTER: Final = "generation.json"
ROOT: Final = "."


@dataclass(frozen=True, slots=True)
class Generations:
    """Folders of the generations; `kept`: the other one was searched before."""

    active: str = ROOT
    other: str | None = None
    kept: bool = False

    def switched(self) -> "Generations":
        """Return what it is after a switch."""
        assert self.other is not None
        return Generations(self.other, self.active, kept=True)


def read_generations(directory: Path) -> Generations:
    """Return what a directory has. Raises: GalleryCorruptError for a file not to be trusted."""
    path = directory / POINTER
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        return Generations()
    except (OSError, UnicodeDecodeError) as error:
        raise GalleryCorruptError(f"{path} cannot be read: {error}") from error
    checksum, body = text[:8], text[8:]
    if f"{zlib.crc32(body.encode()):08x}" != checksum:
        raise GalleryCorruptError(f"{path} fails its checksum: restore the gallery from a backup")
    return Generations(**json.loads(body))


def write_generations(directory: Path, generations: Generations) -> None:
    """Replace what a directory has, durably. Raises: StorageFullError, GalleryError."""
    body = json.dumps(asdict(generations))
    replace_file(directory / POINTER, f"{zlib.crc32(body.encode()):08x}{body}".encode("ascii"))


def active_vectors(directory: Path) -> Path:
    """Return the vector file that is searched, there or not. Raises: GalleryCorruptError."""
    return directory / read_generations(directory).active / VECTORS


def new_folder(directory: Path) -> str:
    """Return a name for another generation that nothing has."""
    taken = {path.name for path in (directory / GENERATIONS).glob("*")}
    number = next(n for n in range(1, len(taken) + 2) if f"{n:04d}" not in taken)
    return f"{GENERATIONS}/{number:04d}"


def remove_others(directory: Path, generations: Generations) -> int:
    """Remove the files of generations that nothing names; returns the bytes freed.

    Raises: StorageFullError, GalleryError.
    """
    named = {generations.active, generations.other}
    freed = 0
    if ROOT not in named:
        for path in (directory / VECTORS, directory / SNAPSHOTS, directory / STATE):
            freed += _remove(path)
    for folder in (directory / GENERATIONS).glob("*"):
        if f"{GENERATIONS}/{folder.name}" not in named:
            freed += _remove(folder)
    return freed


def bytes_on_disk(path: Path) -> int:
    """Return what a file, or all files of a folder, take on the disk."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


def _remove(path: Path) -> int:
    if not path.exists():
        return 0
    freed = bytes_on_disk(path)
    with storage_errors(path):
        for part in sorted([path, *path.rglob("*")], reverse=True):
            part.rmdir() if part.is_dir() else part.unlink()
        sync_directory(path.parent)
    return freed


class Pointer:
    """The pointer file of a gallery that this process has open."""

    def __init__(self, directory: Path) -> None:
        """Read it. Raises: GalleryCorruptError."""
        self._directory = directory
        self.now = read_generations(directory)
        self._in_doubt = False

    def write(self, generations: Generations) -> None:
        """Make it so, durably. Raises: StorageFullError, GalleryError; then `settle` first."""
        try:
            write_generations(self._directory, generations)
        except GalleryError:
            self._in_doubt = True  # the rename may have happened, and may not last
            raise
        self.now = generations

    def settle(self) -> None:
        """After a write that failed: make what was there before certain again.

        Raises: StorageFullError, GalleryError while that cannot be done.
        """
        if self._in_doubt:
            write_generations(self._directory, self.now)
            self._in_doubt = False
