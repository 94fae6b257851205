"""`POST /models`: what comes in, what is refused, and that nothing half is ever left."""

import asyncio
import errno
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gallery_index.gallery import Gallery
from model.artifact import MANIFEST_NAME, ONNX_NAME, ModelArtifact
from service.app import create_app
from service.audit.log import AuditLog
from service.client import AsyncServiceClient, ServiceClient
from service.refresh.registry import ModelRegistry
from service.refresh.verification import Trials
from service.settings import ServiceSettings
from tests.end_to_end.process_figures import MIB
from tests.mpanet.serving import environment, service
from tests.service.asgi import AppTransport, running
from tests.service.audit.logs import calls_of
from tests.service.claims import fields_of, problem_of
from tests.service.fakes import CONFIG, MODEL_ID, TinyEncoder, crop
from tests.service.refresh.bad_artifacts import (
    endless,
    ends_the_process,
    not_a_number,
    write_model,
)
from tests.service.tiny_artifact import write_tiny_artifact

MAX_MODEL_BYTES = 100_000


@dataclass
class Published:
    """A service that has one model, a place for others, and an audit log."""

    http: httpx.Client
    app: FastAPI
    transport: AppTransport
    models: Path
    log: Path

    def send(self, directory: Path) -> httpx.Response:
        return self.http.post("/models", files=files_of(directory))

    def check_untouched(self) -> None:
        """Nothing came in, and the model that answered goes on answering."""
        assert list(self.models.iterdir()) == []
        answer = self.http.post("/embed", files={"file": crop(1)}, data={"modality": "visible"})
        assert answer.json()["model_id"] == MODEL_ID


@pytest.fixture
def published(settings: ServiceSettings, gallery: Gallery, tmp_path: Path) -> Iterator[Published]:
    settings = settings.model_copy(update={"max_model_bytes": MAX_MODEL_BYTES})
    log = AuditLog.open(tmp_path / "audit", keep_days=1)
    registry = ModelRegistry(settings.models_directory, Trials(provider="cpu", timeout_s=3))
    app = create_app(settings, TinyEncoder(), gallery, audit=log, registry=registry)
    with (
        running(app) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        yield Published(http, app, transport, settings.models_directory, tmp_path / "audit")
    log.close()


@pytest.fixture
def made(tmp_path: Path) -> ModelArtifact:
    return write_tiny_artifact(tmp_path / "made")


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        "manifest": (directory / MANIFEST_NAME).read_bytes(),
        "model": (directory / ONNX_NAME).read_bytes(),
    }


def form(**parts: bytes) -> bytes:
    pieces = [
        b'--b\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\n%s\r\n'
        % (name.encode(), content)
        for name, content in parts.items()
    ]
    return b"".join(pieces) + b"--b--\r\n"


def test_a_model_is_published_and_the_active_one_stays(
    published: Published, made: ModelArtifact
) -> None:
    answer = published.send(made.directory)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/models/{made.model_id}"
    body = answer.json()
    assert (body["model_id"], body["active"]) == (made.model_id, False)
    assert body["embedding_dim"] == CONFIG.embedding_dim
    assert [path.name for path in published.models.iterdir()] == [made.model_id]
    copy = published.models / made.model_id
    assert files_of(copy) == files_of(made.directory)
    embedded = published.http.post("/embed", files={"file": crop(1)}, data={"modality": "visible"})
    assert embedded.json()["model_id"] == MODEL_ID


def test_the_same_model_again_is_the_one_that_is_there(
    published: Published, made: ModelArtifact
) -> None:
    assert [published.send(made.directory).status_code for _ in range(3)] == [201, 200, 200]


def test_the_same_model_at_once_is_published_once(
    published: Published, made: ModelArtifact
) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(published.send, [made.directory] * 4))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert [path.name for path in published.models.iterdir()] == [made.model_id]


def truncated(directory: Path) -> None:
    graph = write_model(directory).onnx_path
    graph.write_bytes(graph.read_bytes()[:-100])


def another_manifest(directory: Path) -> None:
    other = write_model(directory.with_name("other"), little=0.5)
    write_model(directory)
    (directory / MANIFEST_NAME).write_bytes((other.directory / MANIFEST_NAME).read_bytes())


def unknown_preprocessing(directory: Path) -> None:
    path = write_model(directory).directory / MANIFEST_NAME
    manifest = json.loads(path.read_text())
    manifest["preprocessing"]["interpolation"] = "bicubic"
    path.write_text(json.dumps(manifest))


def no_manifest(directory: Path) -> None:
    (write_model(directory).directory / MANIFEST_NAME).write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (truncated, "model.onnx does not match its manifest"),
        (another_manifest, "model.onnx does not match its manifest"),
        (unknown_preprocessing, "preprocessing.interpolation"),
        (no_manifest, "manifest.json: "),
        (lambda directory: write_model(directory, before=not_a_number), "not finite"),
        (lambda directory: write_model(directory, normalised=False), "length 1"),
        (lambda directory: write_model(directory, declared_dim=64), "expected inputs and outputs"),
        (lambda directory: write_model(directory, before=ends_the_process), "SIGFPE"),
        (lambda directory: write_model(directory, before=endless), "not embedded .* after 3 s"),
    ],
)
def test_a_bad_model_is_refused_with_the_reason(
    published: Published, tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "bad")
    problem = problem_of(published.send(tmp_path / "bad"), 422, "invalid_artifact")
    assert re.search(reason, problem["detail"])
    assert str(tmp_path) not in problem["detail"]
    published.check_untouched()


@pytest.mark.parametrize("announced", [True, False])
def test_a_model_that_is_too_large(
    published: Published, made: ModelArtifact, announced: bool
) -> None:
    files = files_of(made.directory) | {"model": b"x" * (MAX_MODEL_BYTES + 1)}
    body = form(**files)
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = published.http.post(
        "/models", content=body if announced else iter([body]), headers=headers
    )
    problem_of(answer, 413, "too_many_bytes")
    published.check_untouched()


def test_a_body_that_announces_too_much_is_not_read(published: Published) -> None:
    def never() -> Iterator[bytes]:
        yield pytest.fail("the body was read")

    too_much = str(2 * MAX_MODEL_BYTES + MIB)
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": too_much}
    answer = published.http.post("/models", content=never(), headers=headers)
    problem_of(answer, 413, "too_many_bytes")
    published.check_untouched()


def test_a_body_that_ends_early(published: Published, made: ModelArtifact) -> None:
    body = form(**files_of(made.directory))
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    for length in (0, 1, len(body) // 2, len(body) - 6):
        answer = published.http.post("/models", content=body[:length], headers=headers)
        problem_of(answer, 422, "malformed_body")
        published.check_untouched()


def test_a_client_that_leaves_in_the_middle(published: Published, made: ModelArtifact) -> None:
    body = form(**files_of(made.directory))
    pieces = [
        {"type": "http.request", "body": body[: len(body) // 2], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return pieces.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = httpx_scope({"content-type": "multipart/form-data; boundary=b"})
    published.transport._portal.call(published.app, scope, receive, send)
    assert sent[0]["status"] == 499
    assert pieces == []
    published.check_untouched()


def httpx_scope(headers: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": "/models",
        "raw_path": b"/models",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "state": {},
    }


@pytest.mark.parametrize(
    ("parts", "wrong"),
    [
        ({"manifest": b"{}"}, {"model"}),
        ({"model": b"x"}, {"manifest"}),
        ({}, {"manifest", "model"}),
        ({"manifest": b"{}", "model": b"x", "extra": b"y"}, {"extra"}),
    ],
)
def test_parts_that_are_missing_or_unknown(
    published: Published, parts: dict[str, bytes], wrong: set[str]
) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = published.http.post("/models", content=form(**parts), headers=headers)
    assert fields_of(problem_of(answer, 422, "invalid_fields")) == wrong
    published.check_untouched()


def test_a_part_that_comes_twice(published: Published, made: ModelArtifact) -> None:
    files = list(files_of(made.directory).items())
    answer = published.http.post("/models", files=[*files, files[1]])
    assert fields_of(problem_of(answer, 422, "invalid_fields")) == {"model"}
    published.check_untouched()


def test_no_form_at_all(published: Published) -> None:
    problem_of(published.http.post("/models", json={}), 415, "unsupported_content")
    published.check_untouched()


def test_a_full_disk(
    published: Published, made: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("service.refresh.registry.write_synced", full)
        problem_of(published.send(made.directory), 507, "storage_full")
    published.check_untouched()
    assert published.send(made.directory).status_code == 201


def test_a_body_for_which_there_is_no_room_is_not_read(
    published: Published, made: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**26))
    problem = problem_of(published.send(made.directory), 507, "storage_full")
    assert "67,108,864 are free, 67,108,864 are to stay so" in problem["detail"]
    published.check_untouched()


def test_what_was_asked_and_done_is_recorded_with_the_model(
    published: Published, made: ModelArtifact, tmp_path: Path
) -> None:
    published.send(made.directory)
    bad = write_model(tmp_path / "bad", normalised=False)
    published.send(bad.directory)
    recorded = [
        (call["phase"], call.get("status"), call.get("code"), call["fields"]["model_id"])
        for call in calls_of(published.log)
        if call["call"] == "POST /models"
    ]
    assert recorded == [
        ("asked", None, None, made.model_id),
        ("done", 201, None, made.model_id),
        ("asked", None, None, bad.model_id),
        ("done", 422, "invalid_artifact", bad.model_id),
    ]


def test_a_stop_ends_what_is_being_tried(published: Published, tmp_path: Path) -> None:
    slow = write_model(tmp_path / "slow", before=endless)
    registry = published.app.state.context.registry
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(published.send, slow.directory)
        while not any(published.models.glob(".incoming-*/model.onnx")):
            threading.Event().wait(0.01)
        registry.stop()
        problem_of(answer.result(), 503, "shutting_down")
    published.check_untouched()


def test_a_service_without_a_place_for_models(http: httpx.Client, made: ModelArtifact) -> None:
    problem_of(http.post("/models", files=files_of(made.directory)), 422, "not_available_yet")


# The client


def test_the_client_publishes_a_directory(published: Published, made: ModelArtifact) -> None:
    with ServiceClient("http://localhost", transport=published.transport) as client:
        assert client.publish_model(made.directory)["model_id"] == made.model_id


def test_the_client_sends_the_files_anew_when_the_connection_was_lost(
    published: Published, made: ModelArtifact
) -> None:
    class Lossy(httpx.BaseTransport):
        lost = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if self.lost < 2:
                self.lost += 1
                next(iter(request.stream))  # type: ignore[arg-type]
                raise httpx.ReadError("gone", request=request)
            return published.transport.handle_request(request)

    with ServiceClient("http://localhost", transport=Lossy(), sleep=lambda seconds: None) as client:
        assert client.publish_model(made.directory)["model_id"] == made.model_id
    assert files_of(published.models / made.model_id) == files_of(made.directory)


def test_the_awaited_client_does_the_same(made: ModelArtifact) -> None:
    bodies: list[bytes] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(await request.aread())
        return httpx.Response(201, json={"model_id": made.model_id})

    async def use() -> None:
        transport = httpx.MockTransport(answer)
        async with AsyncServiceClient("http://localhost", transport=transport) as client:
            assert (await client.publish_model(made.directory))["model_id"] == made.model_id

    asyncio.run(use())
    [body] = bodies
    assert all(content in body for content in files_of(made.directory).values())


def test_a_directory_without_a_model_is_an_error_of_its_own(tmp_path: Path) -> None:
    with (
        ServiceClient("http://localhost", transport=httpx.MockTransport(_unasked)) as client,
        pytest.raises(FileNotFoundError, match=r"manifest\.json"),
    ):
        client.publish_model(tmp_path)


def _unasked(request: httpx.Request) -> httpx.Response:
    raise AssertionError("sent")


# A service of its own


def test_a_large_model_takes_no_memory(tmp_path: Path) -> None:
    """More than all bodies may have in memory together; refused only by its hash."""
    model = write_tiny_artifact(tmp_path / "model").directory
    size, piece = 300 * MIB, bytes(MIB)
    parts = form(manifest=(model / MANIFEST_NAME).read_bytes(), model=b"*")
    before, after = parts.rsplit(b"*", 1)

    def body() -> Iterator[bytes]:
        yield before
        for _ in range(size // MIB):
            yield piece
        yield after

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    with service(model, tmp_path / "data", env=environment()) as running_service:
        httpx.get(f"{running_service.url}/readyz")
        at_first = peak_bytes(running_service.process.pid)
        answer = httpx.post(
            f"{running_service.url}/models", content=body(), headers=headers, timeout=60
        )
        problem_of(answer, 422, "invalid_artifact")
        assert peak_bytes(running_service.process.pid) - at_first < 32 * MIB
        assert not any((tmp_path / "data" / "models").glob(".incoming-*"))


def test_a_service_killed_while_it_verifies_starts_with_nothing_half(tmp_path: Path) -> None:
    model = write_tiny_artifact(tmp_path / "model")
    slow = write_model(tmp_path / "slow", before=endless)
    models = tmp_path / "data" / "models"
    with (
        ThreadPoolExecutor(1) as pool,
        service(model.directory, tmp_path / "data", env=environment()) as killed,
    ):
        answer = pool.submit(
            httpx.post, f"{killed.url}/models", files=files_of(slow.directory), timeout=60
        )
        while not any(models.glob(".incoming-*/model.onnx")):
            threading.Event().wait(0.01)
        killed.stop(signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            answer.result()
    assert any(models.glob(".incoming-*"))
    with service(model.directory, tmp_path / "data", env=environment()) as again:
        listed = httpx.get(f"{again.url}/models").json()
        assert [each["model_id"] for each in listed["models"]] == [model.model_id]
        assert not any(models.glob(".incoming-*"))
        published = httpx.post(f"{again.url}/models", files=files_of(_other(tmp_path)), timeout=60)
        assert published.status_code == 201


def _other(place: Path) -> Path:
    return write_model(place / "other", little=0.02).directory


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [peak] = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(peak) * 1024
