"""Who gets in: an ASGI layer between the edge and the application.

Finds the caller of a request by its key and leaves them in its state; what each may do is decided
where the call is known. What an unknown one gets is an error, which the edge turns into an answer.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.auth import KeyCheck
from service.caller import ANYONE


class Gate:
    """ASGI middleware that lets requests with a known key pass."""

    def __init__(self, app: ASGIApp, keys: KeyCheck) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; lifespan events pass through."""
        if scope["type"] == "http":
            self._keys.check(scope["path"], Headers(scope=scope))
            scope.setdefault("state", {})["caller"] = ANYONE
        await self._app(scope, receive, send)
