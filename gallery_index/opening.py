"""From a directory to files that agree: creation, locking, identity.

What is damaged is named and refused; it is never replaced by something empty. How memory is built
from the files is `recovery`'s.
"""

import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gallery_index.errors import GalleryCorruptError, GalleryMismatchError
from gallery_index.files.crops import CropFiles, CropStore
from gallery_index.files.directory_lock import DirectoryLock
from gallery_index.files.durable_files import make_directory, storage_errors, sync_directory
from gallery_index.files.vector_file import VectorFile
from gallery_index.generations.generation import Generation, read_left_out
from gallery_index.generations.pointer import (
    SNAPSHOTS,
    VECTORS,
    Pointer,
    active_vectors,
)
from gallery_index.records import GalleryIdentity, StoreKind
from gallery_index.snapshots.directory import Snapshots
from gallery_index.stores.redis_store import RedisStore
from gallery_index.stores.sqlite_store import SQLiteStore
from gallery_index.stores.store import MetadataStore

_UNBORN = "vectors.bin.new"
METADATA = "metadata.sqlite"
CROPS = "crops"
RESTORING = "restoring"


@dataclass(slots=True)
class GalleryFiles:
    """What lies in a directory and its store, opened and held by this process.

    `vectors` and `snapshots` are those of the generation that is searched, in which `left_out` rows
    have no vector; `other` is the one beside it.
    """

    directory: Path
    lock: DirectoryLock
    store: MetadataStore
    vectors: VectorFile
    crops: CropStore
    snapshots: Snapshots
    pointer: Pointer
    other: Generation | None = None
    left_out: frozenset[int] = frozenset()

    @property
    def identity(self) -> GalleryIdentity:
        """What this gallery is."""
        return self.vectors.identity

    def close(self) -> None:
        """Close everything; the directory's lock goes last."""
        self.store.close()
        self.vectors.close()
        if self.other is not None:
            self.other.close()
        self.crops.close()
        self.lock.release()


def read_identity(directory: Path) -> GalleryIdentity:
    """Return what the gallery of a directory is, with the model whose vectors are searched.

    Raises: GalleryMismatchError if there is none, GalleryCorruptError.
    """
    path = active_vectors(directory)
    if not path.exists():
        raise GalleryMismatchError(f"there is no gallery in {directory}: no {VECTORS}")
    file = VectorFile(path)
    file.close()
    return file.identity


def open_existing(directory: Path, *, redis_url: str | None) -> GalleryFiles:
    """Lock a directory and open the gallery that lies in it, whatever its model.

    Raises: as `open_files`; GalleryMismatchError if there is none.
    """
    identity = read_identity(directory)
    return open_files(
        directory,
        model_id=identity.model_id,
        embedding_dim=identity.embedding_dim,
        redis_url=redis_url,
        create=False,
    )


def open_files(
    directory: Path,
    *,
    model_id: str,
    embedding_dim: int,
    redis_url: str | None,
    create: bool,
    crops: CropStore | None = None,
) -> GalleryFiles:
    """Lock a directory and open or create what lies in it; nothing is recovered yet.

    `crops` stands for the crop files in the directory where one is given.

    Raises: GalleryLockedError, GalleryMismatchError, GalleryCorruptError, the store's errors.
    """
    kind: StoreKind = "sqlite" if redis_url is None else "redis"
    wanted = GalleryIdentity(uuid.uuid4().hex, model_id, embedding_dim, kind)
    make_directory(directory)
    with ExitStack() as undo:
        with storage_errors(directory / "lock"):
            lock = DirectoryLock(directory)
        undo.callback(lock.release)
        refuse_unfinished(directory)
        pointer = Pointer(directory)
        path = directory / pointer.now.active / VECTORS
        if path.exists():
            check_wanted(directory, read_identity(directory), wanted)
            if redis_url is None and not (directory / METADATA).exists():
                raise GalleryCorruptError(
                    f"{directory / METADATA} is missing, {path} is there: restore it from a backup"
                )
        elif not create:
            raise GalleryMismatchError(f"there is no gallery in {directory}: no {VECTORS}")
        store: MetadataStore = (
            SQLiteStore(directory / METADATA) if redis_url is None else RedisStore(redis_url)
        )
        undo.callback(store.close)
        if not path.exists():
            _create(directory, store, wanted)
        vectors = VectorFile(path)
        undo.callback(vectors.close)
        check_store(directory, vectors.identity, store)
        other = None
        if pointer.now.other is not None:
            other = Generation.open(directory / pointer.now.other)
            undo.callback(other.close)
        files = GalleryFiles(
            directory, lock, store, vectors,
            CropFiles(directory / CROPS) if crops is None else crops,
            Snapshots(path.parent / SNAPSHOTS, vectors.identity),
            pointer, other, read_left_out(path.parent),
        )  # fmt: skip
        with storage_errors(directory):
            sync_directory(directory)  # names of a process that ended before it could
        undo.pop_all()
    return files


def _create(directory: Path, store: MetadataStore, wanted: GalleryIdentity) -> None:
    """Give the directory and the store one identity; a crash in between is gone through again."""
    unborn = directory / _UNBORN
    stored = store.identity()
    if stored is None:
        VectorFile.create(unborn, wanted).close()
        store.create(wanted)
    elif not unborn.exists():
        raise GalleryMismatchError(
            f"{store.location} holds the records of gallery {stored.gallery_id},"
            f" but {directory} has no {VECTORS}: restore the directory or use another store"
        )
    else:
        file = VectorFile(unborn)
        file.close()
        check_store(directory, file.identity, store)
        check_wanted(directory, file.identity, wanted)
    with storage_errors(unborn):
        unborn.rename(directory / VECTORS)
        sync_directory(directory)


def refuse_unfinished(directory: Path) -> None:
    """Refuse a directory that a restore has not finished. Raises: GalleryMismatchError."""
    if (directory / RESTORING).exists():
        raise GalleryMismatchError(
            f"{directory} holds an unfinished restore: run `mpanet gallery restore` again,"
            " or empty the directory"
        )


def check_wanted(
    place: object, found: GalleryIdentity, wanted: GalleryIdentity, *, kind: str = "directory"
) -> None:
    """Compare what a gallery is with what it is opened as; `kind` is what its place is.

    Raises: GalleryMismatchError.
    """
    for what, ours, theirs in (
        ("model", wanted.model_id, found.model_id),
        ("embedding dimension", wanted.embedding_dim, found.embedding_dim),
        ("metadata store", wanted.store, found.store),
    ):
        if ours != theirs:
            raise GalleryMismatchError(
                f"the gallery in {place} is of {what} {theirs}, it was opened with {ours};"
                f" open it with its own {what}, or name another {kind}"
            )


def check_store(directory: Path, ours: GalleryIdentity, store: MetadataStore) -> None:
    """Compare a directory with the store of its records; a refresh changes the model of one only.

    Raises: GalleryMismatchError.
    """
    stored = store.identity()
    if stored is None:
        raise GalleryMismatchError(
            f"{store.location} is empty, but {directory} is gallery {ours.gallery_id}:"
            " its records are missing, or this is another store"
        )
    if (stored.gallery_id, stored.store) != (ours.gallery_id, ours.store):
        raise GalleryMismatchError(
            f"{store.location} belongs to gallery {stored.gallery_id},"
            f" {directory} is gallery {ours.gallery_id}"
        )
