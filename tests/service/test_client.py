"""The client: its methods against a service, one set that waits and one that awaits."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.client import AsyncServiceClient, ServiceClient, ServiceError
from tests.service.asgi import AppTransport
from tests.service.conftest import open_gallery, small_settings
from tests.service.fakes import MODEL_ID, TinyEncoder, crop
from tests.service.tiny_artifact import write_tiny_artifact

METHODS = {
    *("enroll", "enroll_batch", "query", "embed", "compare", "get", "crop", "page", "list"),
    *("update", "delete", "erase_person", "models", "model", "activate", "rollback", "job"),
    *("patterns", "publish_model", "reclaim", "calibrate", "jobs", "cancel"),
    *("whoami", "audit", "health", "ready", "metrics", "openapi"),
}


@pytest.fixture
def client(transport: AppTransport) -> Iterator[ServiceClient]:
    with ServiceClient("http://localhost", transport=transport) as client:
        yield client


def test_every_call_of_the_gallery(client: ServiceClient) -> None:
    entry = client.enroll(crop(1), "visible", entry_id="a", person_id="p/1", attributes={"x": 1})
    assert client.get("a") == entry
    assert client.crop("a") == crop(1)
    assert client.update("a", camera_id="c", person_id="p/1")["camera_id"] == "c"
    results = client.enroll_batch(
        [crop(2), b"text"],
        [{"modality": "visible", "entry_id": "b", "person_id": "p/1"}, {"modality": "visible"}],
    )
    assert [result["status"] for result in results] == [201, 415]
    assert [e["entry_id"] for e in client.list(limit=1, person_id="p/1")] == ["a", "b"]
    assert [e["entry_id"] for e in client.list(camera_id=["c", "d"])] == ["a"]
    assert [e["entry_id"] for e in client.list(attributes={"x": 1})] == ["a"]
    page = client.page(limit=1)
    assert [e["entry_id"] for e in page["entries"]] == ["a"]
    assert client.page(cursor=page["next_cursor"])["entries"][0]["entry_id"] == "b"
    client.delete("a")
    assert client.erase_person("p/1")["entry_ids"] == ["b"]
    assert list(client.list()) == []


def test_every_call_of_the_model(client: ServiceClient) -> None:
    client.enroll(crop(1), "visible", entry_id="a", captured_at=datetime(2026, 1, 1, tzinfo=UTC))
    answer = client.query([crop(1)], "infrared", top_k=1, target_modality="visible", rerank=False)
    assert [match["entry_id"] for match in answer["matches"]] == ["a"]
    later = datetime(2026, 1, 2, tzinfo=UTC)
    assert client.query([crop(1)], "infrared", captured_after=later)["matches"] == []
    apart = client.query(
        [crop(1)], "infrared", rerank=True, exclude_person_id=["p", "q"], attributes={"x": 1}
    )
    assert apart["matches"] == []
    assert client.embed(crop(1), "visible")["model_id"] == MODEL_ID
    comparison = client.compare((crop(1), crop(1)), ("visible", "infrared"))
    assert comparison["similarity"] == pytest.approx(1, abs=1e-5)
    assert client.models()["active"] == MODEL_ID
    assert client.model(MODEL_ID) == client.models()["models"][0] == client.activate(MODEL_ID)
    assert client.ready()["status"] == "ready"
    assert client.health() == {"status": "ok"}
    assert "mpanet_gallery_entries 1" in client.metrics()
    assert client.openapi()["info"]["title"] == "mpanet"


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda client: client.get("a b?#%"), "entry_not_found"),
        (lambda client: client.job("j"), "job_not_found"),
        (lambda client: client.model("m"), "model_not_found"),
        (lambda client: client.rollback(), "no_earlier_model"),
        (lambda client: client.reclaim(), "no_earlier_model"),
        (lambda client: client.calibrate(MODEL_ID), "refresh_unsupported"),
        (lambda client: client.cancel("j"), "job_not_found"),
        (lambda client: client.query([b"text"], "visible"), "unsupported_image"),
        (lambda client: client.query([crop(1)], "ultraviolet"), "invalid_fields"),
    ],
)
def test_a_refusal_is_an_error_with_its_problem(
    client: ServiceClient, ask: Callable[[ServiceClient], object], code: str
) -> None:
    with pytest.raises(ServiceError, match=code) as caught:
        ask(client)
    assert caught.value.code == caught.value.problem["code"] == code
    assert caught.value.status == caught.value.problem["status"]
    assert caught.value.detail
    assert caught.value.request_id


def test_the_awaited_methods_do_the_same(tmp_path: Any) -> None:
    async def use(client: AsyncServiceClient) -> None:
        entry = await client.enroll(crop(1), "visible", entry_id="a", person_id="p")
        assert await client.get("a") == entry
        assert await client.crop("a") == crop(1)
        items: list[dict[str, object]] = [{"modality": "visible"}, {"modality": "visible"}]
        results = await client.enroll_batch([crop(2), b"text"], items)
        assert [result["status"] for result in results] == [201, 415]
        listed = [e["entry_id"] async for e in client.list(limit=1)]
        assert listed == ["a", results[0]["entry"]["entry_id"]]
        answer = await client.query([crop(1)], "infrared", top_k=1)
        assert [match["entry_id"] for match in answer["matches"]] == ["a"]
        await client.delete("a")
        with pytest.raises(ServiceError, match="404 person_not_found"):
            await client.erase_person("p")

    settings = small_settings(tmp_path)
    with open_gallery(settings) as gallery:
        app = create_app(settings, TinyEncoder(), gallery)

        async def run() -> None:
            transport = httpx.ASGITransport(app)
            async with (
                app.router.lifespan_context(app),
                AsyncServiceClient("http://localhost", transport=transport) as client,
            ):
                await use(client)

        asyncio.run(run())


@pytest.mark.parametrize("kind", [ServiceClient, AsyncServiceClient])
def test_both_have_every_call(kind: type) -> None:
    public = {name for name in vars(kind) if not name.startswith("_")}
    assert public == METHODS | {"send", "close"}
    assert all(getattr(kind, name).__doc__ for name in METHODS)


def test_the_client_has_every_call_of_the_document(
    shared_http: httpx.Client, tmp_path: Path
) -> None:
    sent: set[tuple[str, str]] = set()

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode().split("?")[0]
        sent.add((request.method.lower(), path))
        return httpx.Response(200, json={"entries": [], "next_cursor": None, "results": []})

    with ServiceClient("http://localhost", transport=httpx.MockTransport(answer)) as client:
        client.enroll(b"", "visible")
        client.enroll_batch([], [])
        client.query([b""], "visible")
        client.embed(b"", "visible")
        client.compare((b"", b""), ("visible", "visible"))
        client.get("{entry_id}")
        client.crop("{entry_id}")
        assert list(client.list()) == []
        client.update("{entry_id}", person_id=None)
        client.delete("{entry_id}")
        client.erase_person("{person_id}")
        client.models()
        client.model("{model_id}")
        client.publish_model(write_tiny_artifact(tmp_path / "model").directory)
        client.activate("{model_id}")
        client.rollback()
        client.patterns("{query_id}", "e")
        client.reclaim()
        client.calibrate("{model_id}")
        client.jobs()
        client.job("{job_id}")
        client.cancel("{job_id}")
        client.whoami()
        client.audit()
        client.health()
        client.ready()
        client.metrics()
    document = shared_http.get("/openapi.json").json()
    calls = {(method, path) for path, methods in document["paths"].items() for method in methods}
    pages = {("get", "/"), ("get", "/docs"), ("get", "/jobs/{job_id}/events")}
    readable = {(m, p.replace("%7B", "{").replace("%7D", "}")) for m, p in sent}
    assert readable == calls - pages


def test_what_a_change_clears_is_sent_as_null() -> None:
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return httpx.Response(200, json={})

    with ServiceClient("http://localhost", transport=httpx.MockTransport(answer)) as client:
        client.update("a", person_id=None, captured_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert bodies == [b'{"person_id":null,"captured_at":"2026-01-01T00:00:00+00:00"}']


SECRET = "mpanet_12ab_VerySecretIndeed"


def test_the_key_is_in_no_repr_log_or_error(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == f"Bearer {SECRET}"
        raise httpx.ReadError("gone", request=request)

    caplog.set_level(logging.DEBUG)
    transport = httpx.MockTransport(refuse)
    client = ServiceClient("http://localhost", SECRET, transport=transport, sleep=lambda _: None)
    with pytest.raises(ServiceError) as caught:
        client.models()
    error: BaseException | None = caught.value
    shown = [caplog.text, repr(client), repr(vars(client)), repr(client._http)]
    while error is not None:
        shown += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    assert not [text for text in shown if SECRET in text]


def test_a_password_of_the_address_is_not_shown_and_not_mixed_with_a_key() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    transport = httpx.MockTransport(refuse)
    client = ServiceClient("http://user:hidden@there", transport=transport, sleep=lambda _: None)
    with pytest.raises(ServiceError, match="http://there: refused") as caught:
        client.models()
    assert "hidden" not in f"{client!r} {caught.value}"
    with pytest.raises(ValueError, match="user and password beside an API key"):
        ServiceClient("http://user:hidden@service", SECRET)


@pytest.mark.parametrize("key", ["se\ncret", "se cret", "secrét", ""])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    with pytest.raises(ValueError, match="api_key: expected printable ASCII") as caught:
        ServiceClient("http://localhost", key)
    assert "cr" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>a proxy's page"),
        httpx.Response(200, json=["not", "an", "object"]),
        httpx.Response(204),
    ],
)
def test_an_answer_of_something_else_is_an_error(answer: httpx.Response) -> None:
    client = ServiceClient("http://localhost", transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(ServiceError, match="not_understood") as caught:
        client.models()
    assert caught.value.status == answer.status_code


def test_importing_it_brings_nothing_of_the_service_along() -> None:
    script = "import sys, service.client; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    heavy = {"fastapi", "starlette", "faiss", "numpy", "onnxruntime", "pydantic", "PIL", "uvicorn"}
    assert not loaded & (heavy | {"model", "gallery_index", "mpanet", "training"})
    assert "httpx" in loaded
