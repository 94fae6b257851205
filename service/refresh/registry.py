"""The models that a service has: a directory of immutable artifacts, each under its `model_id`.

A model comes in under a temporary name in the same directory, is verified there and renamed: it is
listed whole or not at all. Who published it when stands in a small file of its own beside the
artifact's. A directory that was put there by hand, under any name, counts too if it matches its
manifest. Which model answers is none of the registry's business.
"""

import fcntl
import json
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from gallery_index.files.durable_files import (
    make_directory,
    storage_errors,
    sync_directory,
    write_synced,
)
from model.artifact import MANIFEST_NAME, ONNX_NAME, ModelArtifact, with_calibration
from model.errors import ArtifactError
from service.errors import InvalidArtifactError, ModelNotFoundError, QueueFullError
from service.refresh.verification import (
    RECORD_NAME,
    Trials,
    read_artifact,
    try_artifact,
    verify_artifact,
)

INCOMING: Final = ".incoming-"
MAX_INCOMING: Final = 4
"""How many models come in at once: each takes as many bytes of the disk as a model may have."""
BUSY_S: Final = 10.0

Signature = tuple[tuple[int, int, int] | None, ...]
"""Inode, size and time of change of each file of a model; None for one that is not there."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model of the registry. One that was put there by hand was published by nobody."""

    artifact: ModelArtifact
    published_at: datetime | None
    published_by: str | None

    @property
    def model_id(self) -> str:
        """Content hash of the model."""
        return self.artifact.model_id


class ModelRegistry:
    """The models of one directory. Thread-safe; several services may share the directory."""

    def __init__(self, directory: Path, trials: Trials) -> None:
        """Make the directory where it is not there; remove what a killed publish left in it.

        Raises: StorageFullError, GalleryError: it cannot be made.
        """
        make_directory(directory)
        self._directory = directory
        self._trials = trials
        self._room = threading.BoundedSemaphore(MAX_INCOMING)
        self._lock = threading.RLock()
        self._seen: dict[Path, tuple[Signature, RegisteredModel | None]] = {}
        _remove_leftovers(directory)

    def list(self) -> list[RegisteredModel]:
        """Return the models, the first made first; reads again only what has changed.

        A directory that does not match its manifest is logged once and left out.
        """
        found: dict[str, RegisteredModel] = {}
        with self._lock:
            paths = [path for path in sorted(self._directory.iterdir()) if _may_be_model(path)]
            self._seen = {path: self._look(path) for path in paths}
            for path, (_, model) in self._seen.items():
                if model is not None and (
                    model.model_id not in found or path.name == model.model_id
                ):
                    found[model.model_id] = model
        return sorted(found.values(), key=lambda model: model.artifact.manifest.created_at)

    def get(self, model_id: str) -> RegisteredModel:
        """Return one model. Raises: ModelNotFoundError."""
        for model in self.list():
            if model.model_id == model_id:
                return model
        raise ModelNotFoundError(f"no model {model_id!r} among those of the service")

    def checked(self, model_id: str) -> RegisteredModel:
        """Return a model that was verified just now, an inference included: before it is opened.

        Files rot, and what was put there by hand was never run. Takes seconds.

        Raises: ModelNotFoundError, InvalidArtifactError, ShuttingDownError.
        """
        model = self.get(model_id)
        verify_artifact(model.artifact.directory, self._trials)
        return model

    def publish(self, directory: Path, *, by: str) -> RegisteredModel:
        """Copy a model directory in and verify it; one that is there already stays as it is.

        Raises: InvalidArtifactError, StorageFullError, GalleryError, QueueFullError,
        ShuttingDownError; the registry is then as it was.
        """
        read_artifact(directory)
        with self.incoming() as place:
            _copy(directory, place)
            return self.admit(read_artifact(place), by=by)[0]

    def take_in(self, directory: Path, *, by: str) -> RegisteredModel:
        """Do as `publish`, without an inference: for a model that is about to be served anyway."""
        with suppress(ModelNotFoundError):
            return self.get(read_artifact(directory).model_id)
        with self.incoming() as place:
            _copy(directory, place)
            return self._settle(read_artifact(place), by)

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """Yield an empty directory for the files of a model; gone in the end, if not admitted.

        Raises: QueueFullError: as many as may be are on their way; StorageFullError, GalleryError.
        """
        if not self._room.acquire(blocking=False):
            raise QueueFullError(
                f"{MAX_INCOMING} models are being published, no more at once", retry_after_s=BUSY_S
            )
        place = self._directory / f"{INCOMING}{uuid4().hex}"
        try:
            with storage_errors(place):
                place.mkdir()
            with _held(place):
                yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
            self._room.release()

    def admit(self, artifact: ModelArtifact, *, by: str) -> tuple[RegisteredModel, bool]:
        """Try what came in and rename it; False: it was there already and stays as it is.

        `artifact` was read where `incoming` put it. Raises: as `publish`.
        """
        with suppress(ModelNotFoundError):
            return self.get(artifact.model_id), False
        try_artifact(artifact, self._trials)
        with self._lock:
            with suppress(ModelNotFoundError):  # published meanwhile by another
                return self.get(artifact.model_id), False
            return self._settle(artifact, by), True

    def recalibrate(self, model_id: str, calibration: Mapping[str, Any] | None) -> RegisteredModel:
        """Write another calibration into a model's manifest; its id stays.

        Raises: ModelNotFoundError, InvalidArtifactError: it has rotted, StorageFullError,
        GalleryError.
        """
        with self._lock:
            place = self.get(model_id).artifact.directory
            try:
                with storage_errors(place / MANIFEST_NAME):
                    with_calibration(place, calibration)
            except ArtifactError as error:
                raise InvalidArtifactError(str(error)) from None
            return self.get(model_id)

    def stop(self) -> None:
        """End what is being verified: the service is to stop within its time."""
        self._trials.stop()

    def _settle(self, artifact: ModelArtifact, by: str) -> RegisteredModel:
        place = artifact.directory
        target = self._directory / artifact.model_id
        record = {"published_at": datetime.now(UTC).isoformat(), "published_by": by}
        with self._lock, storage_errors(target):
            write_synced(place / RECORD_NAME, json.dumps(record).encode())
            for name in (ONNX_NAME, MANIFEST_NAME):
                _sync_file(place / name)
            sync_directory(place)
            self._clear(target)
            try:
                place.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
                log.info("model %s was published by another service meanwhile", artifact.model_id)
            sync_directory(self._directory)
            return self.get(artifact.model_id)

    def _clear(self, target: Path) -> None:
        """Put aside what stands under the name of a model and is none: it was listed otherwise."""
        if target.is_dir() and self._look(target)[1] is None:
            log.warning("the damaged model in %s is replaced", target)
            aside = target.with_name(f"{INCOMING}{uuid4().hex}")
            target.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)

    def _look(self, path: Path) -> tuple[Signature, RegisteredModel | None]:
        """Read a directory, or remember what was there when its files looked the same."""
        signature = _signature(path)
        if path in self._seen and self._seen[path][0] == signature:
            return self._seen[path]
        try:
            return signature, RegisteredModel(read_artifact(path), *_record_of(path))
        except InvalidArtifactError as error:
            log.warning("%s is left out of the models: %s", path, error)
            return signature, None


def _may_be_model(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _signature(path: Path) -> Signature:
    return tuple(map(_state, (path / name for name in (MANIFEST_NAME, ONNX_NAME, RECORD_NAME))))


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _record_of(path: Path) -> tuple[datetime | None, str | None]:
    """Return when and by whom a model was published, where that is known."""
    try:
        record = json.loads((path / RECORD_NAME).read_bytes())
        return datetime.fromisoformat(record["published_at"]), str(record["published_by"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None


def _copy(source: Path, place: Path) -> None:
    for name in (ONNX_NAME, MANIFEST_NAME):
        with storage_errors(place / name):
            shutil.copyfile(source / name, place / name)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _held(place: Path) -> Iterator[None]:
    """Hold a directory that is being filled; the system lets go of it when this process ends."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_leftovers(directory: Path) -> None:
    """Remove what nobody holds any more."""
    for place in directory.glob(f"{INCOMING}*"):
        with suppress(BlockingIOError, FileNotFoundError), _held(place):
            log.info("removing %s, left by a publish that did not come to its end", place.name)
            shutil.rmtree(place, ignore_errors=True)
