"""The outermost layer: what is logged, counted and told of a request."""

import asyncio
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gallery_index.gallery import Gallery
from service.app import create_app
from service.edge import Edge
from service.errors import QueueFullError
from service.observing.logging_format import formatter
from service.observing.request_metrics import RequestCounts
from service.observing.route_templates import RouteTemplates
from service.settings import ServiceSettings
from tests.service.asgi import running
from tests.service.fakes import TinyEncoder, crop
from tests.service.test_gallery_routes import enrol

KEY = "a-secret-that-nobody-may-see"


def fields_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the fields of every logged request, as JSON has them."""
    json_lines = formatter("json")
    return [
        json.loads(json_lines.format(record))
        for record in caplog.records
        if record.name == "service.requests"
    ]


def served(
    app: ASGIApp, path: str = "/known", body: bytes = b"", **scope: Any
) -> tuple[list[Message], RequestCounts]:
    """Send one request through the edge; returns what went out and what was counted."""
    sent: list[Message] = []
    counts = RequestCounts()
    templates = RouteTemplates([Route("/known", lambda _: None), Route("/a/{x:path}/b", str)])

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    full = {"type": "http", "method": "GET", "path": path, "headers": [], **scope}
    asyncio.run(Edge(app, counts, templates)(full, receive, send))
    return sent, counts


def answering(status: int = 200) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app


def failing(error: Exception, *, after_start: bool = False) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if after_start:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    return app


def counted(counts: RequestCounts, name: str) -> dict[tuple[str, ...], float]:
    """Return the numbers of a family that are not 0, by the values of their labels."""
    [family] = [family for family in counts.families() if family.name == name]
    return {
        tuple(sample.labels.values()): sample.value
        for sample in family.samples
        if sample.suffix in ("", "_count") and sample.value
    }


def test_a_request_is_one_line_that_says_who_called_what_and_how_it_went(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "service.requests"):
        response = http.get("/gallery/an-entry-of-somebody?secret=1")
    [line] = fields_of(caplog)
    assert response.status_code == 404
    assert line["duration_ms"] >= 0
    expected = {
        "level": "INFO",
        "logger": "service.requests",
        "message": "GET /gallery/{entry_id} 404",
        "request_id": response.headers["X-Request-Id"],
        "method": "GET",
        "route": "/gallery/{entry_id}",
        "status": 404,
        "code": "entry_not_found",
        "bytes_in": 0,
        "caller": "anonymous",
        "client": "127.0.0.1",
    }
    assert {name: line[name] for name in line if name not in ("time", "duration_ms")} == expected


def test_no_key_and_no_persons_name_comes_into_the_log(
    settings: ServiceSettings, gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings.model_copy(update={"api_key": SecretStr(KEY)})
    with (
        caplog.at_level(logging.DEBUG),
        running(create_app(settings, TinyEncoder(), gallery)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        http.get("/gallery", headers={"Authorization": f"Bearer {KEY}"})
        http.get("/gallery", headers={"X-API-Key": f"{KEY}-of-somebody-else"})
        http.delete("/persons/Jane", headers={"X-API-Key": KEY})
    lines = fields_of(caplog)
    assert [line["status"] for line in lines] == [200, 401, 404]
    assert [line.get("caller") for line in lines] == ["environment", None, "environment"]
    assert [line["route"] for line in lines] == ["/gallery", "/gallery", "/persons/{person_id}"]
    ours = [record for record in caplog.records if record.name.startswith(("service", "uvicorn"))]
    text = "\n".join(formatter("json").format(record) for record in ours)
    assert KEY not in text
    assert "Jane" not in text


def test_successful_probes_are_logged_at_debug_alone(
    http: httpx.Client, gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    paths = ["/healthz", "/readyz", "/metrics"]
    with caplog.at_level(logging.DEBUG, "service.requests"):
        for path in paths:
            http.get(path)
        http.get("/models")
    assert [(line["route"], line["level"]) for line in fields_of(caplog)] == [
        *((path, "DEBUG") for path in paths),
        ("/models", "INFO"),
    ]


def test_a_probe_that_fails_is_not_hidden(caplog: pytest.LogCaptureFixture) -> None:
    templates = RouteTemplates([Route("/healthz", str)])
    sent: list[Message] = []

    async def serve() -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": []}
        await Edge(answering(503), RequestCounts(), templates)(scope, receive, send)

    with caplog.at_level(logging.DEBUG, "service.requests"):
        asyncio.run(serve())
    assert [line["level"] for line in fields_of(caplog)] == ["INFO"]


def test_an_unknown_path_is_logged_escaped_and_cut(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "service.requests"):
        served(answering(404), "/\r\nforged \ud800" + "x" * 70_000)
    [line] = fields_of(caplog)
    assert line["path"].startswith("/%0D%0Aforged%20%3Fxxx")
    assert len(line["path"]) == 200
    assert "route" not in line
    assert len(caplog.records[0].getMessage()) < 220


def test_an_unknown_path_or_method_is_counted_as_other() -> None:
    for path in ("/wp-login.php", "/known/", "/a/b"):
        _, counts = served(answering(404), path, method="BREW")
        assert counted(counts, "mpanet_request_seconds") == {("other", "other", "404"): 1}


@pytest.mark.parametrize("path", ["/a/1/b", "/a/x/y/z/b"])
def test_a_call_is_counted_by_its_template(path: str) -> None:
    _, counts = served(answering(), path)
    assert counted(counts, "mpanet_request_seconds") == {("/a/{x}/b", "GET", "200"): 1}


def test_a_refusal_before_routing_is_counted_by_call_and_code() -> None:
    sent, counts = served(failing(QueueFullError("full")))
    assert sent[0]["status"] == 503
    assert counted(counts, "mpanet_request_seconds") == {("/known", "GET", "503"): 1}
    assert counted(counts, "mpanet_problems_total") == {("queue_full",): 1}


def test_a_breakdown_is_one_line_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    sent, counts = served(failing(ZeroDivisionError("a secret")))
    assert sent[0]["status"] == 500
    assert b"a secret" not in sent[1]["body"]
    [line] = fields_of(caplog)
    assert (line["level"], line["status"], line["code"]) == ("ERROR", 500, "internal_error")
    assert line["exception"].endswith("ZeroDivisionError: a secret")
    assert counted(counts, "mpanet_problems_total") == {("internal_error",): 1}


@pytest.mark.parametrize("error", [ZeroDivisionError(), QueueFullError("full")])
def test_half_an_answer_is_never_followed_by_another(error: Exception) -> None:
    with pytest.raises(type(error)):
        served(failing(error, after_start=True))


def test_a_client_that_left_is_counted_without_an_answer() -> None:
    started = asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        started.set()
        await asyncio.Event().wait()

    counts = RequestCounts()

    async def leave() -> None:
        edge = Edge(waiting, counts, RouteTemplates([Route("/known", str)]))
        scope = {"type": "http", "method": "GET", "path": "/known", "headers": []}
        never: Callable[..., Any] = asyncio.Event().wait
        request = asyncio.ensure_future(edge(scope, never, never))
        await started.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(leave())
    assert counted(counts, "mpanet_request_seconds") == {("/known", "GET", "0"): 1}


def test_bytes_of_the_body_are_counted_as_they_come(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "service.requests"):
        served(answering(), body=b"x" * 1234)
    assert fields_of(caplog)[0]["bytes_in"] == 1234


def test_the_calls_that_embed_say_what_each_stage_took(http: httpx.Client) -> None:
    form = {"modality": "visible"}
    batch = {"entries": json.dumps([form])}
    embedding = ["read", "decode", "queue", "embed"]
    enrolling = [*embedding, "store"]
    answers = {
        "query": (http.post("/query", files={"file": crop(1)}, data=form), [*embedding, "search"]),
        "embed": (http.post("/embed", files={"file": crop(1)}, data=form), embedding),
        "gallery": (http.post("/gallery", files={"file": crop(1)}, data=form), enrolling),
        "batch": (
            http.post("/gallery/batch", files={"files": crop(2)}, data=batch),
            enrolling,
        ),
    }
    for name, (response, stages) in answers.items():
        timing = response.headers["Server-Timing"]
        assert re.fullmatch(r"\w+;dur=\d+\.\d(, \w+;dur=\d+\.\d)*", timing), name
        assert [part.split(";")[0] for part in timing.split(", ")] == stages, name
    enrol(http, 3, entry_id="x")
    assert "Server-Timing" not in http.get("/gallery/x").headers
