"""The outermost layer: request ids, one log line a request, and the last resort.

The only place that catches whatever is left, so that no error leaves the service unshaped.
"""

import logging
import re
import time
import uuid
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import RequestError
from service.problems import response_to

REQUEST_ID_HEADER = "X-Request-Id"
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = logging.getLogger("service.requests")


class Edge:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; lifespan events pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        reply = _Reply(send, request_id)
        call = f"{scope['method']} {quote(scope['path'])}"
        started = time.perf_counter()
        try:
            await self._app(scope, receive, reply.send)
        except RequestError as error:
            await response_to(error, request_id)(scope, receive, reply.send)
        except Exception as error:
            log.exception("%s %s failed", request_id, call)
            if reply.status:
                raise  # half an answer is out: the server closes the connection
            await response_to(error, request_id)(scope, receive, reply.send)
        finally:
            elapsed_ms = (time.perf_counter() - started) * 1000
            log.info("%s %s %d %.1f ms", request_id, call, reply.status, elapsed_ms)


class _Reply:
    """Passes an answer on, with its request id; remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID_HEADER] = self._request_id
            headers["X-Content-Type-Options"] = "nosniff"
        await self._send(message)


def _request_id(headers: Headers) -> str:
    """Take the client's request id where it is a sane one, else make one."""
    given = headers.get(REQUEST_ID_HEADER, "")
    return given if _SANE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
