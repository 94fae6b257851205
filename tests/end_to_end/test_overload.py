"""Ten times as much as the encoder can do: what it can do is done, in time; the rest hears so soon.

The encoder sleeps for a known time (200 ms a batch and 20 ms a crop, so about 30 crops a second),
which makes the capacity the encoder's and not this machine's: the service and the load need a
fraction of two cores, so that the ratios hold beside other work. `OVERLOAD_SECONDS` is how long
the load lasts.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from threading import Event

import pytest

from tests.end_to_end.load import Outcome, load
from tests.end_to_end.paced_process import Pace, Paced, paced
from tests.end_to_end.wire import form, post, upload
from tests.service.fakes import crop

SECONDS = float(os.environ.get("OVERLOAD_SECONDS", "15"))
PACE = Pace(batch_ms=200, crop_ms=20)
DEADLINE_S = 4.0
BATCH = 16
FEW, MANY = 64, 512
"""How many crops may be under way: FEW take less than the deadline, MANY three times as long."""
CLIENTS = 48
"""More than two batches have, so that the next one is always full; fewer than are let in."""
TIMES = 10
ATTEMPTS, PAUSE_S = 3, 0.25
"""A load that paused so long itself, though it sends 300 a second, was kept from the processor, and
the service with it: what was measured says nothing and is measured again."""
pytestmark = pytest.mark.timeout(180 + 2 * ATTEMPTS * SECONDS)


@contextmanager
def overloaded(directory: Path, most_crops: int) -> Iterator[Paced]:
    options = ["--query-deadline-s", str(DEADLINE_S), "--max-batch", str(BATCH)]
    options += ["--max-queue", str(most_crops), "--max-files", str(FEW)]
    with paced(directory, *options, pace=PACE) as service:
        yield service


@pytest.mark.parametrize(("most_crops", "seconds"), [(FEW, SECONDS / 2), (MANY, SECONDS)])
def test_at_ten_times_its_capacity_a_service_does_what_it_can_and_refuses_the_rest_soon(
    tmp_path: Path, most_crops: int, seconds: float
) -> None:
    """The bounds.

    Goodput: 0.9 of what 48 clients got just before, as the issue asks. Batches are full in both, so
    the same encoder limits both. Deadline: an answer that would be later is not sent, so p99 is a
    property of the service; what the network adds here is below the tenth that is given. Refusals:
    they wait for nothing but the event loop. A service that queued them would answer after about
    DEADLINE_S; a quarter of it for nine of ten tells these apart even on a machine that is busy.
    """
    with overloaded(tmp_path, most_crops) as service:
        for _ in range(ATTEMPTS):
            capacity = goodput(load(service.url, "clients", CLIENTS, 5), 5)
            outcomes = load(service.url, "rate", TIMES * capacity, seconds)
            if longest_pause_s(outcomes) < PAUSE_S:
                break
    served = [outcome for outcome in outcomes if outcome.status == 200]
    refused = [outcome for outcome in outcomes if outcome.status == 503]
    share = goodput(outcomes, seconds) / capacity
    print(
        f"\ncapacity {capacity:.1f}/s, offered {len(outcomes) / seconds:.0f}/s, {share:.3f} of it"
    )
    print(f"served p50 {percentile(served, 50):.2f} p99 {percentile(served, 99):.2f} s")
    print(f"refused p50 {percentile(refused, 50):.3f} p90 {percentile(refused, 90):.3f} s")
    print(Counter((outcome.status, outcome.code) for outcome in outcomes))
    assert len(outcomes) > TIMES / 2 * capacity * seconds, "the load itself did not come about"
    assert len(served) + len(refused) == len(outcomes)
    assert share >= 0.9
    assert percentile(served, 99) <= 1.1 * DEADLINE_S
    assert percentile(refused, 90) <= DEADLINE_S / 4
    assert all(outcome.retry_after.isdecimal() for outcome in refused)
    assert all(int(outcome.retry_after) >= 1 for outcome in refused)


def test_after_the_load_nothing_is_under_way_and_the_next_request_is_served(tmp_path: Path) -> None:
    """A request of as many crops as may be under way is let in only where none is."""
    with overloaded(tmp_path, FEW) as service:
        outcomes = load(service.url, "rate", 300, 3)
        assert {outcome.status for outcome in outcomes} == {200, 503}
        before = sum(service.batches())
        everything = form({"modality": "visible"}, *[("file", crop(1))] * FEW)
        answer = service.ask(post("/query", everything))
        assert answer.status == 200, answer
        assert sum(service.batches()) - before == FEW, "something was encoded that nobody waits for"
        service.serve_good()


def test_queries_go_before_a_bulk_enrolment(tmp_path: Path) -> None:
    """Enrolments fill every batch; a query waits for the one that runs, then goes before the rest.

    A client who asks again at once finds that batch just begun: one of 16 (520 ms), and its own of
    one (220 ms). Behind the two clients' 128 crops it would be 8 batches. Twice a batch is between.
    """
    took_s: list[float] = []
    with overloaded(tmp_path, MANY) as service, ThreadPoolExecutor(2) as threads:
        stop = Event()
        bulk = [threads.submit(_enrol_until, service, stop, first) for first in (0, 10**6)]
        _wait_for_full_batches(service)
        began = time.perf_counter()
        for number in range(12):
            sent = time.perf_counter()
            assert service.ask(upload("/query", crop(number))).status == 200
            took_s.append(time.perf_counter() - sent)
        elapsed_s = time.perf_counter() - began
        stop.set()
        enrolled = sum(each.result() for each in bulk)
    batch_s = PACE.batch_s(BATCH)
    print(
        f"\nqueries p50 {median(took_s):.3f} s, a full batch {batch_s:.3f} s, {enrolled} enrolled"
    )
    assert median(took_s) <= 2 * batch_s
    assert enrolled > 0.2 * BATCH * elapsed_s / batch_s, "the enrolments did not go on"


def _enrol_until(service: Paced, stop: Event, first: int) -> int:
    """Enrol batch after batch; returns how many crops."""
    enrolled = 0
    entries = json.dumps([{"modality": "visible"}] * FEW)
    while not stop.is_set():
        seeds = range(first + enrolled, first + enrolled + FEW)
        body = form({"entries": entries}, *[("files", crop(seed)) for seed in seeds])
        answer = service.ask(post("/gallery/batch", body))
        assert [item["status"] for item in answer.json()["results"]] == [201] * FEW
        enrolled += FEW
    return enrolled


def _wait_for_full_batches(service: Paced) -> None:
    give_up = time.monotonic() + 30
    while service.batches()[-2:] != [BATCH, BATCH]:
        assert time.monotonic() < give_up, service.batches()
        time.sleep(0.05)


def goodput(outcomes: Sequence[Outcome], seconds: float) -> float:
    """Return answers a second while the load lasted, from one batch to another.

    The answers of a batch come together, so the first of them count no time and are not counted.
    """
    came = [o.at + o.took_s for o in outcomes if o.status == 200 and o.at + o.took_s <= seconds]
    first = min(came)
    return sum(at > first + PACE.batch_s(1) / 2 for at in came) / (max(came) - first)


def longest_pause_s(outcomes: Sequence[Outcome]) -> float:
    """Return the longest time in which no request was sent."""
    return max(later - sooner for sooner, later in pairwise(sorted(o.at for o in outcomes)))


def percentile(outcomes: Sequence[Outcome], percent: int) -> float:
    """Return a percentile of how long answers took, in seconds."""
    return quantiles([outcome.took_s for outcome in outcomes], n=100)[percent - 1]
