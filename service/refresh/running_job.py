"""A job that is being done: what it shows of itself, what it writes down, how it ends."""

import logging
from collections.abc import Callable
from typing import Any

from service.problems import problem
from service.refresh.jobs import Job, JobStatus, JobStore, Phase, now
from service.refresh.pace import Pace

log = logging.getLogger(__name__)


class RunningJob:
    """One job of a store. For the thread that does it."""

    def __init__(self, jobs: JobStore, job: Job, check: Callable[[], None]) -> None:
        """`check` raises what ends the job: ShuttingDownError, JobCancelledError."""
        self._jobs = jobs
        self._job_id = job.job_id
        self.check = check
        self.pace = Pace()

    @property
    def now(self) -> Job:
        """The job as it is now."""
        return self._jobs.get(self._job_id)

    def show(self, **changes: Any) -> None:
        """Show how far it is."""
        self._jobs.show(self._job_id, **changes)

    def save(self, **changes: Any) -> None:
        """Write down what a restart must know. Raises: StorageFullError, GalleryError."""
        self._jobs.save(self._job_id, **changes)

    def begin(self, phase: Phase) -> None:
        """Show what is done next, if the job is to go on."""
        self.check()
        self.show(phase=phase, waiting_for=None)

    def progress(self, entries: int, missing: int) -> None:
        """Show how many of the entries are done, and how long the others will take."""
        self.show(
            total=entries,
            done=max(0, entries - missing),
            crops_per_s=self.pace.per_s(),
            seconds_left=self.pace.seconds_left(missing),
            waiting_for=None,
        )

    def end(self, status: JobStatus) -> None:
        """Write down that it has ended."""
        self.save(status=status, phase=None, finished_at=now(), seconds_left=None, waiting_for=None)
        log.info("%s of model %s: %s", self.now.kind, self.now.model_id, status)

    def fail(self, error: Exception) -> None:
        """Write down why it has ended; the phase tells where."""
        log.error("%s of model %s failed: %s", self.now.kind, self.now.model_id, error)
        self.save(
            status="failed",
            finished_at=now(),
            seconds_left=None,
            waiting_for=None,
            problem=problem(error, self._job_id),
        )
