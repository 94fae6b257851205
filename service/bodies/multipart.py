"""A multipart body taken apart while it arrives, every part bounded.

Knows neither requests nor fields. Parts are kept in memory, for bodies are bounded as a whole;
those that have a sink go there piece by piece.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import MalformedBodyError

MAX_PARTS = 1024


class Sink(Protocol):
    """Takes the bytes of a part; may refuse more of them by an error of its own."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


@dataclass(slots=True)
class Part:
    """One part: its name, its bytes up to `max_bytes`, and how many bytes came.

    With a sink the bytes went there.
    """

    name: str = ""
    data: bytearray = field(default_factory=bytearray)
    size: int = 0
    sink: Sink | None = None


class MultipartReader:
    """Takes the chunks of a body, gives its parts. Raises: MalformedBodyError."""

    def __init__(
        self, boundary: bytes, *, max_bytes: int, sinks: Mapping[str, Sink] | None = None
    ) -> None:
        """Keep at most `max_bytes` of each part; what is beyond is counted and dropped.

        `sinks`: where parts of a name go instead.
        """
        self._max_bytes = max_bytes
        self._sinks = sinks or {}
        self._parts: list[Part] = []
        self._header = bytearray()
        self._value = bytearray()
        self._complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._data,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise MalformedBodyError(f"the multipart boundary cannot be used: {error}") from error

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MalformedBodyError(f"not a multipart body: {error}") from error

    def finish(self) -> list[Part]:
        """Return the parts in the order they came."""
        if not self._complete:
            raise MalformedBodyError("the multipart body ends before its closing boundary")
        return self._parts

    def close(self) -> None:
        """Let go of the parser: with its callbacks it is a ring that would keep the parts."""
        del self._parser

    def _begin(self) -> None:
        if len(self._parts) == MAX_PARTS:
            raise MalformedBodyError(f"more than {MAX_PARTS} parts in one multipart body")
        self._parts.append(Part())

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._parts[-1].name = options.get(b"name", b"").decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def _headers_end(self) -> None:
        if not self._parts[-1].name:
            raise MalformedBodyError("a part of the multipart body has no name")
        self._parts[-1].sink = self._sinks.get(self._parts[-1].name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._parts[-1]
        part.size += end - start
        if part.sink is not None:
            part.sink.write(data[start:end])
            return
        room = self._max_bytes - len(part.data)
        part.data += data[start : min(end, start + room)]

    def _end(self) -> None:
        self._complete = True
