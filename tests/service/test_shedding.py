"""The layer that refuses before a body is read, spoken to as a server speaks to it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.engine.admission import Admission
from service.engine.shedding import Shedding
from service.errors import QueueFullError, ShuttingDownError, SlowRequestError

LONG_S = 60.0


def admission(max_bytes: int = 1000) -> Admission:
    return Admission(
        max_crops=2,
        max_bytes=max_bytes,
        deadline_s={"query": 10, "enroll": 10},
        seconds_per_crop=lambda: 0,
    )


def scope(method: str = "POST", path: str = "/query", length: int | None = None) -> Scope:
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return {"type": "http", "method": method, "path": path, "headers": headers}


class Reader:
    """An application that reads the whole body."""

    def __init__(self) -> None:
        self.body = b""
        self.called = False
        self.on_call: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.called = True
        if self.on_call is not None:
            await self.on_call()
        more = True
        while more:
            message = await receive()
            self.body += message.get("body", b"")
            more = message.get("more_body", False)


def client(*pieces: bytes, ends: bool = True) -> Callable[[], Awaitable[Message]]:
    """Send pieces; without an end the rest never comes."""
    left = list(pieces)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left) or not ends}

    return receive


async def send(message: Message) -> None:
    raise AssertionError(f"nothing is answered here: {message}")


def serve(
    gate: Admission,
    app: Reader,
    scope: Scope,
    receive: Any,
    read_timeout_s: float = LONG_S,
    publish_read_timeout_s: float = LONG_S,
) -> None:
    layer = Shedding(
        app,
        gate,
        max_request_bytes=800,
        read_timeout_s=read_timeout_s,
        publish_read_timeout_s=publish_read_timeout_s,
    )
    asyncio.run(layer(scope, receive, send))


def test_a_full_service_refuses_before_the_body_is_read() -> None:
    gate, app = admission(), Reader()
    gate.enter("query", 2)
    with pytest.raises(QueueFullError):
        serve(gate, app, scope(), client(b"body"))
    assert not app.called
    serve(gate, app, scope(path="/gallery"), client(b"body"))
    assert app.body == b"body"


def test_an_announced_length_is_counted_before_it_comes() -> None:
    gate, app = admission(), Reader()
    gate.reserve(700)
    with pytest.raises(QueueFullError, match="301 more"):
        serve(gate, app, scope(length=301), client(b"x" * 301))
    assert not app.called
    assert gate.bytes == 700


def test_bytes_without_an_announcement_are_counted_as_they_come_and_given_back() -> None:
    gate, app = admission(), Reader()
    gate.reserve(500)
    with pytest.raises(QueueFullError):
        serve(gate, app, scope(), client(b"x" * 400, b"x" * 200))
    assert gate.bytes == 500
    serve(gate, app, scope(), client(b"x" * 400))
    assert gate.bytes == 500


def test_more_than_a_request_may_have_is_left_to_the_application() -> None:
    gate, app = admission(), Reader()
    serve(gate, app, scope(length=10**12), client(b""))
    assert app.called
    assert gate.bytes == 0


def test_a_model_goes_to_the_disk_and_is_not_counted() -> None:
    gate, app = admission(max_bytes=10), Reader()
    whole = b"x" * 400
    serve(gate, app, scope(path="/models", length=800), client(whole, whole))
    assert app.body == 2 * whole
    assert gate.bytes == 0


def test_a_model_has_its_own_time_to_arrive() -> None:
    gate, app = admission(), Reader()
    with pytest.raises(SlowRequestError, match=r"0\.05 s"):
        serve(
            gate,
            app,
            scope(path="/models"),
            client(b"x", ends=False),
            publish_read_timeout_s=0.05,
        )


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    gate, app = admission(), Reader()
    with pytest.raises(SlowRequestError, match=r"0\.05 s"):
        serve(gate, app, scope(length=100), client(b"x", ends=False), read_timeout_s=0.05)
    assert gate.bytes == 0


def test_a_stop_does_not_wait_for_a_body() -> None:
    gate, app = admission(), Reader()

    async def stop_soon() -> None:
        asyncio.get_running_loop().call_soon(gate.stop)

    app.on_call = stop_soon
    with pytest.raises(ShuttingDownError):
        serve(gate, app, scope(length=100), client(b"x", ends=False))


def test_a_stopping_service_still_says_how_it_is() -> None:
    gate, app = admission(), Reader()
    gate.stop()
    serve(gate, app, scope("GET", "/readyz"), client(b""))
    assert app.called
    with pytest.raises(ShuttingDownError):
        serve(gate, app, scope("DELETE", "/gallery/a"), client(b""))


def test_a_client_that_stays_after_its_body_is_not_hurried() -> None:
    gate, app = admission(), Reader()
    layer = Shedding(
        app, gate, max_request_bytes=800, read_timeout_s=0.02, publish_read_timeout_s=LONG_S
    )

    async def scenario() -> None:
        async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(receive(), 0.1)  # our own patience, not the layer's

        layer._app = waiting
        await layer(scope(length=1), client(b"x"), send)

    asyncio.run(scenario())
