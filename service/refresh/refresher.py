"""The refresher: the one thread that makes another model's generation, and keeps one filled.

Owns what may be asked when, and that a job that was running goes on at the next start. What a
refresh consists of is `steps`'.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final

from gallery_index.errors import GalleryError, StorageFullError, StoreUnavailableError
from gallery_index.records import OtherGeneration
from gallery_index.refreshable import RefreshableGallery, WithoutCrop
from service.engine.embedding import CropEmbedder
from service.errors import (
    EncoderFailedError,
    EntriesWithoutCropError,
    RefreshRunningError,
    RequestError,
    ShuttingDownError,
)
from service.refresh.gate import EvaluationGate
from service.refresh.generations import Generations
from service.refresh.jobs import Job, JobKind, JobStore, new_job
from service.refresh.running_job import RunningJob
from service.refresh.served import OpenModel, ServedModels
from service.refresh.steps import Calibrate, Steps

IDLE_S: Final = 1.0
"""How often a kept generation is looked after."""
MAX_PAUSE_S: Final = 60.0
"""How often it is at least tried to look after it, where that does not work."""
ATTEMPTS: Final = 3
"""How often an encoder may break down under one job."""
PATIENCE_S: Final = 2.0
"""After how long a store or a disk that refused is asked again."""

log = logging.getLogger(__name__)


class JobCancelledError(Exception):
    """The job was cancelled; ends what it is doing."""


class Refresher:
    """Refreshes one gallery. Its methods may be called from any thread but the event loop's."""

    def __init__(
        self,
        gallery: RefreshableGallery,
        models: ServedModels,
        embedder: CropEmbedder,
        jobs: JobStore,
        *,
        open_model: OpenModel,
        gate: EvaluationGate | None = None,
        calibrate: Calibrate | None = None,
        keep_calibration: Callable[[str, Mapping[str, Any]], object] = lambda *_: None,
    ) -> None:
        """`open_model` opens a verified model of the registry, and may take seconds.

        `keep_calibration` puts what was recomputed into the model's artifact.
        """
        self.jobs = jobs
        self._gallery = gallery
        self._generations = Generations(gallery, models, embedder, open_model)
        self._steps = Steps(
            self._generations,
            gate=gate,
            calibrate=calibrate,
            keep_calibration=keep_calibration,
            wait=self._wait,
        )
        self._asking = threading.Lock()
        self._at_work = threading.RLock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="refresh", daemon=True)

    # What may be asked

    def start(self) -> None:
        """Go on with the job that was running, and keep filled what is kept."""
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> None:
        """End at the next crop; a running job stays one, for the next start."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def other(self) -> OtherGeneration | None:
        """Return the generation beside the one that is searched."""
        return self._gallery.other()

    def activate(
        self,
        model_id: str,
        *,
        asked_by: str,
        override: Sequence[str] = (),
        entries_without_crop: WithoutCrop | None = None,
        reclaim_kept: bool = False,
    ) -> Job:
        """Begin to make a model the active one; one that is on its way already is answered.

        Raises: RefreshRunningError, GenerationKeptError, EntriesWithoutCropError,
        ModelNotFoundError, InvalidArtifactError.
        """
        with self._asking:
            running = self.jobs.running()
            if running is not None:
                if (running.kind, running.model_id) == ("refresh", model_id):
                    return running
                raise _busy(running)
            in_the_way = self._generations.in_the_way(model_id, reclaim_kept=reclaim_kept)
            without = self._gallery.without_crop()
            if without and entries_without_crop is None and not self._generations.is_kept(model_id):
                raise EntriesWithoutCropError([entry.entry_id for entry in without])
            self._generations.open(model_id)
            if in_the_way is not None:
                with self._at_work:
                    self._generations.drop(in_the_way)
            return self._begin("refresh", model_id, asked_by, tuple(override), entries_without_crop)

    def recalibrate(self, *, asked_by: str) -> Job:
        """Begin to calibrate the active model anew, from the gallery's own person ids.

        Raises: RefreshRunningError.
        """
        with self._asking, self._between_jobs():
            return self._begin("calibrate", self._gallery.model_id, asked_by)

    def roll_back(self) -> str:
        """Go back to the generation that is kept; returns its model's id.

        Raises: NoEarlierModelError, RefreshRunningError, RefreshIncompleteError, and what opening
        its model raises.
        """
        with self._asking, self._between_jobs():
            served = self._generations.open(self._generations.kept("to go back to").model_id)
            self._generations.fill_kept(served, self._go_on)
            return self._generations.switch(served, self._go_on)

    def reclaim(self) -> tuple[str, int]:
        """Drop the generation that is kept; returns its model's id and the bytes freed.

        Raises: NoEarlierModelError, RefreshRunningError.
        """
        with self._asking, self._between_jobs():
            model_id = self._generations.kept("that could be reclaimed").model_id
            return model_id, self._generations.drop(model_id)

    def cancel(self, job_id: str) -> Job:
        """Ask a running job to end, also after a restart; one that has ended stays as it is.

        Raises: JobNotFoundError, StorageFullError, GalleryError.
        """
        if self.jobs.get(job_id).status == "running":
            self.jobs.save(job_id, cancelled=True)
            self._wake.set()
        return self.jobs.get(job_id)

    # The thread

    def _work(self) -> None:
        pause_s = IDLE_S
        while not self._stopping.is_set():
            try:
                job = self.jobs.running()
                if job is not None:
                    with self._at_work:
                        self._run(job)
                    continue
                self._look_after_kept()
                pause_s = IDLE_S
            except (GalleryError, RequestError) as error:
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
                if not self._stopping.is_set():
                    log.error("the refresher cannot go on now: %s", error)
            except Exception as error:  # the edge of this thread: without it no refresh goes on
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
                log.exception("the refresher broke down")
                if not self._stopping.is_set() and (job := self.jobs.running()) is not None:
                    with suppress(GalleryError):  # then it is tried again
                        self._running(job).fail(error)
            self._wake.wait(pause_s)
            self._wake.clear()

    def _look_after_kept(self) -> None:
        """Embed what was enrolled since, so that going back takes no time."""
        with self._at_work:
            other = self._gallery.other()
            if other is None or self._stopping.is_set():
                return
            if not other.kept:
                return  # of a job that failed or that nobody remembers: kept till it is asked for
            served = self._generations.open(other.model_id)
            if other.missing:
                self._generations.fill_kept(served, self._go_on)
            self._gallery.prepare_switch(self._go_on)

    def _run(self, job: Job) -> None:
        """Do a job until it has ended, or the service stops."""
        running, failures = self._running(job), 0
        while not self._stopping.is_set():
            try:
                self._carry_out(running)
                return
            except ShuttingDownError:
                return
            except (StoreUnavailableError, StorageFullError, EncoderFailedError) as error:
                failures += isinstance(error, EncoderFailedError)
                if failures == ATTEMPTS:
                    running.fail(error)
                    return
                running.show(waiting_for=str(error))
                self._wait()
            except (GalleryError, RequestError) as error:  # what was made stays, to go on with
                if not self._stopping.is_set():
                    running.fail(error)
                return

    def _carry_out(self, job: RunningJob) -> None:
        try:
            job.check()
            if job.now.kind == "refresh":
                self._steps.refresh(job)
            else:
                self._steps.recalibrate(job, self._generations.open(job.now.model_id))
            job.end("done")
        except JobCancelledError:
            job.end("cancelled" if self._dropped_unfinished(job.now) else "done")

    def _dropped_unfinished(self, job: Job) -> bool:
        """Drop what a job has made; False: killed after its switch, and cancelled too late."""
        if job.kind == "refresh":
            if self._gallery.model_id == job.model_id:
                return False
            other = self._gallery.other()
            if other is not None and not other.kept:
                self._generations.drop(other.model_id)
        return True

    def _begin(
        self,
        kind: JobKind,
        model_id: str,
        asked_by: str,
        override: tuple[str, ...] = (),
        entries_without_crop: WithoutCrop | None = None,
    ) -> Job:
        job = new_job(
            kind, model_id, self._gallery.model_id, asked_by, override=override,
            entries_without_crop=entries_without_crop, first_rows=self._gallery.stats().rows,
        )  # fmt: skip
        self.jobs.add(replace(job, total=len(self._gallery)))
        self._wake.set()
        return self.jobs.get(job.job_id)

    @contextmanager
    def _between_jobs(self) -> Iterator[None]:
        """Keep the thread from what it does without a job. Raises: RefreshRunningError."""
        if (running := self.jobs.running()) is not None:
            raise _busy(running)
        with self._at_work:
            yield

    def _running(self, job: Job) -> RunningJob:
        return RunningJob(self.jobs, job, lambda: self._check(job))

    def _check(self, job: Job) -> None:
        """Return if a job is to go on. Raises: ShuttingDownError, JobCancelledError."""
        self._go_on()
        if self.jobs.get(job.job_id).cancelled:
            raise JobCancelledError

    def _go_on(self) -> None:
        """Return if the service goes on. Raises: ShuttingDownError."""
        if self._stopping.is_set():
            raise ShuttingDownError("the service is stopping")

    def _wait(self) -> None:
        """Wait before something is tried again; a stop and a cancellation end that."""
        self._wake.wait(PATIENCE_S)
        self._wake.clear()


def _busy(job: Job) -> RefreshRunningError:
    return RefreshRunningError(f"the {job.kind} of model {job.model_id} is under way: {job.job_id}")
