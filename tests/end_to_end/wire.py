"""HTTP over a plain socket: what no client library would send, and what came back, byte by byte.

Knows nothing of what a request means.
"""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 60.0
BOUNDARY = b"wire"
MOST_HEAD_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class Wire:
    """One connection to a service; a context that closes it."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        """Connect."""
        place = urlsplit(url)
        assert place.hostname is not None
        assert place.port is not None
        self.socket = socket.create_connection((place.hostname, place.port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._came = bytearray()

    def __enter__(self) -> "Wire":
        """Return the connection itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; what was not read is lost."""
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Send bytes; False: the service has closed the connection by now."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionError):
            return False
        return True

    def end_sending(self) -> None:
        """Close our half of the connection."""
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self) -> Answer | None:
        """Read one answer; None: the service closed the connection instead of answering.

        Raises: TimeoutError if neither happens in time.
        """
        while (end := self._came.find(b"\r\n\r\n")) < 0:
            assert len(self._came) < MOST_HEAD_BYTES
            if not self._more():
                assert not self._came, f"half an answer: {bytes(self._came[:200])!r}"
                return None
        lines = bytes(self._came[:end]).decode("latin-1").split("\r\n")
        del self._came[: end + 4]
        pairs = [line.split(":", 1) for line in lines[1:]]
        headers = {name.lower(): value.strip() for name, value in pairs}
        status = int(lines[0].split(" ")[1])
        length = int(headers.get("content-length", "0"))
        while len(self._came) < length:
            assert self._more(), f"an answer of {length} bytes ends after {len(self._came)}"
        body = bytes(self._came[:length])
        del self._came[:length]
        return Answer(status, headers, body)

    def ask(self, request: bytes) -> Answer | None:
        """Send a request and read its answer, also where it came before all was sent."""
        self.send(request)
        return self.answer()

    def closed(self) -> bool:
        """Wait until the service closes the connection; False: it sent something else."""
        return not self._more()

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self._came += data
        return bool(data)


def head(method: str, path: str, **headers: object) -> bytes:
    """Return the head of a request; `content_length=3` is `Content-Length: 3`."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def form(fields: Mapping[str, str], *files: tuple[str, bytes]) -> bytes:
    """Return a multipart body with boundary BOUNDARY."""
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        % (BOUNDARY, name.encode(), value.encode())
        for name, value in fields.items()
    ]
    parts += [
        b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="crop"\r\n\r\n%s\r\n'
        % (BOUNDARY, name.encode(), data)
        for name, data in files
    ]
    return b"".join([*parts, b"--%s--\r\n" % BOUNDARY])


def post(path: str, body: bytes, **headers: object) -> bytes:
    """Return a whole request with a multipart body."""
    kind = {"Content_Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
    return head("POST", path, **{**kind, "Content_Length": len(body), **headers}) + body


def upload(path: str, *crops: bytes, **fields: str) -> bytes:
    """Return a whole request that sends crops as `file`, visible unless said otherwise."""
    values = {"modality": "visible", **fields}
    return post(path, form(values, *[("file", crop) for crop in crops]))
