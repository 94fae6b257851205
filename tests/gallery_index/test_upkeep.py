"""The thread that looks after a gallery: it goes on after errors and ends when told."""

import logging
from threading import Event

import pytest

from gallery_index.errors import GalleryError, StorageFullError
from gallery_index.index_care import IndexCare
from gallery_index.upkeep import UpkeepPolicy, UpkeepThread
from tests.gallery_index.places import Place, enrolled, new


def test_what_is_due_is_done_without_being_called(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, run_due = Event(), IndexCare.run_due

    def noted(care: IndexCare) -> None:
        run_due(care)
        if care._memory.recall.value is not None:
            done.set()

    monkeypatch.setattr(IndexCare, "run_due", noted)
    gallery = sqlite_place.open(policy=UpkeepPolicy(every_s=0.001), upkeep=True)
    enrolled(gallery, new(0))
    assert done.wait(10)
    assert gallery.stats().recall_at_10 == 1.0
    assert gallery.stats().snapshot_age_s is not None
    gallery.close()
    gallery.upkeep()  # a closed gallery needs none


def test_an_error_is_told_once_and_tried_again_until_it_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan: list[GalleryError | None] = [
        StorageFullError("no room"), StorageFullError("no room"), GalleryError("worse"),
        None, GalleryError("worse"),
    ]  # fmt: skip
    over = Event()

    def run() -> None:
        if not plan:
            over.set()
            return
        outcome = plan.pop(0)
        if outcome is not None:
            raise outcome

    with caplog.at_level(logging.ERROR):
        thread = UpkeepThread(run, 0.001)
        assert over.wait(10)
        thread.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "upkeep: no room", "upkeep: worse", "upkeep: worse",
    ]  # fmt: skip


def test_a_fault_of_our_own_is_told_and_does_not_end_the_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    over, faults = Event(), [IndexError("position 618 of 607")]

    def run() -> None:
        if faults:
            raise faults.pop()
        over.set()

    with caplog.at_level(logging.ERROR):
        thread = UpkeepThread(run, 0.001)
        assert over.wait(10)
        thread.stop()
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "position 618" in caplog.text


def test_stopping_waits_for_what_is_being_done_and_nothing_is_begun_after() -> None:
    begun, go_on, calls = Event(), Event(), list[str]()

    def run() -> None:
        begun.set()
        assert go_on.wait(10)
        calls.append("done")

    thread = UpkeepThread(run, 0.001)
    assert begun.wait(10)
    thread._stopping.set()
    go_on.set()
    thread.stop()
    assert calls == ["done"]


def test_closing_beside_the_thread_is_clean(sqlite_place: Place) -> None:
    policy = UpkeepPolicy(every_s=0.0001, snapshot_rows=1)
    for start in range(0, 15, 3):
        gallery = sqlite_place.open(policy=policy, upkeep=True)
        enrolled(gallery, *[new(start + seed) for seed in range(3)])
        gallery.close()
    assert len(sqlite_place.open()) == 15
