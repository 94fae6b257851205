"""A large answer, sent in pieces and counted while its client takes it.

Who asks for many crops and reads none would else have the service hold them all.
"""

from typing import Final

from fastapi import Response
from starlette.types import Receive, Scope, Send

from service.engine.admission import Admission

PIECE_BYTES: Final = 64 * 1024
"""The server waits between two pieces until the client has taken enough of those before."""


class HeldAnswer(Response):
    """Bytes that count as under way until the client has taken nearly all of them."""

    def __init__(
        self, content: bytes, media_type: str, headers: dict[str, str], admission: Admission
    ) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer. Raises: QueueFullError, before anything is sent."""
        size = len(self.body)
        self._admission.reserve(size)
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            for begin in range(0, size, PIECE_BYTES):
                piece = self.body[begin : begin + PIECE_BYTES]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._admission.release(size)
