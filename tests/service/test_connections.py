"""Connections below the application: a request that is not let in, and the next one on the line."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import Receive, Scope, Send

from service.connections import bounded
from service.engine.admission import Admission
from service.engine.shedding import Doorkeeper
from tests.end_to_end.wire import Wire

Counted = tuple[str, str, int, str]
BODY = b"b" * 300_000


async def greet(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, answer with its length."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    text = str(size).encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


class Line:
    """A server in this process over an admission that the test fills, and what it counted."""

    def __init__(self) -> None:
        self.admission = Admission(
            max_crops=1,
            max_bytes=10**9,
            deadline_s={"query": 10, "enroll": 10},
            seconds_per_crop=lambda: 2.5,
        )
        self.counted: list[Counted] = []
        self.url = ""

    def count(self, path: str, method: str, status: int, code: str, seconds: float) -> None:
        self.counted.append((path, method, status, code))


@contextmanager
def serving() -> Iterator[Line]:
    line = Line()
    listener = socket.create_server(("127.0.0.1", 0))
    line.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    protocol = bounded(
        max_connections=10,
        timeout_s=10,
        on_refused=lambda code: None,
        doorkeeper=Doorkeeper(line.admission),
        on_shed=line.count,
    )
    config = uvicorn.Config(greet, http=protocol, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)

    async def run() -> None:
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        yield line
    finally:
        server.should_exit = True
        thread.join(30)


def post(path: str, body: bytes = BODY) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_a_request_that_is_not_let_in_is_told_so_and_its_connection_goes_on() -> None:
    with serving() as line, Wire(line.url) as wire:
        line.admission.enter("query", 1)
        for _ in range(3):
            refused = wire.ask(post("/query?a=b"))
            assert refused is not None
            assert refused.status == 503
            problem = json.loads(refused.body)
            assert problem["code"] == "queue_full"
            assert refused.headers["retry-after"] == "5"  # two crops of 2.5 s
            assert refused.headers["x-request-id"] == problem["request_id"]
        line.admission.leave("query", 1)
        served = wire.ask(post("/query"))
        assert served is not None
        assert (served.status, served.body) == (200, str(len(BODY)).encode())
        assert line.counted == [("/query", "POST", 503, "queue_full")] * 3


def test_enrolments_and_calls_without_crops_are_let_in_beside_a_full_queue_of_queries() -> None:
    with serving() as line, Wire(line.url) as wire:
        line.admission.enter("query", 1)
        for path in ("/gallery/batch", "/models/rollback", "/nowhere"):
            served = wire.ask(post(path))
            assert served is not None
            assert served.status == 200, path
        assert line.counted == []


def test_a_stop_is_told_to_whoever_still_asks() -> None:
    with serving() as line, Wire(line.url) as wire:
        line.admission.stop()
        refused = wire.ask(post("/gallery"))
        assert refused is not None
        assert (refused.status, json.loads(refused.body)["code"]) == (503, "shutting_down")
