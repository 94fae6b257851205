"""A refresh from beginning to end, with a real gallery: what it does, what becomes of trouble."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gallery_index.errors import StoreUnavailableError
from gallery_index.gallery import Gallery
from gallery_index.records import Added, EntryFilter, NewEntry, OtherGeneration
from gallery_index.refreshable import EmbedCrops
from model.calibration import Calibration
from service.engine.embedding import CropEmbedder
from service.errors import (
    EntriesWithoutCropError,
    GenerationKeptError,
    ModelNotFoundError,
    NoEarlierModelError,
    RefreshRunningError,
)
from service.refresh.gate import EvaluationGate
from service.refresh.jobs import Job, JobStore
from service.refresh.refresher import Refresher
from service.refresh.running_job import RunningJob
from service.refresh.served import ServedModel, ServedModels
from service.settings import ServiceSettings
from tests.service.fakes import MODEL_ID, TinyEncoder, TinyEncoding, crop, embedded_by
from tests.service.judged import calibrated

DIM = TinyEncoder.config.embedding_dim
LONG_S = 60


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no store and no encoder longer than a test likes to."""
    monkeypatch.setattr("service.refresh.refresher.PATIENCE_S", 0.01)


class Candidate(TinyEncoder):
    """Another model: the numbers in another order. Embeds only while it is let."""

    model_id = "candidate"

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.let.set()
        self.begun = threading.Event()

    def encode(self, batch: Any) -> TinyEncoding:
        self.begun.set()
        assert self.let.wait(LONG_S)
        return TinyEncoding(np.roll(super().encode(batch).embedding, 1234, axis=1))


class Third(Candidate):
    """One more."""

    model_id = "third"


class Service:
    """What a refresher works with, over one data directory."""

    def __init__(
        self,
        settings: ServiceSettings,
        gallery: Gallery,
        *,
        gate: EvaluationGate | None = None,
        calibrate: Callable[..., Calibration] | None = None,
    ) -> None:
        self.gallery = gallery
        self.first, self.candidate, self.third = TinyEncoder(), Candidate(), Third()
        self.known = {e.model_id: e for e in (self.first, self.candidate, self.third)}
        self.models = ServedModels(gallery, ServedModel(self.known[gallery.model_id]))
        self.embedder = CropEmbedder(lambda: self.models.active().encoder, settings)
        self.kept_calibrations: dict[str, Mapping[str, Any]] = {}
        self.refresher = Refresher(
            gallery,
            self.models,
            self.embedder,
            JobStore(settings.data / "jobs"),
            open_model=self.open_model,
            gate=gate,
            calibrate=calibrate,
            keep_calibration=self.kept_calibrations.__setitem__,
        )

    def open_model(self, model_id: str) -> ServedModel:
        if model_id not in self.known:
            raise ModelNotFoundError(f"no model {model_id!r}")
        return ServedModel(self.known[model_id])

    def ended(self, job: Job) -> Job:
        """Wait until a job has ended."""
        until = time.monotonic() + LONG_S
        while (found := self.refresher.jobs.get(job.job_id)).status == "running":
            assert time.monotonic() < until, found
            time.sleep(0.005)
        return found

    def activate(self, model_id: str = "candidate", **asked: Any) -> Job:
        return self.refresher.activate(model_id, asked_by="ann", **asked)

    def enrol(self, *seeds: int, keep_crop: bool = True) -> None:
        encoder = self.known[self.gallery.model_id]
        results = self.gallery.add(
            [
                NewEntry(
                    embedded_by(encoder, crop(seed)), crop(seed), "image/png", "visible",
                    entry_id=f"e{seed}", person_id=f"p{seed % 3}", keep_crop=keep_crop,
                )
                for seed in seeds
            ],
            model_id=encoder.model_id,
        )  # fmt: skip
        assert all(isinstance(result, Added) for result in results)

    def found(self, seed: int) -> str | None:
        """Return the entry that a crop finds as itself by the model that answers; None: none."""
        encoder = self.known[self.gallery.model_id]
        best = self.gallery.search(
            embedded_by(encoder, crop(seed)), top_k=1, model_id=encoder.model_id
        )
        return best[0].entry.entry_id if best and best[0].similarity > 0.999 else None

    def close(self) -> None:
        self.candidate.let.set()
        self.refresher.stop(LONG_S)
        self.embedder.close(LONG_S)


@pytest.fixture
def service(settings: ServiceSettings, gallery: Gallery) -> Iterator[Service]:
    service = Service(settings, gallery)
    service.enrol(*range(40))
    service.refresher.start()
    yield service
    service.close()


def test_a_refresh_ends_with_every_entry_in_the_new_generation(service: Service) -> None:
    job = service.activate()
    assert (job.status, job.kind, job.model_id, job.from_model_id, job.asked_by, job.total) == (
        "running", "refresh", "candidate", MODEL_ID, "ann", 40,
    )  # fmt: skip
    ended = service.ended(job)
    assert (ended.status, ended.done, ended.total, ended.problem) == ("done", 40, 40, None)
    assert service.gallery.model_id == "candidate"
    assert [service.found(seed) for seed in range(40)] == [f"e{seed}" for seed in range(40)]
    assert sum(service.candidate.batch_sizes) == 40 + 40  # and those that were asked here


def test_a_rollback_is_at_once_and_has_what_came_since(service: Service) -> None:
    service.ended(service.activate())
    service.enrol(100, 101)
    service.gallery.delete("e3")
    assert service.refresher.roll_back() == MODEL_ID
    assert [service.found(seed) for seed in (0, 3, 100, 101)] == ["e0", None, "e100", "e101"]
    service.enrol(102)
    assert service.refresher.roll_back() == "candidate"
    assert [service.found(seed) for seed in (100, 102)] == ["e100", "e102"]


def test_what_is_kept_is_filled_by_itself(service: Service) -> None:
    service.ended(service.activate())
    service.enrol(*range(100, 105))
    until = time.monotonic() + LONG_S
    while True:
        other = service.gallery.other()
        assert other is not None
        if other.missing == 0:
            break
        assert time.monotonic() < until
        time.sleep(0.01)
    assert (other.model_id, other.kept) == (MODEL_ID, True)


def test_what_is_reclaimed_cannot_be_gone_back_to(service: Service) -> None:
    with pytest.raises(NoEarlierModelError):
        service.refresher.reclaim()
    service.ended(service.activate())
    with pytest.raises(GenerationKeptError, match="reclaim"):
        service.activate("third")
    assert service.models.find("third") is None
    model_id, freed = service.refresher.reclaim()
    assert model_id == MODEL_ID
    assert freed >= 40 * DIM * 2
    with pytest.raises(NoEarlierModelError):
        service.refresher.roll_back()
    service.ended(service.activate("third"))
    assert service.gallery.model_id == "third"
    service.ended(service.activate("candidate", reclaim_kept=True))
    assert service.gallery.model_id == "candidate"


def test_one_job_at_a_time_and_the_same_one_again_is_that_job(service: Service) -> None:
    service.candidate.let.clear()
    job = service.activate()
    assert service.activate().job_id == job.job_id
    for refused in (
        lambda: service.activate("third"),
        service.refresher.roll_back,
        service.refresher.reclaim,
        lambda: service.refresher.recalibrate(asked_by="bob"),
    ):
        with pytest.raises(RefreshRunningError, match=job.job_id):
            refused()
    service.candidate.let.set()
    service.ended(job)


def test_an_unknown_model_is_refused_and_nothing_begins(service: Service) -> None:
    with pytest.raises(ModelNotFoundError):
        service.activate("nobody")
    assert service.refresher.jobs.newest() == []
    assert service.gallery.other() is None


def test_a_job_goes_on_after_a_restart_under_its_id(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    first = Service(settings, gallery)
    first.enrol(*range(200))
    first.candidate.let.clear()
    first.refresher.start()
    job = first.activate()
    assert first.candidate.begun.wait(LONG_S)
    threading.Timer(0.2, first.candidate.let.set).start()
    first.refresher.stop(LONG_S)
    first.embedder.close(LONG_S)
    assert first.refresher.jobs.get(job.job_id).status == "running"
    again = Service(settings, gallery)
    assert gallery.model_id == MODEL_ID
    again.refresher.start()
    ended = again.ended(job)
    assert (ended.status, ended.done) == ("done", 200)
    assert [again.found(seed) for seed in (0, 199)] == ["e0", "e199"]
    again.close()


def test_entries_come_and_go_while_it_runs(service: Service) -> None:
    service.candidate.let.clear()
    job = service.activate()
    assert service.candidate.begun.wait(LONG_S)
    service.enrol(*range(100, 120))
    service.gallery.delete("e39")
    service.gallery.erase_person("p1")
    service.candidate.let.set()
    ended = service.ended(job)
    assert ended.status == "done"
    for seed in (*range(40), *range(100, 120)):
        gone = seed == 39 or seed % 3 == 1
        assert service.found(seed) == (None if gone else f"e{seed}")
    assert ended.done == ended.total == len(service.gallery)


def test_a_cancelled_job_leaves_nothing(service: Service) -> None:
    service.candidate.let.clear()
    job = service.activate()
    assert service.candidate.begun.wait(LONG_S)
    service.refresher.cancel(job.job_id)
    service.candidate.let.set()
    ended = service.ended(job)
    assert (ended.status, ended.phase) == ("cancelled", None)
    assert service.gallery.other() is None
    assert service.gallery.model_id == MODEL_ID
    assert service.refresher.cancel(job.job_id).status == "cancelled"
    assert service.ended(service.activate()).status == "done"


def test_a_cancellation_is_known_after_a_restart(
    service: Service, settings: ServiceSettings
) -> None:
    service.candidate.let.clear()
    job = service.activate()
    assert service.candidate.begun.wait(LONG_S)
    service.refresher.stop(0)  # killed while the answer to the cancellation is on its way
    service.refresher.cancel(job.job_id)
    service.candidate.let.set()
    service.refresher.stop(LONG_S)
    assert service.refresher.jobs.get(job.job_id).status == "running"
    again = Service(settings, service.gallery)
    again.refresher.start()
    assert again.ended(job).status == "cancelled"
    assert again.gallery.other() is None
    assert again.gallery.model_id == MODEL_ID
    again.refresher.stop(LONG_S)


def test_a_cancellation_after_the_switch_comes_too_late(
    service: Service, settings: ServiceSettings
) -> None:
    job = service.activate()
    service.ended(job)
    service.refresher.stop(LONG_S)
    service.refresher.jobs.save(job.job_id, status="running", cancelled=True)
    again = Service(settings, service.gallery)
    again.refresher.start()
    assert again.ended(job).status == "done"
    assert again.gallery.model_id == "candidate"
    assert again.gallery.other() is not None
    again.refresher.stop(LONG_S)


def test_a_stop_and_a_cancellation_end_the_building_of_an_index(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    building = threading.Event()

    def builds_for_ever(check: Callable[[], None]) -> None:
        building.set()
        while True:
            check()
            time.sleep(0.002)

    monkeypatch.setattr(service.gallery, "prepare_switch", builds_for_ever)
    job = service.activate()
    assert building.wait(LONG_S)
    service.refresher.cancel(job.job_id)
    assert service.ended(job).status == "cancelled"
    building.clear()
    job = service.activate()
    assert building.wait(LONG_S)
    service.refresher.stop(LONG_S)
    assert service.refresher.jobs.get(job.job_id).status == "running"


def test_entries_without_a_crop_are_listed_and_nothing_begins(service: Service) -> None:
    service.enrol(200, 201, keep_crop=False)
    with pytest.raises(EntriesWithoutCropError) as refused:
        service.activate()
    assert (refused.value.count, refused.value.entry_ids) == (2, ["e200", "e201"])
    assert service.refresher.jobs.newest() == []


@pytest.mark.parametrize("how", ["erase", "leave_out"])
def test_entries_without_a_crop_are_dealt_with_as_told(service: Service, how: str) -> None:
    service.enrol(200, 201, keep_crop=False)
    ended = service.ended(service.activate(entries_without_crop=how))
    assert ended.status == "done"
    assert (ended.erased, ended.left_out) == ((2, 0) if how == "erase" else (0, 2))
    listed = {e.entry_id for e in service.gallery.list(EntryFilter(), limit=1000).entries}
    assert ({"e200", "e201"} <= listed) is (how == "leave_out")
    assert service.found(200) is None
    service.refresher.roll_back()
    assert service.found(200) == ("e200" if how == "leave_out" else None)


def test_a_damaged_crop_fails_the_job_which_goes_on_when_told(
    service: Service, settings: ServiceSettings
) -> None:
    path = next(settings.data.glob("crops/*/0000000007"))
    path.write_bytes(b"rot")
    failed = service.ended(service.activate())
    assert failed.status == "failed"
    assert failed.problem is not None
    assert failed.problem["code"] == "entries_without_crop"
    assert failed.problem["entry_ids"] == ["e7"]
    assert service.gallery.model_id == MODEL_ID
    ended = service.ended(service.activate(entries_without_crop="leave_out"))
    assert (ended.status, ended.left_out) == ("done", 1)
    assert [service.found(seed) for seed in (6, 7, 8)] == ["e6", None, "e8"]


def test_an_encoder_that_fails_erases_nothing(service: Service) -> None:
    """What to do with entries without a crop is no word about those that have one."""

    def broken(batch: Any) -> TinyEncoding:
        raise MemoryError("no memory")

    service.candidate.encode = broken  # type: ignore[method-assign]
    failed = service.ended(service.activate(entries_without_crop="erase"))
    assert failed.status == "failed"
    assert failed.problem is not None
    assert failed.problem["code"] == "encoder_failed"
    assert len(service.gallery) == 40
    assert service.found(5) == "e5"


def test_an_encoder_that_breaks_down_once_fails_no_job(service: Service) -> None:
    sound = service.candidate.encode
    left = [2]  # a batch, and its crop alone

    def breaks_down(batch: Any) -> TinyEncoding:
        if left[0]:
            left[0] -= 1
            raise MemoryError("no memory")
        return sound(batch)

    service.candidate.encode = breaks_down  # type: ignore[method-assign]
    ended = service.ended(service.activate())
    assert (ended.status, ended.done) == ("done", 40)
    assert left == [0]


def test_a_store_that_is_away_is_waited_for(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill, away = service.gallery.fill, [True]

    def refused(vectors: Any, **of: Any) -> int:
        if away[0]:
            raise StoreUnavailableError("the store is away")
        return fill(vectors, **of)

    monkeypatch.setattr(service.gallery, "fill", refused)
    job = service.activate()
    until = time.monotonic() + LONG_S
    while service.refresher.jobs.get(job.job_id).waiting_for != "the store is away":
        assert time.monotonic() < until
        time.sleep(0.002)
    away[0] = False
    ended = service.ended(job)
    assert (ended.status, ended.waiting_for) == ("done", None)


class Figures:
    """An evaluation whose figures are known before."""

    crops = 2

    def __init__(self, **by_model: float) -> None:
        self.by_model = by_model
        self.when_asked: Callable[[], None] = lambda: None

    def __call__(self, embed: EmbedCrops) -> Mapping[str, float]:
        self.when_asked()
        (first,) = embed([crop(0)])
        assert first is not None
        plain = embedded_by(TinyEncoder(), crop(0))
        name = "first" if np.allclose(first, plain) else "candidate"
        return {"mAP": self.by_model[name], "rank1": 1.0}


@pytest.mark.parametrize(("candidate", "passes"), [(59.5, True), (58.9, False)])
def test_a_model_that_is_worse_by_more_than_the_margin_is_refused(
    settings: ServiceSettings, gallery: Gallery, candidate: float, passes: bool
) -> None:
    figures = Figures(first=60.0, candidate=candidate)
    figures.when_asked = lambda: beside.append(gallery.other())
    beside: list[OtherGeneration | None] = []
    gate = EvaluationGate(figures, margin=1.0)
    service = Service(settings, gallery, gate=gate)
    service.enrol(1, 2)
    service.refresher.start()
    ended = service.ended(service.activate())
    assert [other and other.model_id for other in beside] == ["candidate"] * 2  # from now on
    assert ended.evaluation is not None
    assert ended.evaluation["candidate"]["mAP"] == candidate
    if passes:
        assert ended.status == "done"
    else:
        assert ended.problem is not None
        assert (ended.status, ended.problem["code"]) == ("failed", "evaluation_gate")
        assert gallery.other() is None
        assert service.ended(service.activate(override=["evaluation"])).status == "done"
    service.close()


def test_a_model_that_was_refused_is_not_let_pass_after_a_restart(
    settings: ServiceSettings, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the measurement and the note of the refusal, the job measures again."""
    gate = EvaluationGate(Figures(first=60.0, candidate=50.0), margin=1.0)
    service = Service(settings, gallery, gate=gate)
    service.enrol(1, 2)
    died = threading.Event()

    def dies(job: RunningJob, error: Exception) -> None:
        service.refresher._stopping.set()
        died.set()

    with monkeypatch.context() as patched:
        patched.setattr(RunningJob, "fail", dies)
        service.refresher.start()
        job = service.activate()
        assert died.wait(LONG_S)
        service.close()
    again = Service(settings, gallery, gate=gate)
    assert again.refresher.jobs.running() is not None
    again.refresher.start()
    ended = again.ended(job)
    assert ended.problem is not None
    assert (ended.status, ended.problem["code"]) == ("failed", "evaluation_gate")
    assert gallery.model_id == MODEL_ID
    again.close()


def test_a_breakdown_that_nobody_foresaw_ends_the_job(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(check: Callable[[], None]) -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr(service.gallery, "prepare_switch", broken)
    ended = service.ended(service.activate())
    assert ended.problem is not None
    assert (ended.status, ended.problem["code"]) == ("failed", "internal_error")
    assert service.gallery.model_id == MODEL_ID


def test_a_calibration_is_recomputed_before_the_switch(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    seen: list[tuple[str, str]] = []

    calibration = calibrated({})

    def calibrate(gallery: Gallery, model_id: str) -> Calibration:
        seen.append((gallery.model_id, model_id))
        return calibration

    service = Service(settings, gallery, calibrate=calibrate)
    service.enrol(1, 2)
    service.refresher.start()
    service.ended(service.activate())
    assert seen == [(MODEL_ID, "candidate")]
    assert service.kept_calibrations == {"candidate": calibration.to_manifest()}
    assert service.models.active().calibration is calibration
    service.ended(service.refresher.recalibrate(asked_by="bob"))
    assert seen[1] == ("candidate", "candidate")
    service.close()


def test_jobs_are_remembered_and_damaged_ones_left_alone(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs")
    job = Job("j1", "refresh", "b", "a", "ann", "2026-01-01T00:00:00.000Z", ("evaluation",))
    store.add(job)
    store.add(replace(job, job_id="j2", started_at="2026-01-02T00:00:00.000Z", status="done"))
    (tmp_path / "jobs" / "j3.json").write_bytes(b"{")
    again = JobStore(tmp_path / "jobs")
    assert [found.job_id for found in again.newest()] == ["j2", "j1"]
    assert again.running() == job
