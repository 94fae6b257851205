"""Jobs: what was asked for, how far it is, how it ended. Each in a file of its own, written whole.

Progress is not written down: after a restart the gallery says how far it is.
"""

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from gallery_index.files.durable_files import make_directory, replace_file
from gallery_index.refreshable import WithoutCrop
from service.errors import JobNotFoundError
from service.ids import new_id

JOBS: Final = "jobs"
"""Where they are, in the data directory."""
KEPT: Final = 100
"""How many jobs are remembered."""

JobKind: TypeAlias = Literal["refresh", "calibrate"]
JobStatus: TypeAlias = Literal["running", "done", "failed", "cancelled"]
Phase: TypeAlias = Literal["evaluating", "embedding", "indexing", "calibrating", "switching"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """One job.

    `total` and `done` count entries; `crops_per_s` and `seconds_left` are None while nothing is
    known. `waiting_for` says what keeps it from going on, `problem` is a problem document of how it
    failed. `first_rows`: entries of rows below were there when it began. `cancelled` says that it
    was asked to end, `status` that it has.
    """

    job_id: str
    kind: JobKind
    model_id: str
    from_model_id: str
    asked_by: str
    started_at: str
    override: tuple[str, ...] = ()
    entries_without_crop: WithoutCrop | None = None
    first_rows: int = 0
    cancelled: bool = False
    status: JobStatus = "running"
    phase: Phase | None = None
    total: int = 0
    done: int = 0
    left_out: int = 0
    erased: int = 0
    crops_per_s: float | None = None
    seconds_left: float | None = None
    waiting_for: str | None = None
    finished_at: str | None = None
    problem: Mapping[str, Any] | None = None
    evaluation: Mapping[str, Any] | None = None


def new_job(
    kind: JobKind,
    model_id: str,
    from_model_id: str,
    asked_by: str,
    *,
    override: tuple[str, ...] = (),
    entries_without_crop: WithoutCrop | None = None,
    first_rows: int = 0,
) -> Job:
    """Return a job that begins now."""
    return Job(
        new_id(), kind, model_id, from_model_id, asked_by, now(), override, entries_without_crop,
        first_rows,
    )  # fmt: skip


def now() -> str:
    """Return the time, RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JobStore:
    """The jobs of one data directory. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        """Read what is there; a file that cannot be read is logged and left alone.

        Raises: StorageFullError, GalleryError: the directory cannot be made.
        """
        make_directory(directory)
        self._directory = directory
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._jobs: dict[str, Job] = {}
        for path in sorted(directory.glob("*.json")):
            try:
                job = _decoded(path.read_bytes())
            except (OSError, ValueError, TypeError, KeyError) as error:
                log.error("the job in %s cannot be read: %s", path, error)
                continue
            self._jobs[job.job_id] = job

    def newest(self) -> list[Job]:
        """Return all jobs, newest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: job.started_at, reverse=True)

    def get(self, job_id: str) -> Job:
        """Return one job. Raises: JobNotFoundError."""
        with self._lock:
            if job_id not in self._jobs:
                raise JobNotFoundError(f"no job {job_id!r}")
            return self._jobs[job_id]

    def running(self) -> Job | None:
        """Return the job that is to be done, if there is one."""
        return next((job for job in self.newest() if job.status == "running"), None)

    def add(self, job: Job) -> None:
        """Write a new job down, durably. Raises: StorageFullError, GalleryError."""
        with self._writing:
            self._write(job)
            with self._lock:
                self._jobs[job.job_id] = job
            self._forget_oldest()

    def save(self, job_id: str, **changes: Any) -> None:
        """Write down what changes of a job, durably; the rest stays as other threads change it.

        Raises: JobNotFoundError, StorageFullError, GalleryError.
        """
        with self._writing:
            self._write(replace(self.get(job_id), **changes))
            self.show(job_id, **changes)

    def show(self, job_id: str, **changes: Any) -> None:
        """Show what changes of a job, without writing it down."""
        with self._lock:
            self._jobs[job_id] = replace(self._jobs[job_id], **changes)

    def _write(self, job: Job) -> None:
        replace_file(self._path(job.job_id), json.dumps(asdict(job)).encode())

    def _forget_oldest(self) -> None:
        for job in self.newest()[KEPT:]:
            if job.status != "running":
                try:
                    self._path(job.job_id).unlink(missing_ok=True)
                except OSError as error:
                    log.warning("an old job stays: %s", error)
                    return
                with self._lock:
                    del self._jobs[job.job_id]

    def _path(self, job_id: str) -> Path:
        return self._directory / f"{job_id}.json"


def _decoded(data: bytes) -> Job:
    known = {field.name for field in fields(Job)}
    values = {name: value for name, value in json.loads(data).items() if name in known}
    return Job(**{**values, "override": tuple(values["override"])})
