"""The refresher: the one thread that makes another model's generation, and keeps one filled.

Owns the order of a refresh and what may be asked when. Each step may be cut off at any moment: a
job that was running goes on at the next start, and the gallery says how far it is.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gallery_index.errors import (
    GalleryError,
    RefreshIncompleteError,
    StorageFullError,
    StoreUnavailableError,
)
from gallery_index.records import OtherGeneration
from gallery_index.refreshable import EmbedCrops, RefreshableGallery, WithoutCrop
from model.calibration import Calibration
from service.engine.crop_encoder import CropEncoder
from service.engine.crop_jobs import EmbeddedCrop, Kind
from service.engine.embedding import CropEmbedder
from service.errors import (
    EncoderFailedError,
    EntriesWithoutCropError,
    EvaluationFailedError,
    EvaluationGateError,
    GenerationKeptError,
    NoEarlierModelError,
    RefreshRunningError,
    RequestError,
    ShuttingDownError,
)
from service.problems import problem
from service.refresh.filling import Filled, Filler
from service.refresh.gate import OVERRIDE, EvaluationGate
from service.refresh.jobs import Job, JobKind, JobStore, Phase, new_job, now
from service.refresh.pace import Pace
from service.refresh.served import ServedModel, ServedModels

FEW: Final = 8
"""So few entries may be embedded while writes wait."""
IDLE_S: Final = 1.0
"""How often a kept generation is looked after."""
MAX_PAUSE_S: Final = 60.0
"""How often it is at least tried to look after it, where that does not work."""
ATTEMPTS: Final = 3
"""How often an encoder may break down under one job."""
PATIENCE_S: Final = 2.0
"""After how long a store or a disk that refused is asked again."""

Calibrate = Callable[[RefreshableGallery, str], Calibration | None]
"""From a gallery and the id of a model that it has vectors of to a calibration; None: no data."""

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
        open_model: Callable[[str], ServedModel],
        gate: EvaluationGate | None = None,
        calibrate: Calibrate | None = None,
        keep_calibration: Callable[[str, Mapping[str, Any]], None] = lambda *_: None,
    ) -> None:
        """`open_model` opens a verified model of the registry, and may take seconds.

        `keep_calibration` puts what was recomputed into the model's artifact.
        """
        self.jobs = jobs
        self._gallery = gallery
        self._models = models
        self._embedder = embedder
        self._open_model = open_model
        self._gate = gate
        self._calibrate = calibrate
        self._keep_calibration = keep_calibration
        self._asking = threading.Lock()
        self._at_work = threading.RLock()
        self._wake = threading.Event()
        self._cancelled: set[str] = set()
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
            in_the_way = self._in_the_way(model_id, reclaim_kept=reclaim_kept)
            without = self._gallery.without_crop()
            if without and entries_without_crop is None and not self._is_kept(model_id):
                raise EntriesWithoutCropError([entry.entry_id for entry in without])
            self._open(model_id)
            if in_the_way is not None:
                with self._at_work:
                    self._drop(in_the_way)
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
            served = self._open(self._kept("to go back to").model_id)
            self._fill_kept(served)
            return self._switch(served)

    def reclaim(self) -> tuple[str, int]:
        """Drop the generation that is kept; returns its model's id and the bytes freed.

        Raises: NoEarlierModelError, RefreshRunningError.
        """
        with self._asking, self._between_jobs():
            model_id = self._kept("that could be reclaimed").model_id
            return model_id, self._drop(model_id)

    def cancel(self, job_id: str) -> Job:
        """Ask a running job to end; one that has ended stays as it is. Raises: JobNotFoundError."""
        job = self.jobs.get(job_id)
        if job.status == "running":
            self._cancelled.add(job_id)
            self._wake.set()
        return job

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
                    log.error("the kept generation cannot be filled now: %s", error)
            except Exception:  # the edge of this thread: without it no refresh goes on
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
                log.exception("the refresher broke down")
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
            served = self._open(other.model_id)
            if other.missing:
                self._fill_kept(served)
            self._gallery.prepare_switch()

    def _fill_kept(self, served: ServedModel) -> None:
        """Fill the kept generation; what has no sound crop is left out of it."""
        filled = self._filler(served.encoder, None).fill()
        lost = [*filled.unsound, *(entry.row for entry in self._lost(served.model_id))]
        if lost:
            log.warning("%d entries are left out of model %s", len(lost), served.model_id)
            self._gallery.give_up(lost, "leave_out")

    def _lost(self, model_id: str) -> list[Any]:
        """Return the entries without a crop that have no vector by a model."""
        without = self._gallery.without_crop()
        if not without:
            return []
        rows = np.array([entry.row for entry in without], np.int64)
        sound = self._gallery.vectors(rows, model_id).sound
        return [entry for entry, has in zip(without, sound.tolist(), strict=True) if not has]

    def _run(self, job: Job) -> None:
        """Do a job until it has ended, or the service stops."""
        pace, failures = Pace(), 0
        while not self._stopping.is_set():
            try:
                self._checked(job)
                self._carry_out(self.jobs.get(job.job_id), pace)
                return
            except ShuttingDownError:
                return
            except JobCancelledError:
                self._end_cancelled(job)
                return
            except (StoreUnavailableError, StorageFullError) as error:
                self._show(job, waiting_for=str(error))
                self._wake.wait(PATIENCE_S)
                self._wake.clear()
            except (GalleryError, RequestError) as error:
                if self._stopping.is_set():
                    return
                failures += isinstance(error, EncoderFailedError)
                if not isinstance(error, EncoderFailedError) or failures == ATTEMPTS:
                    self._end_failed(job, error)
                    return

    def _carry_out(self, job: Job, pace: Pace) -> None:
        if job.kind == "calibrate":
            self._recalibrate(job, self._open(job.model_id))
        else:
            self._refresh(job, pace)
        ended = replace(
            self.jobs.get(job.job_id),
            status="done", phase=None, finished_at=now(), seconds_left=None, waiting_for=None,
        )  # fmt: skip
        self.jobs.save(ended)
        log.info("%s of model %s is done", job.kind, job.model_id)

    def _refresh(self, job: Job, pace: Pace) -> None:
        if self._gallery.model_id == job.model_id:
            return  # killed between the switch and the note of it
        served = self._open(job.model_id)
        self._begin_generation(job, served)
        self._pass_gate(job, served)
        self._phase(job, "embedding")
        self._give_up_old(job)
        incomplete = 0
        while True:
            self._fill(job, served, pace)
            self._phase(job, "indexing")
            self._gallery.prepare_switch()
            if not self._is_kept(job.model_id):
                self._recalibrate(job, served)
            self._checked(job)
            self._phase(job, "switching")
            try:
                self._fill(job, served, pace)
                self._switch(served)
                return
            except RefreshIncompleteError as error:
                incomplete += 1
                if incomplete == 1:  # vectors may be on their way, of crops that are not kept
                    self._stopping.wait(PATIENCE_S)
                else:
                    self._give_up(job, self._rows_of(error.entry_ids))

    def _begin_generation(self, job: Job, served: ServedModel) -> None:
        """Make the generation, or go on with it; entries enrolled from now on can all be in it."""
        if self._gallery.other() is None:
            self._save(job, first_rows=self._gallery.stats().rows)
        self._gallery.begin_refresh(served.model_id, served.encoder.config.embedding_dim)

    def _pass_gate(self, job: Job, served: ServedModel) -> None:
        """Compare the candidate with the active model, once in a job.

        Raises: EvaluationGateError, EvaluationFailedError; the generation is gone then.
        """
        try:
            self._compare(job, served)
        except (EvaluationGateError, EvaluationFailedError):
            self._drop(job.model_id)
            raise

    def _compare(self, job: Job, served: ServedModel) -> None:
        passed = self.jobs.get(job.job_id).evaluation is not None or self._is_kept(job.model_id)
        if self._gate is None or OVERRIDE in job.override or passed:
            return
        self._phase(job, "evaluating")
        active = self._models.active()
        evaluation = self._gate.compare(
            (served.model_id, self._embed_with(served.encoder, "refresh", job)),
            (active.model_id, self._embed_with(active.encoder, "refresh", job)),
        )
        self._save(job, evaluation=evaluation.as_json())
        evaluation.refuse_worse()

    def _fill(self, job: Job, served: ServedModel, pace: Pace) -> None:
        """Embed until few entries are missing. Raises: EntriesWithoutCropError."""

        def on_filled(count: int) -> None:
            pace.count(count)
            self._show_progress(job, pace)

        self._show_progress(job, pace)
        while True:
            filled: Filled = self._filler(served.encoder, job, on_filled).fill()
            if filled.unsound:
                self._give_up(job, list(filled.unsound))
            other = self._gallery.other()
            if other is None or other.missing <= FEW or not filled.given:
                self._show_progress(job, pace)
                return

    def _give_up_old(self, job: Job) -> None:
        """Do with entries that had no crop when the job began what was asked for, once."""
        first_rows = self.jobs.get(job.job_id).first_rows
        rows = [entry.row for entry in self._lost(job.model_id) if entry.row < first_rows]
        if rows:
            self._give_up(job, rows)

    def _give_up(self, job: Job, rows: Sequence[int]) -> None:
        """Do with entries what was asked for. Raises: EntriesWithoutCropError if nothing was."""
        job = self.jobs.get(job.job_id)
        how = job.entries_without_crop
        if how is None:
            raise EntriesWithoutCropError(self._ids_of(rows))
        given_up = self._gallery.give_up(rows, how)
        counted = "erased" if how == "erase" else "left_out"
        self._save(job, **{counted: getattr(job, counted) + given_up})

    def _recalibrate(self, job: Job, served: ServedModel) -> None:
        if self._calibrate is None:
            return
        self._phase(job, "calibrating")
        calibration = self._calibrate(self._gallery, served.model_id)
        if calibration is None:
            log.info("the gallery's person ids do not suffice to calibrate %s", served.model_id)
            return
        self._keep_calibration(served.model_id, calibration.to_manifest())
        self._models.recalibrate(served.model_id, calibration)

    def _switch(self, served: ServedModel) -> str:
        return self._gallery.switch(self._embed_with(served.encoder, "query", None))

    # Its parts

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
        self.jobs.save(replace(job, total=len(self._gallery)))
        self._wake.set()
        return self.jobs.get(job.job_id)

    def _in_the_way(self, model_id: str, *, reclaim_kept: bool) -> str | None:
        """Return the other model whose generation has to go, if that may be.

        Raises: GenerationKeptError.
        """
        other = self._gallery.other()
        if other is None or other.model_id == model_id:
            return None
        if other.kept and not reclaim_kept:
            raise GenerationKeptError(
                f"the vectors of model {other.model_id} are kept to go back to: reclaim them first,"
                " or say reclaim_kept"
            )
        return other.model_id

    def _drop(self, model_id: str) -> int:
        freed = self._gallery.drop_other()
        self._models.remove(model_id)
        return freed

    def _open(self, model_id: str) -> ServedModel:
        """Return a model, opened if it is not. Raises: ModelNotFoundError, InvalidArtifactError."""
        served = self._models.find(model_id)
        if served is None:
            served = self._open_model(model_id)
            self._models.add(served)
        return served

    @contextmanager
    def _between_jobs(self) -> Iterator[None]:
        """Keep the thread from what it does without a job. Raises: RefreshRunningError."""
        if (running := self.jobs.running()) is not None:
            raise _busy(running)
        with self._at_work:
            yield

    def _kept(self, what_for: str) -> OtherGeneration:
        """Return the generation that is kept. Raises: NoEarlierModelError."""
        other = self._gallery.other()
        if other is None or not other.kept:
            raise NoEarlierModelError(f"no earlier model is kept {what_for}")
        return other

    def _is_kept(self, model_id: str) -> bool:
        other = self._gallery.other()
        return other is not None and other.kept and other.model_id == model_id

    def _filler(
        self,
        encoder: CropEncoder,
        job: Job | None,
        on_filled: Callable[[int], None] = lambda _: None,
    ) -> Filler:
        return Filler(
            self._gallery,
            self._embedder,
            encoder,
            on_filled=on_filled,
            check=lambda: self._checked(job),
        )

    def _checked(self, job: Job | None) -> None:
        """Return if the job is to go on. Raises: ShuttingDownError, JobCancelledError."""
        if self._stopping.is_set():
            raise ShuttingDownError("the service is stopping")
        if job is not None and job.job_id in self._cancelled:
            raise JobCancelledError

    def _embed_with(self, encoder: CropEncoder, kind: Kind, job: Job | None) -> EmbedCrops:
        def embed(crops: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
            self._checked(job)
            begun = self._embedder.begin_in_thread(crops, encoder=encoder, kind=kind)
            embedded: list[NDArray[np.float32] | None] = []
            for outcome in begun.result():
                if isinstance(outcome, RequestError):
                    raise outcome
                embedded.append(outcome.embedding if isinstance(outcome, EmbeddedCrop) else None)
            return embedded

        return embed

    def _ids_of(self, rows: Sequence[int]) -> list[str]:
        wanted = set(rows)
        without = [e.entry_id for e in self._gallery.without_crop() if e.row in wanted]
        if len(without) == len(wanted):
            return without
        missing = self._gallery.missing(len(wanted) + FEW)
        return without + [e.entry_id for e in missing if e.row in wanted]

    def _rows_of(self, entry_ids: Sequence[str]) -> list[int]:
        rows = []
        for entry_id in entry_ids:
            try:
                rows.append(self._gallery.get(entry_id).row)
            except GalleryError:  # deleted meanwhile
                continue
        return rows

    # What is shown and written down

    def _phase(self, job: Job, phase: Phase) -> None:
        self._checked(job)
        self._show(job, phase=phase, waiting_for=None)

    def _show_progress(self, job: Job, pace: Pace) -> None:
        other = self._gallery.other()
        total = len(self._gallery)
        left = 0 if other is None else other.missing
        self._show(
            job,
            total=total,
            done=max(0, total - left),
            crops_per_s=pace.per_s(),
            seconds_left=pace.seconds_left(left),
            waiting_for=None,
        )

    def _show(self, job: Job, **changes: Any) -> None:
        self.jobs.show(replace(self.jobs.get(job.job_id), **changes))

    def _save(self, job: Job, **changes: Any) -> None:
        self.jobs.save(replace(self.jobs.get(job.job_id), **changes))

    def _end_failed(self, job: Job, error: Exception) -> None:
        """The generation stays: the same activation asked for again goes on with it."""
        log.error("%s of model %s failed: %s", job.kind, job.model_id, error)
        self._save(
            job,
            status="failed",
            finished_at=now(),
            seconds_left=None,
            problem=problem(error, job.job_id),
        )

    def _end_cancelled(self, job: Job) -> None:
        self._cancelled.discard(job.job_id)
        other = self._gallery.other()
        if job.kind == "refresh" and other is not None and not other.kept:
            self._drop(other.model_id)
        self._save(job, status="cancelled", phase=None, finished_at=now(), seconds_left=None)


def _busy(job: Job) -> RefreshRunningError:
    return RefreshRunningError(f"the {job.kind} of model {job.model_id} is under way: {job.job_id}")
