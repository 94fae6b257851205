"""An application spoken to without sockets: httpx on this side, its own event loop on the other."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI


class AppTransport(httpx.BaseTransport):
    """Sends requests of a synchronous client into an application."""

    def __init__(self, app: FastAPI, portal: BlockingPortal) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._portal = portal

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._portal.call(self._handle, request)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        sent = httpx.Request(
            request.method, request.url, headers=request.headers, content=_chunks(request.stream)
        )
        response = await self._transport.handle_async_request(sent)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)


async def _chunks(stream: httpx.SyncByteStream) -> AsyncIterator[bytes]:
    """Yield a body as it was given; whether its length is announced is the headers' business."""
    for chunk in stream:
        yield chunk


@contextmanager
def running(app: FastAPI) -> Iterator[AppTransport]:
    """Run an application, start-up and shutdown included."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
    ):
        yield AppTransport(app, portal)
