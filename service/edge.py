"""The outermost layer: request ids, one log line a request, its metrics, and the last resort.

The only place that catches whatever is left, so that no error leaves the service unshaped.
"""

import logging
import re
import time
from typing import Any, Final
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.keys import KEY_TEXT
from service.errors import RequestError
from service.ids import new_id
from service.observing.logging_format import with_fields
from service.observing.request_metrics import RequestCounts
from service.observing.route_templates import RouteTemplates
from service.observing.stages import server_timing
from service.problems import response_to

REQUEST_ID_HEADER = "X-Request-Id"
MAX_PATH: Final = 200
MAX_CLIENT: Final = 64
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Calls of machines, many a minute: their successes are logged at DEBUG only."""
TIMED: Final = frozenset({"/query", "/embed", "/compare", "/gallery", "/gallery/batch"})
"""Calls whose answers have `Server-Timing`."""
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = logging.getLogger("service.requests")


class Edge:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, metrics: RequestCounts, templates: RouteTemplates) -> None:
        self._app = app
        self._metrics = metrics
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; lifespan events pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        call = _Call(scope, self._templates.of(scope["path"]), receive, send)
        breakdown: Exception | None = None
        try:
            await self._app(scope, call.receive, call.send)
        except Exception as error:
            breakdown = None if isinstance(error, RequestError) else error
            if call.status:
                raise  # half an answer is out: the server closes the connection
            await response_to(error, request_id)(scope, receive, call.send)
        finally:
            self._count(call)
            _log(call, breakdown)
            breakdown = None  # with its traceback it would keep all of this for the collector

    def _count(self, call: "_Call") -> None:
        state = call.scope["state"]
        method, route = call.scope["method"], call.route
        code = state.get("problem_code")
        self._metrics.count_request(route, method, call.status, code, call.seconds())
        self._metrics.count_stages(route, state.get("stages", {}))


class _Call:
    """One request on its way: what came in, what went out, how long it took."""

    def __init__(self, scope: Scope, route: str | None, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.route = route
        self.status = 0
        self.bytes_in = 0
        self._receive = receive
        self._send = send
        self._began = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self._began

    async def receive(self) -> Message:
        message = await self._receive()
        self.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        """Pass an answer on, with what every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID_HEADER] = self.scope["state"]["request_id"]
            stages = self.scope["state"].get("stages")
            if stages and self.route in TIMED:
                headers["Server-Timing"] = server_timing(stages)
        await self._send(message)


def _log(call: _Call, breakdown: Exception | None) -> None:
    quiet = call.route in PROBES and call.status < 400
    level = logging.ERROR if breakdown else logging.DEBUG if quiet else logging.INFO
    if not log.isEnabledFor(level):
        return
    fields = _fields(call)
    where = call.route or fields["path"]
    values = (call.scope["method"], where, call.status)
    log.log(level, "%s %s %d", *values, exc_info=breakdown, extra=with_fields(fields))


def _fields(call: _Call) -> dict[str, Any]:
    """Return what a log line says of a request: no key, no id of a person, nothing unbounded."""
    state = call.scope["state"]
    fields = {"request_id": state["request_id"], "method": call.scope["method"]}
    if call.route is None:
        path = KEY_TEXT.sub("KEY", call.scope["path"])[:MAX_PATH]
        fields["path"] = quote(path, errors="replace")[:MAX_PATH]
    else:
        fields["route"] = call.route
    fields["status"] = call.status
    if code := state.get("problem_code"):
        fields["code"] = code
    fields["duration_ms"] = round(call.seconds() * 1000, 1)
    fields["bytes_in"] = call.bytes_in
    if caller := state.get("caller"):
        fields["caller"] = caller.name
    if client := call.scope.get("client"):
        fields["client"] = client[0][:MAX_CLIENT]
    return fields


def _request_id(headers: Headers) -> str:
    """Take the client's request id where it is a sane one, else make one."""
    given = headers.get(REQUEST_ID_HEADER, "")
    return given if _SANE_REQUEST_ID.fullmatch(given) else new_id()
