"""What a refresh consists of, one step after the other, from a model to the one that answers.

Each step may be cut off at any moment and gone through again: the gallery says how far it is.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gallery_index.errors import GalleryError, RefreshIncompleteError
from gallery_index.refreshable import RefreshableGallery
from model.calibration import Calibration
from model.errors import CalibrationError
from service.errors import (
    EntriesWithoutCropError,
    EvaluationFailedError,
    EvaluationGateError,
    NotCalibratedError,
)
from service.refresh.gate import OVERRIDE, Evaluation, EvaluationGate
from service.refresh.generations import Generations
from service.refresh.running_job import RunningJob
from service.refresh.served import ServedModel

FEW: Final = 8
"""So few entries may be embedded while writes wait."""

Calibrate = Callable[[RefreshableGallery, str], Calibration]
"""From a gallery and the id of a model that it has vectors of to a calibration.

Raises: CalibrationError where the gallery's person ids do not suffice.
"""

log = logging.getLogger(__name__)


class Steps:
    """The steps of refreshes of one gallery. For one thread at a time."""

    def __init__(
        self,
        generations: Generations,
        *,
        gate: EvaluationGate | None,
        calibrate: Calibrate | None,
        keep_calibration: Callable[[str, Mapping[str, Any]], object],
        wait: Callable[[], None],
    ) -> None:
        """`wait` gives others a moment to end what they have begun."""
        self._generations = generations
        self._gallery = generations.gallery
        self._gate = gate
        self._calibrate = calibrate
        self._keep_calibration = keep_calibration
        self._wait = wait

    def refresh(self, job: RunningJob) -> None:
        """Make the model of a job the one that answers.

        Raises: EvaluationGateError, EvaluationFailedError, EntriesWithoutCropError,
        CropUnusableError, what the gallery and the encoder raise, and what ends a job.
        """
        model_id = job.now.model_id
        if self._gallery.model_id == model_id:
            return  # killed between the switch and the note of it
        served = self._generations.open(model_id)
        self._begin(job, served)
        self._pass_gate(job, served)
        job.begin("embedding")
        incomplete = 0
        while True:
            self._fill(job, served)
            self._give_up_old(job)
            job.begin("indexing")
            self._gallery.prepare_switch(job.check)
            if not self._generations.is_kept(model_id):
                self.recalibrate(job, served)
            job.begin("switching")
            try:
                self._fill(job, served)
                self._generations.switch(served, job.check)
                return
            except RefreshIncompleteError as error:
                incomplete += 1
                if incomplete == 1:  # vectors may be on their way, of crops that are not kept
                    self._wait()
                else:
                    self._give_up(job, self._rows_of(error.entry_ids))

    def recalibrate(self, job: RunningJob, served: ServedModel) -> None:
        """Calibrate a model from the gallery's own person ids.

        Where they do not suffice, a refresh goes on with what the model has. Raises:
        NotCalibratedError where nothing else was asked for.
        """
        if self._calibrate is None:
            return
        job.begin("calibrating")
        try:
            calibration = self._calibrate(self._gallery, served.model_id)
        except CalibrationError as error:
            if job.now.kind == "calibrate":
                raise NotCalibratedError(
                    f"the gallery cannot calibrate its model: {error}"
                ) from None
            log.info("the gallery cannot calibrate model %s: %s", served.model_id, error)
            return
        self._keep_calibration(served.model_id, calibration.to_manifest())
        self._generations.models.recalibrate(served.model_id, calibration)

    def _begin(self, job: RunningJob, served: ServedModel) -> None:
        """Make the generation, or go on with it; entries enrolled from now on can all be in it."""
        if self._gallery.other() is None:
            job.save(first_rows=self._gallery.stats().rows)
        self._gallery.begin_refresh(served.model_id, served.encoder.config.embedding_dim)

    def _pass_gate(self, job: RunningJob, served: ServedModel) -> None:
        """Compare the candidate with the active model, once in a job.

        What is written down has passed: a job that goes on is not measured again. Raises:
        EvaluationGateError, EvaluationFailedError; the generation is gone then.
        """
        passed = job.now.evaluation is not None or self._generations.is_kept(served.model_id)
        if self._gate is None or OVERRIDE in job.now.override or passed:
            return
        job.begin("evaluating")
        try:
            evaluation = self._compared(self._gate, job, served)
            evaluation.refuse_worse()
        except (EvaluationGateError, EvaluationFailedError) as error:
            self._generations.drop(served.model_id)
            if isinstance(error, EvaluationGateError):
                job.show(evaluation=error.evaluation)
            raise
        job.save(evaluation=evaluation.as_json())

    def _compared(self, gate: EvaluationGate, job: RunningJob, served: ServedModel) -> Evaluation:
        active, embed_with = self._generations.models.active(), self._generations.embed_with
        return gate.compare(
            (served.model_id, embed_with(served.encoder, "refresh", job.check)),
            (active.model_id, embed_with(active.encoder, "refresh", job.check)),
        )

    def _fill(self, job: RunningJob, served: ServedModel) -> None:
        """Embed until few entries are missing. Raises: EntriesWithoutCropError."""

        def on_filled(count: int) -> None:
            job.pace.count(count)
            self._show_progress(job)

        self._show_progress(job)
        while True:
            filled = self._generations.fill(served, job.check, on_filled)
            if filled.unsound:
                self._give_up(job, list(filled.unsound))
            other = self._gallery.other()
            if other is None or other.missing <= FEW or not filled.given:
                self._show_progress(job)
                return

    def _show_progress(self, job: RunningJob) -> None:
        other = self._gallery.other()
        job.progress(len(self._gallery), 0 if other is None else other.missing)

    def _give_up_old(self, job: RunningJob) -> None:
        """Do with entries that had no crop when the job began what was asked for."""
        first_rows = job.now.first_rows
        rows = [entry.row for entry in self._gallery.lost() if entry.row < first_rows]
        if rows:
            self._give_up(job, rows)

    def _give_up(self, job: RunningJob, rows: Sequence[int]) -> None:
        """Do with entries what was asked for. Raises: EntriesWithoutCropError if nothing was."""
        how = job.now.entries_without_crop
        if how is None:
            raise EntriesWithoutCropError(self._ids_of(rows))
        given_up = self._gallery.give_up(rows, how)
        counted = "erased" if how == "erase" else "left_out"
        job.save(**{counted: getattr(job.now, counted) + given_up})

    def _ids_of(self, rows: Sequence[int]) -> list[str]:
        wanted = set(rows)
        found = [*self._gallery.lost(), *self._gallery.missing(len(wanted) + FEW)]
        return [entry.entry_id for entry in found if entry.row in wanted]

    def _rows_of(self, entry_ids: Sequence[str]) -> list[int]:
        rows = []
        for entry_id in entry_ids:
            try:
                rows.append(self._gallery.get(entry_id).row)
            except GalleryError:  # deleted meanwhile
                continue
        return rows
