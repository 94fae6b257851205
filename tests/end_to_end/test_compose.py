"""The compose file on a real engine: enrolled people survive `kill -9` of each container."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.end_to_end.serving import REPOSITORY, free_port
from tests.mpanet.serving import environment
from training.synthetic.cameras import SYSU_CAMERAS
from training.synthetic.people import sample_person
from training.synthetic.render import crop_rng, render_crop

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]
PEOPLE = 12
SEED = 20260


def compose_command() -> list[str]:
    """`docker compose` or `docker-compose`; skips with the reason if neither is there."""
    if shutil.which("docker") is None:
        pytest.skip("no docker command here")
    if subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        pytest.skip("no Docker engine answers here")
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose") is None:
        pytest.skip("a Docker engine is here but no compose")
    return ["docker-compose"]


class Stack:
    """One compose project with a name and a port of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._compose = [*compose_command(), "--project-name", f"mpanet-test-{self.port}"]

    def run(self, *arguments: str) -> str:
        result = subprocess.run(
            [*self._compose, *arguments],
            cwd=REPOSITORY,
            env=environment(MPANET_PORT=str(self.port)),
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def kill(self, service: str) -> None:
        container = self.run("ps", "-q", service).strip()
        subprocess.run(["docker", "kill", "--signal", "KILL", container], check=True)

    def wait_ready(self, timeout_s: float = 120) -> None:
        give_up = time.monotonic() + timeout_s
        answer = "no answer"
        while time.monotonic() < give_up:
            try:
                response = httpx.get(f"{self.url}/readyz", timeout=5)
                answer = response.text
                if response.status_code == 200:
                    return
            except httpx.TransportError as error:
                answer = repr(error)
            time.sleep(0.5)
        pytest.fail(f"not ready within {timeout_s} s: {answer}\n{self.run('logs', '--no-color')}")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack()
    try:
        stack.run("build", "mpanet")
        stack.run("up", "-d", "mpanet")
        stack.wait_ready()
        yield stack
    finally:
        stack.run("down", "--volumes")


def crop(person: int, camera: int) -> bytes:
    rendered = render_crop(
        sample_person(SEED, person),
        SYSU_CAMERAS[camera - 1],
        crop_rng(SEED, person, camera, 0),
    )
    buffer = BytesIO()
    Image.fromarray(rendered.image).save(buffer, format="PNG")
    return buffer.getvalue()


def enroll(stack: Stack) -> None:
    for person in range(PEOPLE):
        response = httpx.post(
            f"{stack.url}/gallery",
            files={"file": ("crop.png", crop(person, 1), "image/png")},
            data={
                "modality": "visible",
                "entry_id": f"entry-{person}",
                "person_id": f"person-{person}",
                "camera_id": "1",
            },
            timeout=60,
        )
        assert response.status_code == 201, response.text


def answers(stack: Stack) -> list[list[tuple[str, float]]]:
    """For each person in infrared: every entry and its similarity, in rank order."""
    rows = []
    for person in range(PEOPLE):
        response = httpx.post(
            f"{stack.url}/query",
            files={"file": ("crop.png", crop(person, 3), "image/png")},
            data={"modality": "infrared", "top_k": str(PEOPLE)},
            timeout=60,
        )
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        assert body["gallery_size"] == PEOPLE
        rows.append([(match["entry_id"], match["similarity"]) for match in body["matches"]])
    return rows


def test_enrolled_people_survive_kill_9_of_each_container(stack: Stack) -> None:
    enroll(stack)
    before = answers(stack)
    found = sum(row[0][0] == f"entry-{person}" for person, row in enumerate(before))
    print(f"\nrank-1 of {PEOPLE} people, one visible crop each, by infrared crop: {found}")
    assert found > PEOPLE // 2
    for service in ("mpanet", "redis"):
        stack.kill(service)
        stack.run("up", "-d", "mpanet")
        stack.wait_ready()
        assert answers(stack) == before, f"after kill -9 of {service}"
    stack.run("kill", "-s", "KILL")
    stack.run("up", "-d", "mpanet")
    stack.wait_ready()
    assert answers(stack) == before, "after kill -9 of both"


def test_durability_class_is_power_loss(stack: Stack) -> None:
    assert "power-loss" in httpx.get(f"{stack.url}/readyz", timeout=10).text


def test_image_runs_as_a_user_without_rights_and_without_torch(stack: Stack) -> None:
    assert stack.run("exec", "-T", "mpanet", "id", "-u").strip() == "10001"
    probe = "import importlib.util as u; print(u.find_spec('torch'), u.find_spec('faiss') is None)"
    assert stack.run("exec", "-T", "mpanet", "python", "-c", probe).strip() == "None False"


def test_image_size_is_printed(stack: Stack) -> None:
    listed = subprocess.run(
        ["docker", "image", "inspect", "mpanet:cpu"], check=True, capture_output=True, text=True
    )
    size_mb = json.loads(listed.stdout)[0]["Size"] / 1e6
    print(f"\nimage mpanet:cpu {size_mb:.0f} MB")
    assert size_mb < 2000, "torch came along"
