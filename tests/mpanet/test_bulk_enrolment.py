"""Many crops: several requests at once, few in memory, and a clean end whatever ends it."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mpanet.bulk_enrolment import READ_AHEAD, BulkEnrolment
from mpanet.crop_files import CropFile, batches
from mpanet.crop_list import CropSource
from service.client import ServiceError
from tests.mpanet.enrolling import ScriptedService, Waits, refusing, sender, taken

REQUESTS = 3
WAIT_S = 30


def files(folder: Path, count: int) -> list[CropSource]:
    found = []
    for index in range(count):
        path = folder / f"{index}.jpg"
        path.write_bytes(str(index).encode())
        found.append(CropSource(path, path.name, {"modality": "visible"}))
    return found


def enrolment(service: object, waits: Waits | None = None) -> BulkEnrolment:
    waits = waits or Waits()
    return BulkEnrolment(sender(service, waits), REQUESTS, waits)


def ignored(crops: int) -> None:
    pass


def test_every_crop_is_sent_once_and_counted(tmp_path: Path) -> None:
    service, told = ScriptedService(), list[int]()
    work = enrolment(service)
    work.run(batches(files(tmp_path, 25), 4), told.append)
    assert sorted(int(crop) for sent in service.sent for crop in sent) == list(range(25))
    assert (work.summary.enrolled, sum(told)) == (25, 25)


class Meeting:
    """A service whose every answer waits until all requests that may be at once are there."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(REQUESTS)

    def enroll_batch(
        self, crops: Sequence[bytes], entries: Sequence[Mapping[str, object]]
    ) -> list[dict[str, Any]]:
        self._barrier.wait(WAIT_S)
        return taken(crops)


def test_as_many_requests_as_may_be_are_under_way_at_once(tmp_path: Path) -> None:
    work = enrolment(Meeting())
    work.run(batches(files(tmp_path, 2 * REQUESTS), 1), ignored)
    assert work.summary.enrolled == 2 * REQUESTS


def test_no_more_is_read_than_what_is_next(tmp_path: Path) -> None:
    """Batches beyond those under way are not even asked for while the service is slow."""
    most_ahead = 0
    answered = threading.Semaphore(0)
    asked = 0

    class Slow(ScriptedService):
        def enroll_batch(
            self, crops: Sequence[bytes], entries: Sequence[Mapping[str, object]]
        ) -> list[dict[str, Any]]:
            assert answered.acquire(timeout=WAIT_S)
            return super().enroll_batch(crops, entries)

    service = Slow()

    def watched() -> Iterator[list[CropFile]]:
        nonlocal asked, most_ahead
        for batch in batches(files(tmp_path, 40), 1):
            asked += 1
            most_ahead = max(most_ahead, asked - len(service.sent))
            if asked >= REQUESTS + READ_AHEAD:
                answered.release()
            yield batch
        for _ in range(REQUESTS + READ_AHEAD):
            answered.release()

    work = enrolment(service)
    work.run(watched(), ignored)
    assert work.summary.enrolled == 40
    assert most_ahead <= REQUESTS + READ_AHEAD + 1


def test_what_cannot_be_read_is_refused_beside_what_can(tmp_path: Path) -> None:
    sources = files(tmp_path, 4)
    listed = list(batches(sources, 4))
    (tmp_path / "1.jpg").unlink()
    work = enrolment(ScriptedService())
    work.run(listed, ignored)
    assert work.summary.enrolled == 3
    assert work.summary.refused["1.jpg"].code == "unreadable_file"


def test_a_batch_without_a_readable_file_is_not_sent(tmp_path: Path) -> None:
    listed = list(batches(files(tmp_path, 2), 4))
    for path in tmp_path.iterdir():
        path.unlink()
    service = ScriptedService()
    work = enrolment(service)
    work.run(listed, ignored)
    assert service.sent == []
    assert len(work.summary.refused) == 2


def test_an_interruption_keeps_what_was_answered(tmp_path: Path) -> None:
    def interrupt(crops: int) -> None:
        raise KeyboardInterrupt

    waits = Waits()
    service = ScriptedService()
    work = enrolment(service, waits)
    with pytest.raises(KeyboardInterrupt):
        work.run(batches(files(tmp_path, 200), 1), interrupt)
    assert waits.is_set()
    assert work.summary.enrolled == len(service.sent)
    assert 1 <= work.summary.enrolled <= REQUESTS + READ_AHEAD


def test_a_refusal_of_the_whole_ends_the_work_and_keeps_what_was_answered(tmp_path: Path) -> None:
    service = ScriptedService(taken, taken, refusing(401))
    work = enrolment(service)
    with pytest.raises(ServiceError, match="401"):
        work.run(batches(files(tmp_path, 200), 1), ignored)
    assert 2 <= work.summary.enrolled == len(service.sent) - 1 <= 2 + REQUESTS + READ_AHEAD
