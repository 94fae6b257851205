"""Connections below the application: how many, how slow, how long a head.

uvicorn's protocol with bounds on what a client may hold, and with its own refusals as problem
documents. Nothing here knows a key: whoever reaches the port gets so far.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.access.security_headers import LINES
from service.engine.shedding import Doorkeeper
from service.ids import new_id
from service.observing.logging_format import with_fields
from service.problems import (
    HEAD_TOO_LONG,
    MALFORMED_REQUEST,
    MEDIA_TYPE,
    SLOW_REQUEST,
    TOO_MANY_CONNECTIONS,
    Kind,
    document,
    kind_of,
    retry_after_s,
)

log = logging.getLogger(__name__)

MAX_HEAD_BYTES: Final = 64 * 1024
DRAIN_S: Final = 5.0
"""How long the rest of a body may come after its answer, so that the client reads the answer."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `bounded` gives the class its bounds."""

    max_connections: int
    timeout_s: float
    on_refused: Callable[[str], None]
    doorkeeper: Doorkeeper
    on_shed: Callable[[str, str, int, str, float], None]
    _timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0
    _refused = False
    _skipping = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or answer that there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._refuse(
                TOO_MANY_CONNECTIONS, f"at most {self.max_connections} connections at once"
            )
        else:
            self._end_after(self.timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._go_on()
        self._cancel_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, a head only up to its bound."""
        if self._refused:
            return
        super().data_received(data)
        if self._in_head and not self._refused:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HEAD_TOO_LONG, f"at most {MAX_HEAD_BYTES:,} bytes of headers are read")

    def on_message_begin(self) -> None:
        """A request begins: its headers are to come in time."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._end_after(self.timeout_s)

    def on_headers_complete(self) -> None:
        """The headers are here; the body's time is the application's business."""
        self._in_head = False
        self._go_on()
        if sum(name == b"host" for name, _ in self.headers) > 1:
            self._refuse(MALFORMED_REQUEST, "expected one Host header, came several")
        elif not self._shed():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        if not (self._refused or self._skipping):
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here as a whole."""
        if self._skipping:
            self._skipping = False
            self._end_after(self.timeout_keep_alive)
        elif not self._refused:
            self._go_on()
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out; the rest of a body that it did not wait for has little time left."""
        super().on_response_complete()
        if self.cycle.more_body:
            self._end_after(DRAIN_S)

    def pause_writing(self) -> None:
        """The client does not read: it has so long to take a piece, or is cut off."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._cancel_write_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP."""
        self._refuse(MALFORMED_REQUEST, msg)

    def _shed(self) -> bool:
        """Answer a request that is not let in; its body is skipped, the connection goes on."""
        if self.cycle is not None and not self.cycle.response_complete:
            return False  # it has its turn behind the one before
        method, path = self.parser.get_method().decode("ascii"), self.url.partition(b"?")[0]
        refusal = self.doorkeeper.refusal(method, path.decode("latin-1"))
        if refusal is None:
            return False
        kind = kind_of(refusal)
        self.on_shed(path.decode("latin-1"), method, kind.status, kind.code, 0.0)
        wait_s = retry_after_s(refusal)
        self._skipping = True
        goes_on = self.parser.should_keep_alive()
        self._answer(kind, str(refusal), new_id(), wait_s=wait_s, goes_on=goes_on)
        self._end_after(DRAIN_S)
        return True

    def _end_after(self, timeout_s: float) -> None:
        self._go_on()
        self._timer = self.loop.call_later(timeout_s, self._end)

    def _go_on(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        if self._in_head and self._head_bytes:
            self._refuse(SLOW_REQUEST, f"the headers had not arrived after {self.timeout_s:g} s")
        else:
            self.transport.close()

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _refuse(self, kind: Kind, detail: str) -> None:
        self._refused = True
        request_id = new_id()
        self._tell(kind, request_id)
        self._answer(kind, detail, request_id, wait_s=1 if kind.status == 503 else None)

    def _answer(
        self,
        kind: Kind,
        detail: str,
        request_id: str,
        *,
        wait_s: int | None,
        goes_on: bool = False,
    ) -> None:
        """Write a problem document below the application; close unless the connection goes on."""
        body = json.dumps(document(kind, detail, request_id)).encode()
        lines = [
            f"content-type: {MEDIA_TYPE}",
            f"content-length: {len(body)}",
            f"x-request-id: {request_id}",
            *([] if wait_s is None else [f"retry-after: {wait_s}"]),
            *([] if goes_on else ["connection: close"]),
        ]
        head = "".join(f"{line}\r\n" for line in lines).encode()
        self.transport.write(STATUS_LINE[kind.status] + head + LINES + b"\r\n" + body)
        if not goes_on:
            self.transport.close()

    def _tell(self, kind: Kind, request_id: str) -> None:
        self.on_refused(kind.code)
        fields = {"request_id": request_id, "status": kind.status, "code": kind.code}
        if self.client is not None:
            fields["client"] = self.client[0]
        log.info("connection refused", extra=with_fields(fields))


def bounded(
    *,
    max_connections: int,
    timeout_s: float,
    on_refused: Callable[[str], None],
    doorkeeper: Doorkeeper,
    on_shed: Callable[[str, str, int, str, float], None],
) -> type[BoundedProtocol]:
    """Return the protocol with its bounds; the rest of its class is uvicorn's to construct.

    `timeout_s`: within this a head must have come, and a piece of an answer must be taken.
    `on_refused` is told the code of the problem whenever a connection is answered one; `on_shed`
    path, method, status, code and seconds of a request that the doorkeeper did not let in.
    """
    bounds: dict[str, Any] = {
        "max_connections": max_connections,
        "timeout_s": timeout_s,
        "on_refused": staticmethod(on_refused),
        "doorkeeper": doorkeeper,
        "on_shed": staticmethod(on_shed),
    }
    return type("ServiceProtocol", (BoundedProtocol,), bounds)
