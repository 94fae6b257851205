"""Refuses what would be too much before its body is read: as soon as the head is there.

What is too much is `admission`'s to say; the bodies under way are counted here as they come.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.engine.admission import Admission
from service.engine.crop_jobs import Kind
from service.errors import RetryLaterError, SlowRequestError

KIND_OF_CALL: Final[Mapping[tuple[str, str], Kind]] = {
    ("POST", "/query"): "query",
    ("POST", "/embed"): "query",
    ("POST", "/compare"): "query",
    ("POST", "/gallery"): "enroll",
    ("POST", "/gallery/batch"): "enroll",
}
SPOOLED: Final = frozenset({("POST", "/models")})
"""Calls whose bodies go to the disk as they come: they take no memory, and their time."""
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Doorkeeper:
    """Says no below the application, for a fifth of what passing its layers costs.

    A service that is asked ten times what it can do would else spend its time on refusing.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def refusal(self, method: str, path: str) -> RetryLaterError | None:
        """Return why a call is not let in now; None: it is, as far as its head tells."""
        kind = KIND_OF_CALL.get((method, path))
        if kind is None:
            return None
        try:
            self._admission.check(kind)
        except RetryLaterError as error:
            return error
        return None


class Shedding:
    """ASGI middleware that lets a request pass while there is room for it."""

    def __init__(
        self,
        app: ASGIApp,
        admission: Admission,
        *,
        max_request_bytes: int,
        read_timeout_s: float,
        publish_read_timeout_s: float,
    ) -> None:
        """A body of more than `max_request_bytes` is left to the application, which reads none.

        `publish_read_timeout_s`: how long a spooled body may take.
        """
        self._app = app
        self._admission = admission
        self._max_request_bytes = max_request_bytes
        self._read_timeout_s = read_timeout_s
        self._publish_read_timeout_s = publish_read_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; lifespan events pass through.

        Raises: QueueFullError, ShuttingDownError: the edge turns them into an answer.
        """
        if scope["type"] != "http" or scope["method"] in READING:
            await self._app(scope, receive, send)
            return
        kind = KIND_OF_CALL.get((scope["method"], scope["path"]))
        if kind is None:
            self._admission.check_open()
        else:
            self._admission.check(kind)
        spooled = (scope["method"], scope["path"]) in SPOOLED
        timeout_s = self._publish_read_timeout_s if spooled else self._read_timeout_s
        body = _Body(receive, self._admission, timeout_s, counted=not spooled)
        announced = _announced(scope)
        if announced <= self._max_request_bytes:
            body.expect(announced)
        try:
            await self._app(scope, body.receive, send)
        except asyncio.CancelledError:  # by the server, whose patience with a stop is at its end
            self._admission.check_open()
            raise
        finally:
            body.release()


class _Body:
    """Counts the bytes of one body in, from what was announced on, and out at the end."""

    def __init__(
        self, receive: Receive, admission: Admission, timeout_s: float, *, counted: bool
    ) -> None:
        self._receive = receive
        self._counted = counted
        self._admission = admission
        self._timeout_s = timeout_s
        self._until = asyncio.get_running_loop().time() + timeout_s
        self._reserved = 0
        self._arrived = 0
        self._complete = False

    def expect(self, size: int) -> None:
        if self._counted:
            self._admission.reserve(size)
            self._reserved += size

    async def receive(self) -> Message:
        message = await (self._receive() if self._complete else self._in_time())
        self._complete = not message.get("more_body", False)
        self._arrived += len(message.get("body", b""))
        if self._arrived > self._reserved:
            self.expect(self._arrived - self._reserved)
        return message

    def release(self) -> None:
        self._admission.release(self._reserved)

    async def _in_time(self) -> Message:
        """Wait for the next piece. Raises: SlowRequestError, ShuttingDownError."""
        self._admission.check_open()
        try:
            async with asyncio.timeout_at(self._until) as limit:
                with self._admission.arriving(lambda: limit.reschedule(0)):
                    return await self._receive()
        except TimeoutError:
            self._admission.check_open()
            raise SlowRequestError(
                f"the body had not arrived after {self._timeout_s:g} s"
            ) from None


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
