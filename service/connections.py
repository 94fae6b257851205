"""Connections below the application: how many there may be, how slowly one may ask.

uvicorn's protocol with two bounds more, and with its own refusals as problem documents.
"""

import asyncio
import json
import uuid
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.problems import MALFORMED_REQUEST, MEDIA_TYPE, TOO_MANY_CONNECTIONS, Kind, document
from service.security_headers import LINES


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `bounded` gives the class its bounds."""

    max_connections: int
    header_timeout_s: float
    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or answer that there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._refuse(
                TOO_MANY_CONNECTIONS, f"at most {self.max_connections} connections at once"
            )
        else:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._headers_came()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins: its headers are to come in time."""
        super().on_message_begin()
        self._await_headers()

    def on_headers_complete(self) -> None:
        """The headers are here."""
        self._headers_came()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP."""
        self._refuse(MALFORMED_REQUEST, msg)

    def _await_headers(self) -> None:
        self._headers_came()
        self._header_timer = self.loop.call_later(self.header_timeout_s, self.transport.close)

    def _headers_came(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _refuse(self, kind: Kind, detail: str) -> None:
        body = json.dumps(document(kind, detail, uuid.uuid4().hex)).encode()
        retry = b"retry-after: 1\r\n" if kind.status == 503 else b""
        self.transport.write(
            STATUS_LINE[kind.status]
            + b"content-type: %s\r\ncontent-length: %d\r\n" % (MEDIA_TYPE.encode(), len(body))
            + retry
            + LINES
            + b"connection: close\r\n\r\n"
            + body
        )
        self.transport.close()


def bounded(*, max_connections: int, header_timeout_s: float) -> type[BoundedProtocol]:
    """Return the protocol with its bounds; the rest of its class is uvicorn's to construct."""
    bounds: dict[str, Any] = {
        "max_connections": max_connections,
        "header_timeout_s": header_timeout_s,
    }
    return type("ServiceProtocol", (BoundedProtocol,), bounds)
