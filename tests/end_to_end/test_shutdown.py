"""A service that is told to stop: whoever asked gets an answer, and nothing acknowledged is lost.

The bound of every stop is the setting `shutdown_s` and what closing the gallery takes; CLOSING_S is
as long as a process has before it ends itself.
"""

import json
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import httpx
import pytest

from service.server import CLOSING_S
from tests.end_to_end.paced_process import Pace, Paced, coloured, paced
from tests.end_to_end.paced_service import HANGS
from tests.end_to_end.wire import Answer, Wire, form, head, post, upload
from tests.service.fakes import crop
from tests.service.hostile.victim import check_problem

STOP_S = 3.0
OPTIONS = ("--shutdown-s", str(STOP_S))
SLOW = Pace(batch_ms=200, crop_ms=50)
pytestmark = pytest.mark.timeout(180)


@dataclass
class Sent:
    """What clients have sent and what became of it, by entry id."""

    lock: Lock = field(default_factory=Lock)
    at: dict[str, float] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    def enrol(self, url: str, entry_id: str, seed: int) -> bool:
        """Enrol one crop; False: the service is not there any more."""
        try:
            with Wire(url) as wire:
                wire.send(upload("/gallery", crop(seed), entry_id=entry_id))
                with self.lock:
                    self.at[entry_id] = time.monotonic()
                answer = wire.answer()
        except ConnectionError:
            return False
        if answer is None:
            return False
        with self.lock:
            (self.acknowledged if answer.status == 201 else self.refused).add(entry_id)
        if answer.status != 201:
            check_refusal(answer)
        return True

    def keep_enrolling(self, url: str, name: str, first: int) -> None:
        """Enrol one crop after the other until the service is gone."""
        number = first
        while self.enrol(url, f"{name}-{number}", number):
            number += 1


def check_refusal(answer: Answer) -> None:
    """A stopping service says so, and when to come back."""
    assert answer.status == 503, answer
    assert check_problem(answer)["code"] == "shutting_down", answer
    assert int(answer.headers["retry-after"]) >= 1


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.02)


def queued(
    service: Paced, threads: ThreadPoolExecutor, requests: list[bytes], crops: int
) -> list[Future[Answer]]:
    """Send requests at once and wait until all their crops are in the service."""
    with service.switched("held"):
        answers = [threads.submit(service.ask, request) for request in requests]
        service.wait_for("in_flight_crops", crops)
    return answers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_under_load_nothing_acknowledged_is_lost_and_whoever_asked_gets_an_answer(
    tmp_path: Path, number: int
) -> None:
    sent = Sent()
    with paced(tmp_path, *OPTIONS, pace=Pace(20, 5)) as service, ThreadPoolExecutor(6) as threads:
        clients = [
            threads.submit(sent.keep_enrolling, service.url, f"c{index}", index * 10_000)
            for index in range(6)
        ]
        wait_until(lambda: len(sent.acknowledged) > 30, "the enrolments did not go on")
        told = time.monotonic()
        assert service.stop(number) == 0, service.log
        elapsed_s = time.monotonic() - told
        for client in clients:
            client.result(timeout=30)
    assert elapsed_s < STOP_S + CLOSING_S
    before = {entry_id for entry_id, at in sent.at.items() if at < told - 0.1}
    assert before <= sent.acknowledged | sent.refused, "a request got no answer"
    with paced(tmp_path, *OPTIONS) as service:
        listed = service.listed()
        metrics = service.ask(head("GET", "/metrics")).body.decode()
        assert service.stop(signal.SIGTERM) == 0
    assert sent.acknowledged <= listed
    assert listed <= set(sent.at)
    assert not listed & sent.refused, "it was refused and enrolled"
    found = re.search(r"^mpanet_snapshot_rows_since (\S+)$", metrics, re.MULTILINE)
    assert found, metrics
    assert float(found[1]) == 0, "the stop wrote no snapshot"


def test_what_waits_longer_than_a_stop_may_take_is_refused_with_an_answer(tmp_path: Path) -> None:
    """40 queries are 10 s of work for this encoder, and a stop has 3 s."""
    pace = Pace(crop_ms=250)
    with paced(tmp_path, *OPTIONS, "--query-deadline-s", "60", pace=pace) as service:
        with ThreadPoolExecutor(40) as threads:
            requests = [upload("/query", crop(seed)) for seed in range(40)]
            answers = queued(service, threads, requests, 40)
            told = time.monotonic()
            assert service.stop(signal.SIGTERM) == 0, service.log
            elapsed_s = time.monotonic() - told
            statuses = [answer.result().status for answer in answers]
        for answer in answers:
            if answer.result().status != 200:
                check_refusal(answer.result())
    assert set(statuses) == {200, 503}, statuses
    assert elapsed_s < STOP_S + CLOSING_S


def test_what_can_be_finished_is_finished(tmp_path: Path) -> None:
    with paced(tmp_path, *OPTIONS, pace=SLOW) as service, ThreadPoolExecutor(8) as threads:
        answers = queued(service, threads, [upload("/query", crop(seed)) for seed in range(8)], 8)
        assert service.stop(signal.SIGTERM) == 0, service.log
        assert [answer.result().status for answer in answers] == [200] * 8


def test_a_batch_under_way_is_enrolled_and_acknowledged(tmp_path: Path) -> None:
    entries = [{"modality": "visible", "entry_id": f"b{number}"} for number in range(8)]
    body = form({"entries": json.dumps(entries)}, *[("files", crop(seed)) for seed in range(8)])
    with paced(tmp_path, *OPTIONS, pace=SLOW) as service, ThreadPoolExecutor(1) as threads:
        [answer] = queued(service, threads, [post("/gallery/batch", body)], 8)
        assert service.stop(signal.SIGTERM) == 0, service.log
        results = answer.result().json()["results"]
    assert [item["status"] for item in results] == [201] * 8
    with paced(tmp_path, *OPTIONS) as service:
        assert service.listed() == {f"b{number}" for number in range(8)}


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_loses_nothing_either(tmp_path: Path, second: int) -> None:
    sent = Sent()
    with paced(tmp_path, *OPTIONS, pace=SLOW) as service, ThreadPoolExecutor(4) as threads:
        clients = [
            threads.submit(sent.keep_enrolling, service.url, f"c{index}", index * 10_000)
            for index in range(4)
        ]
        wait_until(lambda: len(sent.acknowledged) > 8, "the enrolments did not go on")
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not connects(service.url), "it still takes connections")
        told = time.monotonic()
        assert service.stop(second) == 0, service.log
        assert time.monotonic() - told < STOP_S + CLOSING_S
        for client in clients:
            client.result(timeout=30)
    with paced(tmp_path, *OPTIONS) as service:
        assert sent.acknowledged <= service.listed() <= set(sent.at)


def test_an_upload_that_is_still_arriving_is_refused_and_does_not_hold_the_stop(
    tmp_path: Path,
) -> None:
    request = upload("/gallery", crop(1), entry_id="slow")
    with paced(tmp_path, "--shutdown-s", "30") as service, Wire(service.url) as wire:
        wire.send(request[: len(request) // 2])
        service.serve_good()  # the half is there by now
        told = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        answer = wire.answer()
        assert answer is not None
        check_refusal(answer)
        assert service.process.wait(60) == 0, service.log
        assert time.monotonic() - told < 30, "the stop waited for the upload"


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", head("GET", "/healthz")])
def test_a_connection_on_which_nothing_is_under_way_does_not_hold_the_stop(
    tmp_path: Path, sent: bytes
) -> None:
    with paced(tmp_path, "--shutdown-s", "30") as service, Wire(service.url) as wire:
        wire.send(sent)
        service.serve_good()
        told = time.monotonic()
        assert service.stop(signal.SIGTERM) == 0, service.log
        assert time.monotonic() - told < 30


def test_an_encoder_that_hangs_is_told_of_and_left_behind(tmp_path: Path) -> None:
    """Requests get their answer at the deadline, the gallery goes on, a stop ends the process."""
    deadline_s = 1.0
    options = (*OPTIONS, "--query-deadline-s", str(deadline_s), "--enroll-deadline-s", "1")
    with paced(tmp_path, *options) as service, ThreadPoolExecutor(8) as threads:
        assert service.ask(upload("/gallery", crop(1), entry_id="before")).status == 201
        hanging = [threads.submit(service.ask, upload("/embed", coloured(HANGS))) for _ in range(4)]
        behind = [threads.submit(service.ask, upload("/query", crop(1))) for _ in range(4)]
        for answer in [*hanging, *behind]:
            problem = check_problem(answer.result())
            assert problem["status"] == 503, problem
            assert problem["code"] in {"deadline_exceeded", "encoder_failed", "queue_full"}, problem
        wait_until(lambda: service.ask(head("GET", "/healthz")).status == 503, "it seems healthy")
        assert service.listed() == {"before"}
        told = time.monotonic()
        service.stop(signal.SIGTERM)
        assert time.monotonic() - told < STOP_S + CLOSING_S + 5
    with paced(tmp_path) as service:
        assert service.listed() == {"before"}
        service.serve_good()


def connects(url: str) -> bool:
    """Return whether a service takes connections."""
    try:
        httpx.get(f"{url}/healthz", trust_env=False)
    except httpx.TransportError:
        return False
    return True
