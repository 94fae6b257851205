"""200 rendered people are enrolled, the process is killed, and every answer is the same again."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.serving import SERVE_BIN, ServiceProcess, service
from tests.redis_server import RedisServer

pytestmark = pytest.mark.timeout(600)
PEOPLE = 200
Answers = dict[str, list[tuple[str, str, float]]]


def mpanet(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SERVE_BIN / "mpanet", *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SYSU-MM01 layout of 200 people, one crop a camera."""
    directory = tmp_path_factory.mktemp("people") / "sysu"
    size = ["--persons", str(PEOPLE), "--images-per-camera", "1"]
    done = mpanet("synthesize", "--out", directory, "--layout", "sysu-mm01", *size, "--seed", "77")
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(params=["sqlite", "redis"])
def store_options(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield []
        else:
            server = stack.enter_context(RedisServer(tmp_path / "redis"))
            yield ["--redis-url", server.url]


def enroll(running: ServiceProcess, people: Path) -> dict[str, Any]:
    options = ["--layout", "sysu-mm01", "--cameras", "1", "--url", running.url, "--json"]
    done = mpanet("enroll", people, *options)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def enroll_and_kill_midway(running: ServiceProcess, people: Path) -> int:
    """Kill the service while `mpanet enroll` is at work; returns how many were there by then."""
    options = ["--layout", "sysu-mm01", "--cameras", "1", "--url", running.url]
    client = subprocess.Popen(
        [SERVE_BIN / "mpanet", "enroll", people, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up = time.monotonic() + 120
        while (stored := running.gallery_size()) == 0 and time.monotonic() < give_up:
            time.sleep(0.01)
        running.kill()
    finally:
        client.kill()
        client.wait(timeout=30)
    return stored


def query_everybody(running: ServiceProcess, people: Path) -> Answers:
    """For each person, by the infrared crop of camera 3: the ten best matches."""
    answers: Answers = {}
    with httpx.Client(base_url=running.url, timeout=60) as client:
        for path in sorted((people / "cam3").glob("*/*.jpg")):
            response = client.post(
                "/query", files={"file": path.read_bytes()}, data={"modality": "infrared"}
            )
            assert response.status_code == 200, response.text
            answers[path.parent.name] = [
                (match["entry_id"], match["person_id"], match["similarity"])
                for match in response.json()["matches"]
            ]
    return answers


def test_kill_9_loses_nothing_and_changes_no_answer(
    people: Path, tmp_path: Path, store_options: list[str]
) -> None:
    data = tmp_path / "gallery"
    options = ["--model", "demo", *store_options]
    with service("serve", data, *options) as running:
        stored = enroll_and_kill_midway(running, people)
    assert stored > 0
    with service("serve", data, *options) as running:
        assert running.gallery_size() >= stored
        enroll(running, people)
        assert running.gallery_size() == PEOPLE
        before = query_everybody(running, people)
        running.kill()
    with service("serve", data, *options) as running:
        assert running.gallery_size() == PEOPLE
        after = query_everybody(running, people)
        assert running.stop() == 0
    assert len(before) == PEOPLE
    assert after == before
    found = sum(matches[0][1] == person for person, matches in before.items())
    print(f"\nrank-1 of {PEOPLE} people, one visible crop each, camera 3 to camera 1: {found}")
    assert found > PEOPLE // 2
    redis = store_options[-1:] and ["--redis-url", store_options[-1]]
    checked = mpanet("gallery", "verify", "--data", data, *redis)
    assert checked.returncode == 0, checked.stdout + checked.stderr
